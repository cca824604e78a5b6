package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFolderThatCannotBeSyncedIsNoError(t *testing.T) {
	for _, folder := range []string{t.TempDir(), "/proc"} { // fsync of /proc is EINVAL
		if err := SyncFolder(folder); err != nil {
			t.Errorf("%s: %v", folder, err)
		}
	}
	if err := SyncFolder(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestNoMoreIsReadThanIsAllowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content, _, err := ReadFile(path, 4); err != nil || string(content) != "four" {
		t.Errorf("got %q, %v", content, err)
	}
	if content, _, err := ReadFile(path, 3); err == nil || err.Error() != "it is larger than 3 bytes" || content != nil {
		t.Errorf("got %q, %v", content, err)
	}
	if _, _, err := ReadFile(filepath.Dir(path), 4); err == nil || !strings.Contains(err.Error(), "it is a directory, not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestShellWord(t *testing.T) {
	for text, want := range map[string]string{
		"/etc/a-b_c.d@1": "/etc/a-b_c.d@1",
		"a b":            "'a b'",
		"a;b":            "'a;b'",
		"it's":           `'it'\''s'`,
		"":               "''",
		"~":              "'~'",
		"ä":              "'ä'",
	} {
		if got := ShellWord(text); got != want {
			t.Errorf("%q is typed as %s, want %s", text, got, want)
		}
	}
}
