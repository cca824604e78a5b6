package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// signingKeys are the files that root's HTCondor on this host can sign tokens
// with, by the name of the key.
func (d doctor) signingKeys() map[string]string {
	here := tokendir.Systems()[0]
	found := map[string]string{}
	if dir, set := d.knob(here, "SEC_PASSWORD_DIRECTORY"); set {
		exclude := tokendir.Exclude{}
		if text, set := d.knob(here, tokendir.ExcludeKnob); set {
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
	if path, set := d.knob(here, "SEC_TOKEN_POOL_SIGNING_KEY_FILE"); set && usableKey(path) {
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
func (d doctor) manages() bool {
	daemons, _ := d.knob(tokendir.Systems()[0], "DAEMON_LIST")
	return slices.Contains(strings.FieldsFunc(strings.ToUpper(daemons), func(r rune) bool { return strings.ContainsRune(", \t", r) }), "COLLECTOR")
}

// keyFinding says what it means that root's HTCondor has these keys, of which the
// pool knows some, or may.
func keyFinding(paths []string, known string) tokendir.Finding {
	names, quoted := make([]string, len(paths)), make([]string, len(paths))
	for i, path := range paths {
		names[i], quoted[i] = filepath.Base(path), host.ShellWord(path)
	}
	return tokendir.Finding{
		Text: fmt.Sprintf("HTCondor on this host can sign with the key %s, %s: where it finds no token for the pool, HTCondor's tools of root make themselves condor@password here, with every right. Tokens are not needed then, and limit nothing", strings.Join(names, ", "), known),
		Remedy: fmt.Sprintf("keep the keys of limited tokens where HTCondor does not look: install -d -m 0700 /etc/tokenagent/keys && mv %s /etc/tokenagent/keys/, and name that path as key_file in tokenagent's configuration",
			strings.Join(quoted, " ")),
	}
}

// unmanagedKeys is the finding of a host that has keys and is no manager of a
// pool; false where there is nothing to say.
func (d doctor) unmanagedKeys() (tokendir.Finding, bool) {
	if os.Getuid() != 0 || d.manages() {
		return tokendir.Finding{}, false
	}
	var paths []string
	for _, path := range d.signingKeys() {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if len(paths) == 0 {
		return tokendir.Finding{}, false
	}
	return keyFinding(paths, "and a pool may know a key of that name"), true
}

// sharedKeys is the finding of keys of this host whose names the pool has too.
func (d doctor) sharedKeys(pool tokendir.Pool) (tokendir.Finding, bool) {
	var paths []string
	for name, path := range d.signingKeys() {
		if slices.Contains(pool.Keys, name) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	if len(paths) == 0 || d.manages() {
		return tokendir.Finding{}, false
	}
	return keyFinding(paths, "and the pool has a key of that name"), true
}

// genuine reports whether the token is signed with the key that this host's
// HTCondor has under that name. It is known only of a token of the host's own trust
// domain, where the key can be read.
func (d doctor) genuine(token, issuer, keyID string) (known, ok bool) {
	const macSize = 43 // characters of base64url, of HS256
	here := tokendir.Systems()[0]
	if domain, set := d.knob(here, "TRUST_DOMAIN"); !set || domain != issuer || strings.ContainsAny(keyID, "/\x00") || strings.HasPrefix(keyID, ".") {
		return false, false
	}
	if len(token)-strings.LastIndexByte(token, '.')-1 != macSize {
		return false, false
	}
	path, set := d.knob(here, "SEC_TOKEN_POOL_SIGNING_KEY_FILE")
	if keyID != keys.PoolKey {
		path, set = d.knob(here, "SEC_PASSWORD_DIRECTORY")
		path = filepath.Join(path, keyID)
	}
	if !set {
		return false, false
	}
	key, err := keys.ReadCondor(path, keyID)
	return err == nil, err == nil && key.Signed(token)
}
