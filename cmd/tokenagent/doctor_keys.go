package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// signingKeys are the files that root's HTCondor on this host can sign tokens
// with, by the name of the key.
func (c *condorConfig) signingKeys() map[string]string {
	here := tokendir.Systems()[0]
	found := map[string]string{}
	if dir, set := c.lookup(here, "SEC_PASSWORD_DIRECTORY"); set {
		exclude := tokendir.Exclude{}
		if text, set := c.lookup(here, tokendir.ExcludeKnob); set {
			exclude, _ = tokendir.ParseExclude(text)
		}
		entries, _ := os.ReadDir(dir) // who cannot read it is not told of it
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); !exclude.Excludes(e.Name()) && usableKey(path) {
				found[e.Name()] = path
			}
		}
	}
	delete(found, "POOL") // which has a knob of its own
	if path, set := c.lookup(here, "SEC_TOKEN_POOL_SIGNING_KEY_FILE"); set && usableKey(path) {
		found["POOL"] = path
	}
	return found
}

// usableKey reports whether HTCondor takes the file for a key: one of root's that
// nobody else may read.
func usableKey(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || info.Mode()&0o077 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}

// manages reports whether a collector runs on this host: its keys belong there.
func (c *condorConfig) manages() bool {
	daemons, _ := c.lookup(tokendir.Systems()[0], "DAEMON_LIST")
	return slices.Contains(strings.FieldsFunc(strings.ToUpper(daemons), func(r rune) bool { return strings.ContainsRune(", \t", r) }), "COLLECTOR")
}

// keyFinding says what it means that root's HTCondor has these keys, of which the
// pool knows some, or may.
func keyFinding(paths []string, known string) tokendir.Finding {
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = filepath.Base(path)
	}
	return tokendir.Finding{
		Text: fmt.Sprintf("HTCondor on this host can sign with the key %s, %s: where it finds no token for the pool, HTCondor's tools of root make themselves condor@password here, with every right. Tokens are not needed then, and limit nothing", strings.Join(names, ", "), known),
		Remedy: fmt.Sprintf("keep the keys of limited tokens where HTCondor does not look: install -d -m 0700 /etc/tokenagent/keys && mv %s /etc/tokenagent/keys/, and name that path as key_file in tokenagent's configuration",
			strings.Join(paths, " ")),
	}
}

// unmanagedKeys is the finding of a host that has keys and is no manager of a
// pool; false where there is nothing to say.
func (c *condorConfig) unmanagedKeys() (tokendir.Finding, bool) {
	if os.Getuid() != 0 || c.manages() {
		return tokendir.Finding{}, false
	}
	var paths []string
	for _, path := range c.signingKeys() {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if len(paths) == 0 {
		return tokendir.Finding{}, false
	}
	return keyFinding(paths, "and a pool may know a key of that name"), true
}

// sharedKeys is the finding of keys of this host whose names the pool has too.
func (c *condorConfig) sharedKeys(pool tokendir.Pool) (tokendir.Finding, bool) {
	var paths []string
	for name, path := range c.signingKeys() {
		if slices.Contains(pool.Keys, name) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	if len(paths) == 0 || c.manages() {
		return tokendir.Finding{}, false
	}
	return keyFinding(paths, "and the pool has a key of that name"), true
}
