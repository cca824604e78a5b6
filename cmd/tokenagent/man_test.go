package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestManHasAPageForEveryCommandAndFlag(t *testing.T) {
	dir := t.TempDir()
	succeed(t, "man", dir)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		page := readFile(t, filepath.Join(dir, pageName(c)+".1"))
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(page, roff("--"+f.Name)) {
				t.Errorf("the page of %q does not tell of --%s", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				walk(sub)
			}
		}
	}
	walk(newRoot())
}

func TestManualPagesAreGoodTroff(t *testing.T) {
	requirePart(t, "groff", "--version")
	dir := t.TempDir()
	succeed(t, "man", dir)
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("found %q, %v", pages, err)
	}
	if out, err := exec.Command("groff", append([]string{"-man", "-ww", "-Tutf8", "-Kutf8", "-z"}, pages...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff finds fault with them: %v\n%s", err, out)
	}
}

func TestManualPageShowsTextAsItIs(t *testing.T) {
	requirePart(t, "groff", "--version")
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
