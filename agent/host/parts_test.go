package host

import (
	"os"
	"os/exec"
	"testing"
)

func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

// missingPart skips a test whose part is not here, and fails where all must be.
func missingPart(t *testing.T, part, why string) {
	t.Helper()
	if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
		t.Fatalf("no %s: %s", part, why)
	}
	t.Skipf("no %s: %s", part, why)
}
