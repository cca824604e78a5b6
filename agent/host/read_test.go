package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Users of nobody.
const alice, bob, group = 54331, 54332, 54333

func TestAWalkWithoutDescriptorsSaysSo(t *testing.T) {
	w := Walk{At: Place{FD: duplicate(-1), Path: "/etc"}, Rest: []string{"passwd"}}
	if _, err := w.Next(); !errors.Is(err, unix.EMFILE) {
		t.Errorf("the error is %v", err)
	}
}

// a layout makes what a test needs below a folder of root's that everybody may pass.
type layout struct {
	*testing.T
	base string
}

func newLayout(t *testing.T) layout {
	t.Helper()
	needRoot(t)
	l := layout{t, t.TempDir()}
	for dir := l.base; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		l.must(os.Chmod(dir, 0o755))
	}
	return l
}

func (l layout) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l layout) path(name string) string { return filepath.Join(l.base, name) }

func (l layout) folder(name string, uid int, mode fs.FileMode) {
	l.Helper()
	l.must(os.Mkdir(l.path(name), 0o700))
	l.own(name, uid, uid, mode)
}

func (l layout) file(name string, uid, gid int, mode fs.FileMode) {
	l.Helper()
	l.must(os.WriteFile(l.path(name), []byte(name), 0o600))
	l.own(name, uid, gid, mode)
}

func (l layout) own(name string, uid, gid int, mode fs.FileMode) {
	l.Helper()
	l.must(os.Chown(l.path(name), uid, gid))
	l.must(os.Chmod(l.path(name), mode))
}

func (l layout) link(name, to string, uid int) {
	l.Helper()
	if strings.HasPrefix(to, "@") {
		to = l.path(to[1:])
	}
	l.must(os.Symlink(to, l.path(name)))
	l.must(os.Lchown(l.path(name), uid, uid))
}

func (l layout) acl(name, entry string) {
	l.Helper()
	if out, err := command("setfacl", "-m", entry, l.path(name)); err != nil {
		missingPart(l.T, "setfacl", fmt.Sprint(err, out))
	}
}

// read is what Open finds under the name.
func (l layout) read(name string) (string, error) {
	f, err := Open(l.path(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	return string(content), err
}

const sticky = fs.ModeSticky | 0o777

func TestRootReadsForNobodyWhatThatUserMayNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		make func(l layout)
		want string // of the error; "": the file is read
	}{
		"a file of the user's": {func(l layout) {
			l.folder("home", alice, 0o700)
			l.file("home/file", alice, alice, 0o600)
		}, ""},
		"a file of root's that everybody may read": {func(l layout) {
			l.folder("home", alice, 0o755)
			l.file("home/file", 0, 0, 0o644)
		}, ""},
		"a file of root's in the user's folder": {func(l layout) {
			l.folder("home", alice, 0o755)
			l.file("home/file", 0, 0, 0o600)
		}, "permission denied for uid 54331, to whom BASE/home belongs: as root the agent reads there only what that user may read; give that user access, or move the file to a folder of root's, such as /etc/tokenagent"},
		"a link to a key of root's": {func(l layout) {
			l.folder("home", alice, 0o755)
			l.file("key", 0, 0, 0o600)
			l.link("home/file", "@key", alice)
		}, "BASE/key: permission denied for uid 54331"},
		"a link to an open file in a closed folder": {func(l layout) {
			l.folder("home", alice, 0o755)
			l.folder("closed", bob, 0o700)
			l.file("closed/token", bob, bob, 0o644)
			l.link("home/file", "@closed/token", alice)
		}, "BASE/closed/token: permission denied for uid 54331, to whom BASE/home belongs"},
		"a link to an open file": {func(l layout) {
			l.folder("home", alice, 0o755)
			l.folder("other", bob, 0o755)
			l.file("other/token", bob, bob, 0o644)
			l.link("home/file", "@other/token", alice)
		}, ""},
		"a user's link in a folder of root's": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.file("key", 0, 0, 0o600)
			l.link("home/file", "@key", alice)
		}, "permission denied for uid 54331, to whom BASE/home/file belongs"},
		"a link of another user to what the owner of the folder may read": {func(l layout) {
			l.folder("home", alice, 0o777)
			l.file("home/secret", alice, alice, 0o600)
			l.link("home/file", "secret", bob)
		}, "permission denied for uid 54332, to whom BASE/home/file belongs"},
		"a link of another user to a file of that user's": {func(l layout) {
			l.folder("home", alice, 0o777)
			l.file("home/secret", bob, bob, 0o600)
			l.link("home/file", "secret", bob)
		}, "permission denied for uid 54331"},
		"a folder of another user": {func(l layout) {
			l.folder("home", alice, 0o755)
			l.folder("home/sub", bob, 0o755)
			l.file("home/sub/secret", alice, alice, 0o600)
			l.link("home/file", "sub/secret", alice)
		}, "permission denied for uid 54332, to whom BASE/home/sub belongs"},
		"links of root's": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.folder("home/data", 0, 0o700)
			l.file("home/data/file", 0, 0, 0o600)
			l.link("home/..data", "data", 0)
			l.link("home/file", "..data/file", 0)
		}, ""},
		"a file of a user's in a folder of root's": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.file("home/file", alice, alice, 0o600)
		}, ""},
		"a link of root's in a sticky folder": {func(l layout) {
			l.folder("home", 0, sticky)
			l.file("key", 0, 0, 0o644)
			l.link("home/file", "@key", 0)
		}, "BASE/home/file is a symbolic link in BASE/home (owner root, mode 1777), where others could have put it; write the path that it stands for"},
		"a link of a user's in a sticky folder": {func(l layout) {
			l.folder("home", 0, sticky)
			l.file("key", 0, 0, 0o644)
			l.link("home/file", "@key", alice)
		}, "is a symbolic link in BASE/home"},
		"a file of root's in a sticky folder": {func(l layout) {
			l.folder("home", 0, sticky)
			l.file("home/file", 0, 0, 0o600)
		}, ""},
		"a file of a user's in a sticky folder": {func(l layout) {
			l.folder("home", 0, sticky)
			l.file("home/file", alice, alice, 0o600)
		}, ""},
		"a second name of a file, in a sticky folder": {func(l layout) {
			l.folder("home", 0, sticky)
			l.file("key", 0, 0, 0o600)
			l.must(os.Link(l.path("key"), l.path("home/file")))
		}, "BASE/home/file has 2 names (hard links), and others can make one in BASE/home"},
		"a folder of root's for a group": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.own("home", 0, group, 0o770|fs.ModeSetgid)
			l.file("home/file", 0, group, 0o600)
		}, ""},
		"a link of root's where a group can write": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.own("home", 0, group, 0o775)
			l.file("key", 0, 0, 0o600)
			l.link("home/file", "@key", 0)
		}, "is a symbolic link in BASE/home"},
		"a link of a member's where a group can write": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.own("home", 0, group, 0o775)
			l.file("key", 0, 0, 0o600)
			l.link("home/file", "@key", alice)
		}, "permission denied for uid 54331"},
		"a link of root's where a list lets a user write": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.acl("home", "u:54331:rwx")
			l.file("key", 0, 0, 0o600)
			l.link("home/file", "@key", 0)
		}, "is a symbolic link in BASE/home"},
		"nothing": {func(l layout) { l.folder("home", 0, 0o755) }, "no such file or directory"},
		"a file in place of a folder": {func(l layout) {
			l.file("home", 0, 0, 0o644)
		}, "BASE/home: not a directory"},
		"a circle": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.link("home/file", "file", 0)
		}, "too many levels of symbolic links"},
		"a FIFO": {func(l layout) {
			l.folder("home", alice, 0o755)
			l.must(unix.Mkfifo(l.path("home/file"), 0o666))
		}, "it is a FIFO, not a regular file"},
		"a folder": {func(l layout) {
			l.folder("home", 0, 0o755)
			l.folder("home/file", 0, 0o755)
		}, "it is a directory, not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			c.make(l)
			got, err := l.read("home/file")
			want := strings.ReplaceAll(c.want, "BASE", l.base)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || err == nil && got == "" {
				t.Errorf("read %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestAllGroupsOfTheUserAreTakenOn(t *testing.T) {
	l := newLayout(t)
	l.folder("home", 1, 0o755) // daemon, whom every system has
	l.file("home/file", 0, 1, 0o640)
	if _, err := l.read("home/file"); err != nil {
		t.Error(err)
	}
}

func TestTheKeeperOfAFileIsWhoseFolderItIs(t *testing.T) {
	l := newLayout(t)
	l.folder("home", alice, 0o755)
	l.folder("tmp", 0, sticky)
	for path, want := range map[string]int{"home/file": alice, "tmp/file": 0} {
		l.file(path, alice, alice, 0o600)
		f, err := Open(l.path(path))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if f.Keeper.UID != want {
			t.Errorf("the keeper of %s is %d, want %d", path, f.Keeper.UID, want)
		}
	}
}

func TestAnOrdinaryUserReadsAsEver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(path, []byte("content"), 0o600), os.Symlink("file", path+"-link"), unix.Mkfifo(path+"-fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	f, err := OpenPlain(path + "-link")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if content, err := io.ReadAll(f); string(content) != "content" || err != nil || f.Keeper.UID != os.Geteuid() {
		t.Errorf("it is %q, %v, of %v", content, err, f.Keeper)
	}
	if _, err := OpenPlain(path + "-fifo"); !errors.As(err, new(*Irregular)) {
		t.Errorf("of a FIFO it says %v", err)
	}
	if _, err := OpenPlain(path + "-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing it says %v", err)
	}
}

// A user swaps what lies in a folder of theirs, between a file of their own and a
// link to a key of root's, as fast as they can.
func TestNoSwapLeadsAReadAstray(t *testing.T) {
	l := newLayout(t)
	l.folder("secret", 0, 0o755)
	l.file("secret/file", 0, 0, 0o600)
	l.folder("home", alice, 0o755)
	l.folder("home/real", alice, 0o755)
	l.file("home/real/file", alice, alice, 0o600)
	l.link("home/link", "@secret", alice)
	l.link("home/at", "real", alice)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- swap(stop, l.path("home/at"), l.path("home/real"), l.path("home/link")) }()
	read, refused := 0, 0
	for deadline := time.Now().Add(time.Minute); (read < 50 || refused < 50) && time.Now().Before(deadline); {
		switch content, err := l.read("home/at/file"); {
		case err == nil && content == "home/real/file":
			read++
		case err == nil:
			t.Fatalf("it read %q", content)
		default:
			refused++
		}
	}
	close(stop)
	l.must(<-done)
	if read == 0 || refused == 0 {
		t.Errorf("%d read, %d refused: nothing was swapped", read, refused)
	}
}

// swap exchanges what lies at the path with each of the others in turn.
func swap(stop <-chan struct{}, path string, others ...string) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, others[i%len(others)], unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
}

func TestReadsLeaveNoDescriptorOpen(t *testing.T) {
	l := newLayout(t)
	l.folder("home", alice, 0o777)
	l.file("home/file", alice, alice, 0o644)
	l.link("home/link", "file", bob)
	l.file("home/closed", 0, 0, 0o600)
	before := descriptors(t)
	for range 20 {
		_, _ = l.read("home/link")
		_, _ = l.read("home/closed")
		_, _ = l.read("home/none")
		_, _ = Trust{}.Weaknesses(l.path("home/link"))
	}
	if after := descriptors(t); after > before+2 {
		t.Errorf("%d descriptors are open, before %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestARelativePathIsReadFromTheWorkingFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"file": "", "./none": "no such file or directory"} {
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && got != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Another host's root can make any link on a file server.
func TestALinkOnAFileServerLeadsToNoOtherFileSystem(t *testing.T) {
	l := newLayout(t)
	l.folder("share", 0, 0o755)
	l.file("secret", 0, 0, 0o600)
	if err := unix.Mount("tmpfs", l.path("share"), "tmpfs", 0, "mode=0755"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() { l.must(unix.Unmount(l.path("share"), unix.MNT_DETACH)) })
	l.file("share/file", 0, 0, 0o600)
	l.link("share/within", "file", 0)
	l.link("share/out", "@secret", 0)
	l.link("share/far", "@share/within", 0)
	l.link("in", "share/file", 0)
	for _, server := range []FileSystem{unix.NFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC} {
		for name, led := range map[string]bool{"share/file": false, "share/within": false, "share/far": false, "in": false, "share/out": true} {
			r := reading{path: l.path(name)}
			r.SystemOf = func(int) (FileSystem, error) { return server, nil }
			l.must(r.Begin(r.path))
			f, err := r.run()
			r.close()
			if err == nil {
				f.Close()
			}
			if (err != nil) != led || led && !strings.Contains(err.Error(), "leads to "+l.path("secret")+" on another one") {
				t.Errorf("%v, %s: %v", server, name, err)
			}
		}
	}
}
