package main

import (
	"fmt"
	"maps"
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
		maps.DeleteFunc(found, func(_, other string) bool { return other == filepath.Clean(path) }) // whatever its file is called there
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
// pool knows some, or may. The copies have the name of the key, which key_id is by
// default.
func keyFinding(keys map[string]string, known string) tokendir.Finding {
	names := slices.Sorted(maps.Keys(keys))
	copies, removals := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		removals[i] = host.ShellWord(keys[name])
		copies[i] = "install -D -m 0600 " + removals[i] + " " + host.ShellWord("/etc/tokenagent/keys/"+name)
	}
	return tokendir.Finding{
		Text: fmt.Sprintf("HTCondor on this host can sign with the key %s, %s: where it finds no token for the pool, HTCondor's tools of root make themselves condor@password here, with every right. Tokens are not needed then, and limit nothing", strings.Join(names, ", "), known),
		Remedy: fmt.Sprintf("keep the keys of limited tokens where HTCondor does not look: %s, name that path as key_file in tokenagent's configuration, and when the agent has read it: rm %s",
			strings.Join(copies, " && "), strings.Join(removals, " ")),
	}
}

// unmanagedKeys is the finding of a host that has keys and is no manager of a
// pool; false where there is nothing to say.
func (d doctor) unmanagedKeys() (tokendir.Finding, bool) {
	if os.Getuid() != 0 || d.manages() {
		return tokendir.Finding{}, false
	}
	found := d.signingKeys()
	if len(found) == 0 {
		return tokendir.Finding{}, false
	}
	return keyFinding(found, "and a pool may know a key of that name"), true
}

// sharedKeys is the finding of keys of this host whose names the pool has too.
func (d doctor) sharedKeys(pool tokendir.Pool) (tokendir.Finding, bool) {
	found := d.signingKeys()
	maps.DeleteFunc(found, func(name, _ string) bool { return !slices.Contains(pool.Keys, name) })
	if len(found) == 0 || d.manages() {
		return tokendir.Finding{}, false
	}
	return keyFinding(found, "and the pool has a key of that name"), true
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
