package man

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPageShowsTextAsItIs(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil && os.Getenv("TOKENAGENT_REQUIRE_REAL") != "1" {
		t.Skip("groff is not here")
	}
	page := filepath.Join(t.TempDir(), "page.1")
	var text strings.Builder
	text.WriteString(".TH X 1\n")
	writeText(&text, "EXAMPLES", "one \\fB-flag\n.SH 'two'…\n\n  'left \\(as  it\n    -is")
	if err := os.WriteFile(page, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("groff", "-man", "-Tascii", "-P-c", page).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`one \fB-flag .SH 'two'...`, `'left \(as  it`, "  -is"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the page does not show %q:\n%s", want, out)
		}
	}
}
