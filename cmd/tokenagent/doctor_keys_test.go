package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// The pool's key has a name of its own, whatever its file is called. A copy under the
// name of the file would sign for a key that the pool does not have.
func TestAKeyToMoveKeepsTheNameThatThePoolKnows(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("HTCondor takes only root's files for keys")
	}
	dir := t.TempDir()
	for _, name := range []string{"ap1", "pool_password"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("a key"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := map[string]string{
		"DAEMON_LIST":                     "MASTER, SCHEDD",
		"SEC_PASSWORD_DIRECTORY":          dir,
		"SEC_TOKEN_POOL_SIGNING_KEY_FILE": filepath.Join(dir, "pool_password"),
	}
	d := doctor{knob: func(_ tokendir.System, knob string) (string, bool) { value, ok := set[knob]; return value, ok }}
	found, _ := d.unmanagedKeys()
	shared, _ := d.sharedKeys(tokendir.Pool{Keys: []string{"POOL", "other"}})
	copied := "install -D -m 0600 " + dir + "/pool_password /etc/tokenagent/keys/POOL"
	for _, c := range []struct{ got, want string }{
		{found.Text, "with the key POOL, ap1, and a pool may"},
		{found.Remedy, copied + " && install -D -m 0600 " + dir + "/ap1 /etc/tokenagent/keys/ap1, name"},
		{found.Remedy, "rm " + dir + "/pool_password " + dir + "/ap1"},
		{shared.Text, "with the key POOL, and the pool has"},
		{shared.Remedy, copied + ", name"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%q does not say %q", c.got, c.want)
		}
	}
	set["DAEMON_LIST"] = "MASTER, COLLECTOR"
	if found, has := d.unmanagedKeys(); has {
		t.Errorf("on the manager: %+v", found)
	}
}
