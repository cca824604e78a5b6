package mapfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A suggested line maps the token that it was suggested for, in both ways that a
// server may read the file.
func TestASuggestedLineMapsItsToken(t *testing.T) {
	for _, name := range []string{
		"https://issuer.example,robot",
		"https://issuer.example/,CN=Some One+/(x)[y]|$^*?",
		`https://issuer.example,a"b\c`,
	} {
		for _, hash := range []bool{true, false} {
			m := Mapping{Name: name, HashKeys: &hash}
			line := strings.Replace(strings.Trim(m.Suggestion(), "`"), " USER", " robot", 1)
			path := filepath.Join(t.TempDir(), "map")
			if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			read, err := Read(path, Rules{HashKeys: hash})
			if err != nil {
				t.Fatal(err)
			}
			if hit, found, _ := read.Find("SCITOKENS", name); !found || hit.Mapped != "robot" {
				t.Errorf("%q does not map %s (hash keys %v): %+v", line, name, hash, read.Lines)
			}
			if _, found, _ := read.Find("SCITOKENS", "x"+name); found {
				t.Errorf("%q maps x%s too", line, name)
			}
		}
	}
}
