// Package hosttest is for tests: of what programs inherit from the agent, with files,
// and with output that is read while it is written.
package hosttest

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// again tells a test that it is the one that InTerminal has started.
const again = "TOKENAGENT_TEST_IN_TERMINAL"

// InTerminal runs the calling test once more, in a process with a controlling
// terminal, and reports whether this is that process: a test goes on where it is
// true, and returns where it is false. Where script(1) is missing the test is skipped,
// or fails if TOKENAGENT_REQUIRE_REAL=1 promises that it is there.
func InTerminal(t *testing.T) bool {
	t.Helper()
	if os.Getenv(again) != "" {
		tty, err := os.Open("/dev/tty")
		if err != nil {
			t.Fatalf("the test itself has no terminal: %v", err)
		}
		tty.Close()
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("script", "-qec", self+" -test.v -test.run='^"+t.Name()+"$'", os.DevNull)
	switch {
	case c.Err == nil:
	case os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1":
		t.Fatalf("script(1) is required here: %v", c.Err)
	default:
		t.Skipf("there is no terminal without script(1), of the package bsdutils or util-linux: %v", c.Err)
	}
	c.Env = append(os.Environ(), again+"=1")
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in a terminal: %v\n%s", err, out)
	}
	return false
}
