package condor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sinks/condor/condortest"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// A server tells of a new key only from the second connection on: the first level is
// asked for without a token (seen with HTCondor 23.9.6).
func TestAPoolThatHasJustLearntAKeyIsAskedAgain(t *testing.T) {
	const refused = "#AUTHENTICATE:1003:Failed to authenticate with any method|AUTHENTICATE:1004:Failed to authenticate using IDTOKENS\n# READ command to X is DENIED\n"
	const allowed = "# READ command to X is ALLOWED\nAuthMethods = \"IDTOKENS\"\nMyRemoteUserName = \"a@pool.example\"\n"
	const denied = "#SECMAN:2010:Received \"DENIED\" from server for user a@pool.example using method IDTOKENS.\n# WRITE command to X is DENIED\n"
	for name, c := range map[string]struct {
		second  string
		grave   bool
		unknown bool
	}{
		"then it knows the key":   {allowed, false, false},
		"and still does not know": {refused, true, true},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"1": refused + denied, "2": c.second + denied} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		condortest.Program(t, "condor_ping", fmt.Sprintf("cd %s; if [ -e asked ]; then cat 2; else touch asked; cat 1; fi", dir))
		r, err := Ping{Environ: os.Environ(), Pool: "cm.example.org", Type: "COLLECTOR", Method: "IDTOKENS"}.Ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.Explain(nil)
		text := fmt.Sprint(r.Findings)
		if grave := slices.ContainsFunc(r.Findings, func(f tokendir.Finding) bool { return f.Grave }); grave != c.grave || strings.Contains(text, "could not authenticate for READ") != c.unknown || strings.Contains(text, "allows nothing") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

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
	knob := func(_ tokendir.System, name string) (string, bool) { value, ok := set[name]; return value, ok }
	found, _ := HostKeys(knob, nil)
	shared, _ := HostKeys(knob, &tokendir.Pool{Keys: []string{"POOL", "other"}})
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
	if found, has := HostKeys(knob, nil); has {
		t.Errorf("on the manager: %+v", found)
	}
	set["DAEMON_LIST"] = ""
	if found, has := HostKeys(knob, &tokendir.Pool{}); has {
		t.Errorf("for a pool that names no key: %+v", found)
	}
}
