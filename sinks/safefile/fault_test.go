package safefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// smallDisk mounts a tmpfs of 64 KiB with a target in it that holds "old".
func smallDisk(t *testing.T) (f *File, target Target) {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0755"); err != nil {
		missing(t, "a tmpfs cannot be mounted here: "+err.Error())
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	target = mine(filepath.Join(dir, "token"))
	f = New(target)
	mustWrite(t, f, "old")
	return f, target
}

// wantOld demands a write that fails with these words, and that the old file
// stays as it was, alone.
func wantOld(t *testing.T, f *File, target Target, words ...string) {
	t.Helper()
	before := f.Record()
	_, err := f.Write(t.Context(), []byte(strings.Repeat("new", 2000)))
	wantError(t, err, append(words, target.Path+": ")...)
	wantFile(t, target, "old")
	if d, err := f.Look(); d != "" || err != nil || f.Record() != before {
		t.Errorf("Look says %q, %v", d, err)
	}
}

func TestFullDisk(t *testing.T) {
	f, target := smallDisk(t)
	full := filepath.Join(filepath.Dir(target.Path), "full")
	if err := os.WriteFile(full, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk takes too much: %v", err)
	}
	wantOld(t, f, target, "write the temporary file", "no space left on device", "free some space or inodes in "+filepath.Dir(target.Path))
	must(t, os.Remove(full))
	mustWrite(t, f, "new")
	wantFile(t, target, "new")
}

func TestReadOnlyDisk(t *testing.T) {
	f, target := smallDisk(t)
	dir := filepath.Dir(target.Path)
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	wantOld(t, f, target, "read-only file system", "ReadWritePaths="+dir, "tokenagent systemd-dropin")
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
	mustWrite(t, f, "new")
}

func TestMountedFile(t *testing.T) {
	f, target := smallDisk(t)
	other := target.Path + ".mounted"
	must(t, os.WriteFile(other, []byte("mounted"), 0o600))
	if err := unix.Mount(other, target.Path, "", unix.MS_BIND, ""); err != nil {
		missing(t, "a file cannot be mounted here: "+err.Error())
	}
	defer func() { must(t, unix.Unmount(target.Path, 0)) }()
	_, err := f.Write(t.Context(), []byte("new"))
	wantError(t, err, "device or resource busy", "mount the directory instead")
	wantContent(t, target.Path, "mounted")
	wantNoTemp(t, filepath.Dir(target.Path))
}

func TestFolderThatMayNotBeWritten(t *testing.T) {
	target := mine("")
	dir := openTempDir(t)
	if os.Geteuid() == 0 {
		target, dir = theirs(""), mkdir(t, filepath.Join(dir, "home"), somebody.UID, 0o700)
	}
	target.Path = filepath.Join(dir, "token")
	f := New(target)
	mustWrite(t, f, "old")
	must(t, os.Chmod(dir, 0o500))
	wantOld(t, f, target, "permission denied for "+host.UserID(target.Owner.UID).String(), "mode 0500")
	must(t, os.Chmod(dir, 0o700))
	mustWrite(t, f, "new")
}

func TestFolderThatMayNotBePassed(t *testing.T) {
	dir := t.TempDir()
	target := mine("")
	if os.Geteuid() == 0 {
		target = theirs("")
		must(t, os.Chmod(dir, 0o755)) // its parent stays 0700
		dir = mkdir(t, filepath.Join(dir, "home"), somebody.UID, 0o700)
	} else {
		dir = mkdir(t, filepath.Join(dir, "closed"), os.Geteuid(), 0o000)
		defer os.Chmod(dir, 0o700)
		dir = filepath.Join(dir, "inner")
	}
	target.Path = filepath.Join(dir, "token")
	_, err := New(target).Write(t.Context(), []byte("new"))
	wantError(t, err, "permission denied for "+host.UserID(target.Owner.UID).String(), "let that user pass")
}

// Errors that no test can bring about otherwise are put into the system calls
// by strace. The write as a whole fails, and the old file stays, unless the new one is in
// its place already.
func TestErrorsOfTheDisk(t *testing.T) {
	strace := needTool(t, "strace", "strace")
	for inject, test := range map[string]struct {
		words []string
		want  string
	}{
		"fsync:error=EIO":           {[]string{"sync the temporary file", "input/output error", "see the kernel's log"}, "old"},
		"fsync:error=EDQUOT":        {[]string{"sync the temporary file", "disk quota exceeded", "raise the quota"}, "old"},
		"fchmod:error=EPERM":        {[]string{"set the mode", "operation not permitted", "lsattr"}, "old"},
		"/^renameat:error=EROFS":    {[]string{"replace it", "read-only file system", "ReadWritePaths="}, "old"},
		"/^renameat:error=EIO":      {[]string{"replace it", "input/output error"}, "old"},
		"/^renameat:error=EBUSY":    {[]string{"mount the directory instead"}, "old"},
		"fsetxattr:error=EPERM":     {nil, "new"},
		"fsync:error=EINVAL:when=2": {nil, "new"},
		"fsync:error=EIO:when=2":    {[]string{"sync the folder", "input/output error"}, "new"},
	} {
		t.Run(inject, func(t *testing.T) {
			target := mine(filepath.Join(t.TempDir(), "token"))
			must(t, os.WriteFile(target.Path, []byte("old"), 0o600))
			r := reportOf(t, child(t, "write", target, strace, "-f", "-o", os.DevNull, "-e", "inject="+inject))
			wantContent(t, target.Path, test.want)
			wantNoTemp(t, filepath.Dir(target.Path))
			if (r.Error == "") != (test.words == nil) {
				t.Errorf("the error is %q", r.Error)
			}
			if len(test.words) > 0 {
				wantError(t, errors.New(r.Error), test.words...)
			}
			if len(r.Result.Warnings) > 0 {
				t.Errorf("the warnings are %q", r.Result.Warnings)
			}
		})
	}
}

func TestThreeCapabilitiesAreEnough(t *testing.T) {
	needRoot(t)
	setpriv := needTool(t, "setpriv", "util-linux")
	base := openTempDir(t)
	home := mkdir(t, filepath.Join(base, "home"), somebody.UID, 0o700)
	open := mkdir(t, filepath.Join(base, "open"), 0, 0o755)
	closed := mkdir(t, filepath.Join(base, "closed"), 0, 0o700)
	for name, test := range map[string]struct{ path, read string }{
		"in the owner's folder":        {filepath.Join(home, "token"), "new"},
		"in a new folder of theirs":    {filepath.Join(home, "new", "token"), "new"},
		"in a new folder below root's": {filepath.Join(base, "new", "token"), "new"},
		"in an open folder of root":    {filepath.Join(open, "token"), "new"},
		"in a closed folder of root":   {filepath.Join(closed, "token"), "permission denied"}, // to root as to the owner
	} {
		t.Run(name, func(t *testing.T) {
			target := theirs(test.path)
			target.CreateDir = true
			r := reportOf(t, child(t, "write", target, setpriv, "--inh-caps=-all", "--bounding-set=-all,+chown,+setuid,+setgid"))
			if r.Error != "" || !r.Result.Changed || r.Look != "" || !strings.Contains(r.Read, test.read) || r.Restore != "it is gone" {
				t.Errorf("the child reports %+v", r)
			}
			wantFile(t, target, "new")
		})
	}
}

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	needRoot(t)
	setpriv := needTool(t, "setpriv", "util-linux")
	base := openTempDir(t)
	home := mkdir(t, filepath.Join(base, "home"), somebody.UID, 0o700)
	for missing, path := range map[string]string{
		"chown":  filepath.Join(base, "token"),
		"setuid": filepath.Join(home, "token"),
		"setgid": filepath.Join(home, "token"),
	} {
		t.Run(missing, func(t *testing.T) {
			r := reportOf(t, child(t, "write", theirs(path), setpriv, "--inh-caps=-all", "--bounding-set=-all,+chown,+setuid,+setgid,-"+missing))
			wantError(t, errors.New(r.Error), path, "CAP_"+strings.ToUpper(missing))
		})
	}
}
