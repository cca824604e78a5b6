package main

import (
	"os"
	"os/exec"
	"testing"
)

// requirePart skips the test where a program that we did not write, and that
// the test needs, is not installed; .ci/packages installs it. Where
// TOKENAGENT_REQUIRE_REAL=1 promises that it is there, the test fails instead.
func requirePart(t *testing.T, program string, args ...string) {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1":
		t.Fatalf("%s is required here: %v\n%s", program, err, out)
	default:
		t.Skipf("%s cannot be had here: %v", program, err)
	}
}

// isLong says whether the long tests run, and those that are shortened in full.
// make test and CI see to it.
func isLong() bool {
	return os.Getenv("TOKENAGENT_LONG") == "1" || os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1"
}

// requireLong skips a test that takes minutes, or whose parts do.
func requireLong(t *testing.T) {
	t.Helper()
	if !isLong() {
		t.Skip("a long test, which runs with TOKENAGENT_LONG=1, as in make test")
	}
}

// requireRoot is requirePart for a test that takes root to use its parts.
func requireRoot(t *testing.T, to string) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1":
		t.Fatalf("only root can %s, which is required here", to)
	default:
		t.Skipf("only root can %s", to)
	}
}
