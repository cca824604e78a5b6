package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokenagent/tokenagent/packaging/man"
)

func TestTheManualHasAPageForEveryCommandAndFlag(t *testing.T) {
	dir := manual(t)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		page := readFile(t, filepath.Join(dir, man.Name(c)+".1"))
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(page, man.Escape("--"+f.Name)) {
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

// manual is a folder with the pages that make man writes.
func manual(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "-tags", "man", ".", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func TestManualPagesAreGoodTroff(t *testing.T) {
	requirePart(t, "groff", "--version")
	pages, err := filepath.Glob(filepath.Join(manual(t), "*.1"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("found %q, %v", pages, err)
	}
	if out, err := exec.Command("groff", append([]string{"-man", "-ww", "-Tutf8", "-Kutf8", "-z"}, pages...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff finds fault with them: %v\n%s", err, out)
	}
}
