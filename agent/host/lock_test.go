package host

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheHolderOfALockIsReadFromARegularFileAlone(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	lock, err := LockFile(path("lock"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	SignLock(lock)
	for _, err := range []error{os.Symlink("lock", path("link")), unix.Mkfifo(path("fifo"), 0o600), os.Mkdir(path("folder"), 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"lock": os.Getpid(), "link": 0, "fifo": 0, "folder": 0, "none": 0} {
		if got := Holder(path(name)); got != want {
			t.Errorf("%s: process %d, want %d", name, got, want)
		}
	}
}
