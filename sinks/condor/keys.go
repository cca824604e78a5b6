package condor

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
)

// HostKeys is the finding of a host that has signing keys but no collector; false
// where there is nothing to say. With a pool, only the keys whose names the pool has
// too count.
func HostKeys(knob tokendir.Lookup, pool *tokendir.Pool) (tokendir.Finding, bool) {
	found, known := signingKeys(knob), "and a pool may know a key of that name"
	if pool != nil {
		maps.DeleteFunc(found, func(name, _ string) bool { return !slices.Contains(pool.Keys, name) })
		known = "and the pool has a key of that name"
	}
	if len(found) == 0 || hasCollector(knob) {
		return tokendir.Finding{}, false
	}
	return keyFinding(found, known), true
}

// signingKeys are the files that root's HTCondor on this host can sign tokens
// with, by the name of the key.
func signingKeys(knob tokendir.Lookup) map[string]string {
	here := tokendir.Systems()[0]
	found := map[string]string{}
	if dir, set := knob(here, "SEC_PASSWORD_DIRECTORY"); set {
		exclude, _ := here.Exclude(knob)
		entries, _ := os.ReadDir(dir) // a user who cannot read it learns nothing about it
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); !exclude.Excludes(e.Name()) && usableKey(path) {
				found[e.Name()] = path
			}
		}
	}
	delete(found, "POOL") // which has a knob of its own
	if path, set := knob(here, "SEC_TOKEN_POOL_SIGNING_KEY_FILE"); set && usableKey(path) {
		maps.DeleteFunc(found, func(_, other string) bool { return other == filepath.Clean(path) }) // whatever its file is called there
		found["POOL"] = path
	}
	return found
}

// usableKey reports whether HTCondor takes the file for a key: one that belongs to
// root and that nobody else may read.
func usableKey(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || info.Mode()&0o077 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0
}

// hasCollector reports whether a collector runs on this host: its keys belong there.
func hasCollector(knob tokendir.Lookup) bool {
	daemons, _ := knob(tokendir.Systems()[0], daemonList)
	return slices.Contains(strings.FieldsFunc(strings.ToUpper(daemons), func(r rune) bool { return strings.ContainsRune(", \t", r) }), "COLLECTOR")
}

// keyFinding says what these keys mean, and how to move them. A copy has the name
// of its key, because that is the default of key_id.
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
