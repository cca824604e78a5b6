package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

var expectation = regexp.MustCompile(`# (ERROR|WARNING): ([^#]*)`)

// expected are the faults that the comments of a fixture announce.
func expected(text string) (want []string) {
	for i, line := range strings.Split(text, "\n") {
		for _, m := range expectation.FindAllStringSubmatch(line, -1) {
			want = append(want, fmt.Sprintf("%d %s: %s", i+1, strings.ToLower(m[1]), strings.TrimSpace(m[2])))
		}
	}
	return want
}

func TestFixturesHaveTheFaultsTheyAnnounce(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(fixtures) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, name := range fixtures {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, faults := Load(t.Context(), []string{name}, fakes("key"), testEnvironment())
			var got []string
			for _, f := range faults {
				got = append(got, fmt.Sprintf("%d %s: %s", f.Line, f.Severity, f.Summary))
				if f.Detail == "" {
					t.Errorf("line %d: %q has no detail", f.Line, f.Summary)
				}
			}
			if diff := cmp.Diff(expected(string(text)), got); diff != "" {
				t.Errorf("faults (-announced +found):\n%s\n%v", diff, faults)
			}
		})
	}
}

func TestFaultsAsPeopleReadThem(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/golden/*.hcl")
	if err != nil || len(fixtures) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, name := range fixtures {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, faults := Load(t.Context(), []string{name}, fakes("key"), testEnvironment())
			var got bytes.Buffer
			if err := faults.WriteText(&got); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(name, ".hcl") + ".txt"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}
