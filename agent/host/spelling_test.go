package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAPathIsFoundAsItIsSpelledOnTheDisk(t *testing.T) {
	const composed, decomposed = "sch\u00e4tze", "scha\u0308tze"
	dir := t.TempDir()
	for _, name := range []string{decomposed + "/" + decomposed + ".pem", "both/" + composed, "both/" + decomposed, "plain/key"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{
		{composed, decomposed},
		{composed + "/" + composed + ".pem", decomposed + "/" + decomposed + ".pem"},
		{decomposed + "/" + composed + ".pem", decomposed + "/" + decomposed + ".pem"},
		{composed + "/new", decomposed + "/new"},
		{composed + "/neu-\u00fc", decomposed + "/neu-\u00fc"},
		{"both/" + composed, "both/" + composed},
		{"both/" + decomposed, "both/" + decomposed},
		{"plain/key", "plain/key"},
		{"plain/\u00fc", "plain/\u00fc"},
		{"gone/\u00fc/\u00fc", "gone/\u00fc/\u00fc"},
		{"plain/key/\u00fc", "plain/key/\u00fc"},
	} {
		if got := Spelled(filepath.Join(dir, c[0])); got != filepath.Join(dir, c[1]) {
			t.Errorf("%+q: got %+q, want %+q", c[0], got, c[1])
		}
	}
}
