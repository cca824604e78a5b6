package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Without capabilities root can be nobody else, and reads what everybody can read.
func TestRootWithoutCapabilitiesReadsWhatEverybodyCan(t *testing.T) {
	if path := os.Getenv("TOKENAGENT_TEST_READ"); path != "" { // in the child
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		fmt.Printf("read: %v\n", err)
		return
	}
	l := newLayout(t)
	l.folder("home", alice, 0o755)
	l.file("home/open", alice, alice, 0o644)
	l.file("home/own", alice, alice, 0o600)
	l.folder("closed", 0, 0o700)
	l.file("closed/token", 0, 0, 0o644)
	l.link("home/link", "@closed/token", alice)
	l.folder("root", 0, 0o755)
	l.file("root/key", 0, 0, 0o600)
	for path, want := range map[string]string{
		"home/open": "read: <nil>",
		"home/own":  "the agent needs the capability CAP_SETGID (under systemd CapabilityBoundingSet=CAP_SETGID in a drop-in, which tokenagent systemd-dropin prints (with the --config of this agent))",
		"home/link": "the agent needs the capability CAP_SETGID",
		"root/key":  "read: <nil>",
	} {
		c := exec.Command("setpriv", "--bounding-set=-all", "--inh-caps=-all", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), "TOKENAGENT_TEST_READ="+l.path(path))
		out, err := c.CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			missingPart(t, "setpriv", err.Error())
		}
		if !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, want %s\n%s", path, err, want, out)
		}
	}
}
