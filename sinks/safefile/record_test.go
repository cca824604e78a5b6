package safefile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRemoveTakesAwayOnlyWhatWasWritten(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			f := New(mine(filepath.Join(t.TempDir(), "token")))
			mustWrite(t, f, "content")
			change.do(t, f.target.Path)
			err := f.Remove(t.Context())
			if change.seen == "it is gone" {
				must(t, err)
				return
			}
			wantError(t, err, f.target.Path+": left as it is", "somebody changed it: "+change.seen)
			if _, there := os.Lstat(f.target.Path); there != nil || !errors.Is(err, ErrChanged) {
				t.Errorf("%v, and of the file: %v", err, there)
			}
		})
	}
}

func TestWhatReplacedTheFileIsNotRemoved(t *testing.T) {
	f := New(mine(filepath.Join(t.TempDir(), "token")))
	mustWrite(t, f, "content")
	must(t, errors.Join(os.Remove(f.target.Path), os.Mkdir(f.target.Path, 0o700)))
	err := f.Remove(t.Context())
	wantError(t, err, "left as it is, since somebody changed it: it is a directory")
}

// NFS, btrfs and loop devices may have another number after each mount.
func TestAFileIsAdoptedThoughItsDeviceHasAnotherNumber(t *testing.T) {
	f := New(mine(filepath.Join(t.TempDir(), "token")))
	mustWrite(t, f, "content")
	r := f.Record()
	r.Device++
	next := New(f.target)
	if d, err := next.Adopt(r); d != "" || err != nil {
		t.Errorf("it differs: %q, %v", d, err)
	}
	if d, err := next.Look(); d != "" || err != nil {
		t.Errorf("Look says %q, %v", d, err)
	}
	r.Inode++
	if d, err := New(f.target).Adopt(r); d != "another file lies in its place" || err != nil {
		t.Errorf("another file: %q, %v", d, err)
	}
}

// A folder that was moved away with a link in its place still leads readers to
// the file, so Look calls it fine; a write refuses the link.
func TestLookFollowsTheLinksThatReadersFollow(t *testing.T) {
	needRoot(t)
	base := openTempDir(t)
	home := mkdir(t, base+"/home", somebody.UID, 0o755)
	dir := mkdir(t, home+"/tokens", somebody.UID, 0o755)
	f := New(theirs(dir + "/token"))
	mustWrite(t, f, "content")
	must(t, os.Rename(dir, dir+".moved"))
	link(t, "tokens.moved", dir)
	if d, err := f.Look(); d != "" || err != nil {
		t.Errorf("of the file behind a link Look says %q, %v", d, err)
	}
	_, err := f.Write(t.Context(), []byte("new"))
	wantRefusal(t, err, dir, "a symbolic link")
	must(t, os.Remove(dir))
	other := mkdir(t, base+"/other", somebody.UID, 0o755)
	must(t, os.WriteFile(other+"/token", []byte("content"), 0o600))
	must(t, os.Chown(other+"/token", somebody.UID, somebody.GID))
	link(t, other, dir)
	if d, err := f.Look(); d != "another file lies in its place" || err != nil {
		t.Errorf("of another file Look says %q, %v", d, err)
	}
}

func TestAFileThatIsNotAdoptedIsNotTakenForOurs(t *testing.T) {
	f := New(mine(filepath.Join(t.TempDir(), "token")))
	mustWrite(t, f, "content")
	must(t, os.WriteFile(f.target.Path, []byte("else"), 0o600))
	next := New(f.target)
	if d, err := next.Adopt(f.Record()); d == "" || err != nil {
		t.Fatalf("Adopt says %q, %v", d, err)
	}
	if next.Record() != (Record{}) {
		t.Error("its record was kept")
	}
}

// What is wanted may have changed since the file was written.
func TestAFileIsNotAdoptedForAnotherOwnerOrMode(t *testing.T) {
	f := New(mine(filepath.Join(t.TempDir(), "token")))
	mustWrite(t, f, "content")
	other := f.target
	other.Mode = 0o640
	if d, err := New(other).Adopt(f.Record()); d != "its mode is 0600, not 0640" || err != nil {
		t.Errorf("Adopt says %q, %v", d, err)
	}
}

func TestAFolderThatIsGivenBackToRootIsLookedAtAsRoot(t *testing.T) {
	needRoot(t)
	home := mkdir(t, filepath.Join(openTempDir(t), "home"), somebody.UID, 0o700)
	f := New(theirs(filepath.Join(home, "token")))
	mustWrite(t, f, "content")
	must(t, os.Chown(home, 0, 0))
	mustWrite(t, f, "new")
	if d, err := f.Look(); d != "" || err != nil {
		t.Errorf("Look says %q, %v", d, err)
	}
}
