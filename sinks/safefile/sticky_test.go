package safefile

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// obstacles are what a user can put in the place of a token; a device only root can.
var obstacles = map[string]func(path string) error{
	"a symbolic link": func(path string) error { return os.Symlink(path+".theirs", path) },
	"a FIFO":          func(path string) error { return unix.Mkfifo(path, 0o666) },
	"a socket": func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err == nil {
			l.SetUnlinkOnClose(false)
			err = l.Close()
		}
		return err
	},
	"a file":      func(path string) error { return os.WriteFile(path, []byte("theirs"), 0o666) },
	"a device":    func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
	"a directory": func(path string) error { return os.Mkdir(path, 0o777) },
}

// intruder is who puts it there.
const intruder = 54399

// obstructed is the path of a token in a folder like /tmp, where the intruder has
// put something in its place. Others can get there.
func obstructed(t *testing.T, put func(path string) error) (path string) {
	t.Helper()
	needRoot(t)
	path = filepath.Join(mkdir(t, filepath.Join(openTempDir(t), "tmp"), 0, 0o777|os.ModeSticky), "token")
	must(t, put(path))
	must(t, os.Lchown(path, intruder, intruder))
	return path
}

func TestInAStickyFolderRootReplacesWhatOthersPutThere(t *testing.T) {
	for kind, put := range obstacles {
		if kind == "a directory" {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			for _, target := range []Target{theirs(obstructed(t, put)), mine(obstructed(t, put))} {
				f := New(target)
				if warnings, err := f.Check(); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], kind+" of uid 54399 in the place of the token will be replaced") {
					t.Errorf("Check says %q, %v", warnings, err)
				}
				r := mustWrite(t, f, "token")
				if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], target.Path+": "+kind+" of uid 54399 in the place of the token was replaced") {
					t.Errorf("the warnings are %q", r.Warnings)
				}
				wantFile(t, target, "token")
				if d, err := f.Look(); d != "" || err != nil {
					t.Errorf("Look says %q, %v", d, err)
				}
				must(t, errors.Join(os.Remove(target.Path), put(target.Path), os.Lchown(target.Path, intruder, intruder)))
				if d, err := f.Look(); d == "" || err != nil {
					t.Errorf("when it is there again, Look says %q, %v", d, err)
				}
				if err := f.Remove(t.Context()); !errors.Is(err, ErrChanged) {
					t.Errorf("Remove says %v", err)
				}
				if r := mustWrite(t, f, "token"); !r.Changed || len(r.Warnings) > 0 {
					t.Errorf("the second time it is %+v, want no warning", r)
				}
				wantFile(t, target, "token")
				if _, err := os.Lstat(target.Path + ".theirs"); err == nil {
					t.Error("a link was followed")
				}
			}
		})
	}
}

// Of root's powers over files it takes none: root owns the folder.
func TestThreeCapabilitiesReplaceWhatOthersPutThere(t *testing.T) {
	setpriv := needTool(t, "setpriv", "util-linux")
	target := theirs(obstructed(t, obstacles["a symbolic link"]))
	r := reportOf(t, child(t, "write", target, setpriv, "--inh-caps=-all", "--bounding-set=-all,+chown,+setuid,+setgid"))
	if r.Error != "" || len(r.Result.Warnings) != 1 || r.Look != "" || r.Restore != "it is gone" {
		t.Errorf("the child reports %+v", r)
	}
	wantFile(t, target, "new")
}

func TestOurOwnFileInAStickyFolderIsReplacedInSilence(t *testing.T) {
	needRoot(t)
	target := theirs(filepath.Join(mkdir(t, filepath.Join(openTempDir(t), "tmp"), 0, 0o777|os.ModeSticky), "token"))
	f := New(target)
	warnings := mustWrite(t, f, "first").Warnings // of the folder itself there is none: it is sticky
	warnings = append(warnings, mustWrite(t, New(target), "second").Warnings...)
	if len(warnings) > 0 {
		t.Errorf("it warns of %q", warnings)
	}
	wantFile(t, target, "second")
	must(t, os.Chown(target.Path, 0, 0)) // as it was before the definition named an owner
	if w := mustWrite(t, New(target), "third").Warnings; len(w) > 0 {
		t.Errorf("of root's own file it warns: %q", w)
	}
}

func TestAFolderInThePlaceOfATokenIsNamedWithItsOwner(t *testing.T) {
	target := theirs(obstructed(t, obstacles["a directory"]))
	for _, err := range []error{writeError(t, target), checkError(target)} {
		wantRefusal(t, err, target.Path, "a directory of uid 54399, which nothing can replace; remove it, or name a path in a folder that others cannot write")
	}
	wantNoTemp(t, filepath.Dir(target.Path))
}

func writeError(t *testing.T, target Target) error {
	_, err := New(target).Write(t.Context(), []byte("token"))
	return err
}

func checkError(target Target) error {
	_, err := New(target).Check()
	return err
}

func TestWithoutRootTheErrorNamesWhoObstructsAStickyFolder(t *testing.T) {
	for kind, put := range obstacles {
		t.Run(kind, func(t *testing.T) {
			target := theirs(obstructed(t, put))
			r := reportOf(t, asSomebody(child(t, "write", target)))
			wantError(t, errors.New(r.Error), target.Path+": "+kind+" of uid 54399, whom "+filepath.Dir(target.Path)+" lets put it there",
				"only that user and root can remove; ask them to, or name a path in a folder of your own")
			if strings.Contains(r.Error, "\n") {
				t.Errorf("it has several lines: %s", r.Error)
			}
			wantNoTemp(t, filepath.Dir(target.Path))
		})
	}
}

func TestElsewhereNothingOfOthersIsReplaced(t *testing.T) {
	for _, mode := range []os.FileMode{0o755, 0o755 | os.ModeSticky, 0o777} {
		path := obstructed(t, obstacles["a symbolic link"])
		must(t, os.Chmod(filepath.Dir(path), mode))
		wantRefusal(t, writeError(t, theirs(path)), path, "a symbolic link, which is not replaced; name the file itself, or remove the link")
	}
}
