package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	maxLinks      = 40 // symbolic links in one path, as in the kernel
	othersWrite   = 0o022
	directoryMode = 0o700 // of a folder made by CreateDir
)

// errWouldCreate tells that a dry walk ended where the last folder would be made.
var errWouldCreate = fmt.Errorf("the folder is not there yet: %w", fs.ErrNotExist)

// errOwners tells that a walk as root came to a folder of the target's owner,
// from where only the owner's own identity may go on.
var errOwners = errors.New("the folder is its owner's")

// A folder is the open folder of a target.
type folder struct {
	place
	name       string   // the target's name in it
	owner      int      // whose the target is
	privileged bool     // this process is root's
	as         identity // under which this thread touches files
	warnings   []error
}

// inFolder opens the folder of f's target under the identity that may write
// there (step 1 and "Who writes") and calls do under that identity.
func (f *File) inFolder(w walk, do func(*folder) error) error {
	w.target, w.privileged, w.as, w.typeOf = f.target, privileged(), identity{uid: os.Geteuid()}, f.typeOf
	err := w.visit(do)
	if err == nil {
		f.asOwner = false
	}
	if errors.Is(err, errOwners) {
		f.asOwner = true
		w.as = identityOf(f.target.Owner, f.target.Group)
		err = f.target.asOwner(func() error { return w.visit(do) })
	}
	return f.target.fault(err)
}

// asOwner calls do, for a folder of the owner's, under the owner's identity.
func (t Target) asOwner(do func() error) error {
	if !t.Owner.In(t.Group) {
		return &Stranger{t.Group, t.Owner.UID}
	}
	return as(t.Owner, t.Group, do)
}

// A walk goes from the root to the folder of a target, never through a name
// that somebody else could change on the way.
type walk struct {
	target     Target
	privileged bool
	as         identity // under which this thread touches files
	dry        bool     // changes nothing
	typeOf     func(fd int) (host.FileSystem, error)

	at       place
	system   uint64   // the device that / lies on
	rest     []string // components still to go
	links    int      // symbolic links followed
	owners   bool     // a folder that root does not own has been passed
	warnings []error
}

// A place is an open component of the path.
type place struct {
	fd     int
	path   string // without symbolic links
	stat   unix.Stat_t
	system host.FileSystem // that it lies in, where that need not be believed
	others bool            // as in a Refusal
}

// open reports whether somebody else than root and the process's own user may
// put something under a name in the folder.
func (p place) open() bool {
	return p.others || p.strange() || p.stat.Mode&othersWrite != 0
}

// strange reports whether the place may belong to somebody else.
func (p place) strange() bool {
	return p.system.Server() == host.Program || p.stat.Uid != 0 && int(p.stat.Uid) != os.Geteuid()
}

// holds reports whether somebody else may have put next there, in the folder p.
// Nobody can put another in the place of a folder of root's in a sticky one.
func (p place) holds(next place) bool {
	if next.stat.Mode&unix.S_IFMT == unix.S_IFDIR && !next.strange() && p.stat.Mode&unix.S_ISVTX != 0 {
		return p.others || p.strange()
	}
	return p.open()
}

// String tells whose the folder is, for errors.
func (p place) String() string {
	return fmt.Sprintf("%s (owner %v, mode %04o)", p.path, userID(p.stat.Uid), p.stat.Mode&0o7777)
}

func (w walk) visit(do func(*folder) error) error {
	d, err := w.open()
	if err != nil {
		return err
	}
	defer unix.Close(d.fd)
	return do(d)
}

// open goes all the way. The descriptor it returns serves every later step.
func (w *walk) open() (*folder, error) {
	dir, name := filepath.Split(w.target.Path)
	w.rest = components(dir)
	w.at.fd = -1
	defer func() { unix.Close(w.at.fd) }()
	if err := w.root(); err != nil {
		return nil, err
	}
	for len(w.rest) > 0 {
		next := w.rest[0]
		w.rest = w.rest[1:]
		if err := w.enter(next); err != nil {
			return nil, err
		}
	}
	fd, err := openat(w.at.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, w.unopened(w.at.path, err)
	}
	d := &folder{place: w.at, name: name, owner: w.target.Owner.UID, privileged: w.privileged, as: w.as, warnings: w.warnings}
	d.fd = fd
	return d, nil
}

// root goes to where every path begins.
func (w *walk) root() error {
	w.owners = false
	return w.arrive(unix.AT_FDCWD, "/", "/")
}

// enter goes one component further: into a folder, or along a symbolic link.
func (w *walk) enter(name string) error {
	path := filepath.Join(w.at.path, name)
	err := w.arrive(w.at.fd, name, path)
	if errors.Is(err, unix.ENOENT) && w.target.CreateDir && (len(w.rest) == 0 || w.target.CreateParents) {
		if err := w.create(name); err != nil {
			return w.unopened(path, err)
		}
		err = w.arrive(w.at.fd, name, path)
	}
	return err
}

// arrive opens a component. A folder becomes the place to go on from, if it may be.
func (w *walk) arrive(dirfd int, name, path string) error {
	fd, err := openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return w.unopened(path, err)
	}
	next := place{fd: fd, path: path}
	if err := w.lookAt(&next); err != nil {
		unix.Close(fd)
		return w.unopened(path, err)
	}
	switch next.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		unix.Close(w.at.fd)
		w.at = next
		return w.judge()
	case unix.S_IFLNK:
		defer unix.Close(fd)
		return w.follow(next)
	default:
		unix.Close(fd)
		return w.refusal(next, host.KindOf(next.stat.Mode)+", where a folder is wanted")
	}
}

// lookAt finds out about a place that was opened from the one before it.
func (w *walk) lookAt(next *place) error {
	if err := unix.Fstat(next.fd, &next.stat); err != nil {
		return err
	}
	if next.path == "/" {
		w.system = uint64(next.stat.Dev)
		return nil
	}
	if err := w.locate(next); err != nil {
		return err
	}
	next.others = w.at.holds(*next)
	return nil
}

// judge demands that nobody but root and the target's owner can change what
// the names in a folder of the path stand for.
func (w *walk) judge() error {
	if err := w.judgeOwner(); err != nil {
		return err
	}
	w.owners = w.owners || w.at.stat.Uid != 0 || w.privileged && w.at.system.Server() == host.Program
	mode := w.at.stat.Mode
	if mode&othersWrite == 0 || mode&unix.S_ISVTX != 0 {
		return nil
	}
	problem := w.refusal(w.at, "a folder that others can change (owner %v, mode %04o); chmod go-w %s",
		userID(w.at.stat.Uid), mode&0o7777, w.at.path)
	if len(w.rest) == 0 { // descriptor, O_EXCL and O_NOFOLLOW keep the write inside; an emptyDir is 0777
		w.warn(problem)
		return nil
	}
	return w.object(problem)
}

func (w *walk) judgeOwner() error {
	owner, wanted := int(w.at.stat.Uid), w.target.Owner.UID
	if w.privileged && w.at.system.Server() == host.Program {
		if wanted == 0 {
			return w.refusal(w.at, "a folder on FUSE, where a process of whoever mounted it says what is root's; write to another file system, or for another owner")
		}
		if owner == 0 {
			owner = wanted // or whose else; it is gone into with no more than the owner's powers
		}
	}
	switch {
	case owner == 0 && w.owners:
		return w.object(w.refusal(w.at, "a folder of root in a folder of somebody else, who could put another in its place; move it, or chown it"))
	case owner == 0:
		return nil
	case owner != wanted:
		return w.object(&Foreign{w.at.path, owner, wanted, w.at.others})
	case w.privileged && owner != w.as.uid:
		return errOwners
	}
	return nil
}

// refusal is one of the place, for the reason that format gives.
func (w *walk) refusal(p place, format string, args ...any) *Refusal {
	return &Refusal{p.path, p.others, say(format, args...)}
}

// object refuses to go on, or only warns where there is nothing to be gained by
// leading the process astray: it has no powers but its own.
func (w *walk) object(problem error) error {
	if w.privileged {
		return problem
	}
	w.warn(problem)
	return nil
}

func (w *walk) warn(problem error) { w.warnings = append(w.warnings, problem) }

// follow goes along a symbolic link that nobody untrusted can have made.
func (w *walk) follow(link place) error {
	if w.links++; w.links > maxLinks {
		return w.refusal(link, "one symbolic link too many; at most 40 are followed")
	}
	if w.privileged && w.at.system.Server() != host.Kernel {
		return w.refusal(link, "a symbolic link on %s, which is followed only by whoever trusts its server; write the path that it stands for", w.at.system)
	}
	if !w.trusts(link) {
		return w.refusal(link, "a symbolic link that %v could change; write the path that it stands for", w.suspect(link))
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link.fd, "", buf)
	if err != nil {
		return w.unopened(link.path, err)
	}
	to := string(buf[:n])
	w.rest = append(components(to), w.rest...)
	if filepath.IsAbs(to) {
		return w.root()
	}
	return nil
}

// trusts reports whether only root can have made the link, or, without
// privileges, root or oneself.
func (w *walk) trusts(link place) bool {
	if !w.privileged {
		return link.stat.Uid == 0 || int(link.stat.Uid) == w.as.uid
	}
	dir := w.at.stat
	return link.stat.Uid == 0 && dir.Uid == 0 && dir.Mode&othersWrite == 0
}

// suspect is whom trusts does not trust.
func (w *walk) suspect(link place) any {
	for _, uid := range []uint32{link.stat.Uid, w.at.stat.Uid} {
		if uid != 0 {
			return userID(uid)
		}
	}
	return "whoever may write in " + w.at.path
}

// create makes a missing folder of the path and gives it to the target's owner.
// Nobody else can have put another in its place: the folder it lies in was judged.
func (w *walk) create(name string) (err error) {
	if w.dry {
		return errWouldCreate
	}
	err = unix.Mkdirat(w.at.fd, name, directoryMode)
	if errors.Is(err, unix.EEXIST) {
		return nil // somebody was faster; whose it is will be seen
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(w.at.fd, name, unix.AT_REMOVEDIR)
		}
	}()
	fd, err := openat(w.at.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, directoryMode); err != nil { // the umask may be odd, the parent setgid
		return err
	}
	return unix.Fchown(fd, w.target.Owner.UID, w.target.Owner.GID)
}

func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// locate finds out who serves the file system of next. It asks where that is
// another than before, and never of the one that the whole system lies in:
// whoever serves that serves this program as well.
func (w *walk) locate(next *place) (err error) {
	switch {
	case !w.privileged || next.path == "/":
		return nil
	case uint64(next.stat.Dev) == w.system:
		return nil
	case next.stat.Dev == w.at.stat.Dev:
		next.system = w.at.system
		return nil
	}
	next.system, err = w.typeOf(next.fd)
	return err
}
