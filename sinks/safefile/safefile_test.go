package safefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// somebody is an account that needs no entry in /etc/passwd.
var somebody = host.Identity{UID: 54321, GID: 54321, Groups: []int{54322}}

// mine is a target of the test's own user.
func mine(path string) Target {
	return Target{Path: path, Owner: host.Self(), Group: host.Self().GID, Mode: 0o600}
}

// theirs is a target of somebody else, for tests that root runs.
func theirs(path string) Target {
	return Target{Path: path, Owner: somebody, Group: somebody.GID, Mode: 0o600}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can take on another identity")
	}
}

// openTempDir is a new folder that every user can pass, and its parent too.
func openTempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mkdir makes a folder with that owner and mode and returns its path.
func mkdir(t testing.TB, path string, uid int, mode os.FileMode) string {
	t.Helper()
	err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode))
	if uid != os.Geteuid() {
		err = errors.Join(err, os.Chown(path, uid, uid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func mustWrite(t testing.TB, f *File, content string) Result {
	t.Helper()
	r, err := f.Write(t.Context(), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantFile demands content, owner, group and mode, and one file alone in its folder.
func wantFile(t testing.TB, target Target, content string) {
	t.Helper()
	wantContent(t, target.Path, content)
	var st unix.Stat_t
	if err := unix.Lstat(target.Path, &st); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%d:%d %04o", st.Uid, st.Gid, st.Mode&0o7777)
	if want := fmt.Sprintf("%d:%d %04o", target.Owner.UID, target.Group, target.Mode); got != want {
		t.Errorf("%s is %s, want %s", target.Path, got, want)
	}
	wantNoTemp(t, filepath.Dir(target.Path))
}

func wantContent(t testing.TB, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s holds %q, want %q", path, got, want)
	}
}

func wantNoTemp(t testing.TB, dir string) {
	t.Helper()
	if left := temps(t, dir); len(left) > 0 {
		t.Errorf("left over in %s: %q", dir, left)
	}
}

func temps(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tempSuffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// wantError demands an error that contains all the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestWriteReplacesTheFileAsAWhole(t *testing.T) {
	target := mine(filepath.Join(t.TempDir(), "token"))
	f := New(target)
	for _, content := range []string{"first", "a longer second one", "3rd"} {
		if !mustWrite(t, f, content).Changed {
			t.Errorf("writing %q changed nothing", content)
		}
		wantFile(t, target, content)
	}
}

func TestWriteLeavesAloneWhatLiesThereAsWanted(t *testing.T) {
	target := mine(filepath.Join(t.TempDir(), "token"))
	f := New(target)
	mustWrite(t, f, "content")
	before := f.Record()
	if mustWrite(t, f, "content").Changed {
		t.Error("the same content changed something")
	}
	if after := f.Record(); after != before {
		t.Errorf("the record went from %+v to %+v", before, after)
	}
	again := New(target)
	if d, err := again.Adopt(before); d != "" || err != nil {
		t.Errorf("Adopt says %q, %v", d, err)
	}
	if mustWrite(t, again, "content").Changed {
		t.Error("the same content changed something after adoption")
	}
}

func TestWriteRepairsWhatSomebodyChanged(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			target := mine(filepath.Join(t.TempDir(), "token"))
			f := New(target)
			mustWrite(t, f, "content")
			change.do(t, target.Path)
			if !mustWrite(t, f, "content").Changed {
				t.Error("nothing was repaired")
			}
			wantFile(t, target, "content")
			if d, err := f.Look(); d != "" || err != nil {
				t.Errorf("after the repair Look says %q, %v", d, err)
			}
		})
	}
}

func TestLookNamesTheDifference(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			f := New(mine(filepath.Join(t.TempDir(), "token")))
			mustWrite(t, f, "content")
			if d, err := f.Look(); d != "" || err != nil {
				t.Fatalf("before the change Look says %q, %v", d, err)
			}
			change.do(t, f.target.Path)
			if d, err := f.Look(); d != change.seen || err != nil {
				t.Errorf("Look says %q, %v; want %q", d, err, change.seen)
			}
		})
	}
}

// changes are what others do to a file, and how Look calls it.
var changes = map[string]struct {
	do   func(t *testing.T, path string)
	seen string
}{
	"removed": {func(t *testing.T, path string) { must(t, os.Remove(path)) }, "it is gone"},
	"folder removed": {func(t *testing.T, path string) {
		must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+".old"))
		must(t, os.Mkdir(filepath.Dir(path), 0o700))
	}, "it is gone"},
	"chmodded":  {func(t *testing.T, path string) { must(t, os.Chmod(path, 0o644)) }, "its mode is 0644, not 0600"},
	"truncated": {func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }, "its size is 0, not 7"},
	"replaced": {func(t *testing.T, path string) {
		must(t, os.WriteFile(path+".new", []byte("content"), 0o600))
		must(t, os.Rename(path+".new", path))
	}, "another file lies in its place"},
	"rewritten in place": {func(t *testing.T, path string) {
		must(t, os.WriteFile(path, []byte("CONTENT"), 0o600))
		must(t, os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)))
	}, "its content was written by somebody else"},
	"linked": {func(t *testing.T, path string) { must(t, os.Link(path, path+".link")) }, "its attributes were changed"},
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLookBeforeTheFirstWrite(t *testing.T) {
	f := New(mine(filepath.Join(t.TempDir(), "token")))
	if d, err := f.Look(); d != "it was not written yet" || err != nil {
		t.Errorf("Look says %q, %v", d, err)
	}
}

func TestWriteRefusesTargetsThatAreNoFile(t *testing.T) {
	kinds := map[string]func(path string) error{
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a socket": func(path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		},
		"a symbolic link": func(path string) error { return os.Symlink(path+".target", path) },
		"a device":        func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
	}
	for kind, make := range kinds {
		t.Run(kind, func(t *testing.T) {
			if kind == "a device" {
				needRoot(t)
			}
			path := filepath.Join(t.TempDir(), "token")
			must(t, make(path))
			f := New(mine(path))
			_, err := f.Write(t.Context(), []byte("content"))
			wantRefusal(t, err, path, kind)
			_, err = f.Check()
			wantRefusal(t, err, path, kind)
			_, err = f.Read()
			wantRefusal(t, err, path, kind)
			wantNoTemp(t, filepath.Dir(path))
		})
	}
}

func wantRefusal(t testing.TB, err error, path string, words ...string) {
	t.Helper()
	wantError(t, err, words...)
	if r, ok := errors.AsType[*Refusal](err); !ok || r.Path != path {
		t.Errorf("error %q is no refusal of %s", err, path)
	}
	if strings.Count(err.Error(), path+":") != 1 {
		t.Errorf("error %q does not name %s once", err, path)
	}
}

func TestAFailureAfterAnyStepLeavesAWholeFile(t *testing.T) {
	stop := errors.New("stopped by the test")
	for step, target := range everyStep(t) {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			f := New(target)
			mustWrite(t, f, "old")
			f.passed = func(n int) error {
				if n == step {
					return stop
				}
				return nil
			}
			if _, err := f.Write(t.Context(), []byte("new")); !errors.Is(err, stop) {
				t.Fatalf("got the error %v, want that of the test", err)
			}
			wantFile(t, target, contentAfter(step))
			f.passed = nil
			mustWrite(t, f, "new")
			wantFile(t, target, "new")
		})
	}
}

func TestAKillAfterAnyStepLeavesAWholeFile(t *testing.T) {
	for step, target := range everyStep(t) {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			f := New(target)
			mustWrite(t, f, "old")
			c := child(t, "die", target)
			c.Env = append(c.Env, fmt.Sprint(childStep, "=", step))
			if err := c.Run(); err == nil || err.Error() != "signal: killed" {
				t.Fatalf("the child ends with %v", err)
			}
			wantContent(t, target.Path, contentAfter(step))
			removed, err := f.Sweep(t.Context(), func(name string) bool { return name == "token" })
			if left := step >= 4 && step < stepReplace; err != nil || (len(removed) > 0) != left {
				t.Errorf("swept %q, %v; want that something was left: %v", removed, err, left)
			}
			wantFile(t, target, contentAfter(step))
		})
	}
}

// everyStep yields the numbers of all steps with a target, of the test's own
// user and, where root runs it, of somebody else in a folder of that user.
func everyStep(t *testing.T) iter.Seq2[int, Target] {
	return func(yield func(int, Target) bool) {
		for step := 1; step <= 14; step++ {
			if !yield(step, mine(filepath.Join(t.TempDir(), "token"))) {
				return
			}
			if os.Geteuid() != 0 {
				continue
			}
			home := mkdir(t, filepath.Join(openTempDir(t), "home"), somebody.UID, 0o700)
			if !yield(step, theirs(filepath.Join(home, "token"))) {
				return
			}
		}
	}
}

// contentAfter is what lies at the target when a write ends after the step.
func contentAfter(step int) string {
	if step >= stepReplace {
		return "new"
	}
	return "old"
}

// Whoever can read a folder can hold a lock on it, for ever.
func TestAForeignLockOnTheFolderDelaysNoWrite(t *testing.T) {
	dir := t.TempDir()
	foreign, err := os.Open(dir)
	must(t, err)
	defer foreign.Close()
	must(t, syscall.Flock(int(foreign.Fd()), syscall.LOCK_EX))
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		for n := range 40 {
			f := New(mine(filepath.Join(dir, fmt.Sprint("token", n))))
			if r := mustWrite(t, f, "content"); len(r.Warnings) > 0 {
				t.Errorf("it warns of %q", r.Warnings)
			}
			must(t, f.Remove(t.Context()))
		}
		if _, err := New(mine(dir+"/token")).Sweep(t.Context(), func(string) bool { return true }); err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("forty tokens waited for %v", waited)
		}
	})
}

func TestCancelledWriteChangesNothing(t *testing.T) {
	target := mine(filepath.Join(t.TempDir(), "token"))
	f := New(target)
	mustWrite(t, f, "old")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Write(ctx, []byte("new")); !errors.Is(err, ctx.Err()) {
		t.Errorf("got the error %v", err)
	}
	wantFile(t, target, "old")
}

func TestAWriteIsCancelledAtAnyStepBeforeTheRename(t *testing.T) {
	for step := 1; step <= 14; step++ {
		target := mine(filepath.Join(t.TempDir(), "token"))
		f := New(target)
		mustWrite(t, f, "old")
		ctx, cancel := context.WithCancel(t.Context())
		f.passed = func(n int) error {
			if n == step {
				cancel()
			}
			return nil
		}
		_, err := f.Write(ctx, []byte("new"))
		if cancelled := step < stepReplace; errors.Is(err, context.Canceled) != cancelled {
			t.Errorf("cancelled after step %d, the write says %v", step, err)
		}
		wantFile(t, target, contentAfter(step))
	}
}

func TestMissingFolder(t *testing.T) {
	dir := t.TempDir()
	target := mine(filepath.Join(dir, "a", "token"))
	f := New(target)
	_, err := f.Write(t.Context(), []byte("content"))
	wantError(t, err, target.Path, "there is no "+filepath.Dir(target.Path), "create_dir")
	if _, err := f.Check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check says %v", err)
	}

	target.CreateDir = true
	f = New(target)
	if _, err := f.Check(); err != nil {
		t.Errorf("Check says %v", err)
	}
	if _, err := os.Stat(filepath.Dir(target.Path)); err == nil {
		t.Error("Check made the folder")
	}
	mustWrite(t, f, "content")
	wantFile(t, target, "content")
	if fi, err := os.Stat(filepath.Dir(target.Path)); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", fi.Mode(), err)
	}

	target.Path = filepath.Join(dir, "b", "c", "token")
	_, err = New(target).Write(t.Context(), []byte("content"))
	wantError(t, err, "there is no "+filepath.Join(dir, "b"))

	target.CreateParents = true
	f = New(target)
	if _, err := f.Check(); err != nil {
		t.Errorf("Check says %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); err == nil {
		t.Error("Check made a folder")
	}
	mustWrite(t, f, "content")
	for _, made := range []string{"b", "b/c"} {
		if fi, err := os.Stat(filepath.Join(dir, made)); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("the folder is %v, %v", fi.Mode(), err)
		}
	}
}

func TestReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	f := New(mine(path))
	if _, err := f.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	must(t, os.WriteFile(path, []byte("foreign"), 0o644))
	if got, err := f.Read(); string(got) != "foreign" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	must(t, os.WriteFile(path, make([]byte, MaxRead+1), 0o644))
	_, err := f.Read()
	wantError(t, err, path, "larger than 65536 bytes")
}

func TestFileNames(t *testing.T) {
	for name, fine := range map[string]bool{
		"token": true, "10-collector": true, ".hidden": true, strings.Repeat("x", MaxName): true,
		"": false, ".": false, "..": false, "a/b": false, "a\x00b": false,
		strings.Repeat("x", MaxName+1): false, ".tokenagent.x": false,
	} {
		if problem := CheckName(name); (problem == "") != fine {
			t.Errorf("CheckName(%q) = %q", name, problem)
		}
	}
}

// A write that has nothing to do has opened nothing, and so closes nothing.
func TestAWriteWithoutAChangeClosesNoDescriptor(t *testing.T) {
	f := New(mine(filepath.Join(t.TempDir(), "token")))
	mustWrite(t, f, "content")
	var before, after unix.Stat_t
	must(t, unix.Fstat(0, &before))
	mustWrite(t, f, "content")
	if err := unix.Fstat(0, &after); err != nil || before != after {
		t.Errorf("standard input was closed: %v", err)
	}
}

func TestAFileSystemThatKeepsNoModesIsNoticedBeforeTheRename(t *testing.T) {
	target := mine(filepath.Join(t.TempDir(), "token"))
	f := New(target)
	mustWrite(t, f, "old")
	f.passed = func(step int) error {
		if step != 8 {
			return nil
		}
		return os.Chmod(filepath.Join(filepath.Dir(target.Path), temps(t, filepath.Dir(target.Path))[0]), 0o644)
	}
	_, err := f.Write(t.Context(), []byte("new"))
	wantError(t, err, "does not keep owner, group, mode or size", "its mode is 0644, not 0600")
	wantContent(t, target.Path, "old")
	wantNoTemp(t, filepath.Dir(target.Path))
}

// The number of a closed descriptor may belong to somebody else a moment later.
func TestAWriteClosesItsFileOnce(t *testing.T) {
	f := New(mine(filepath.Join(t.TempDir(), "token")))
	var other *os.File
	f.passed = func(step int) (err error) {
		if step == 11 {
			other, err = os.Open(os.DevNull) // has the number that the temporary file had
		}
		return err
	}
	mustWrite(t, f, "content")
	if _, err := other.Stat(); err != nil {
		t.Errorf("the file of another was closed: %v", err)
	}
}
