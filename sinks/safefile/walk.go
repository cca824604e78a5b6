package safefile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	othersWrite   = 0o022
	directoryMode = 0o700 // of a folder made by CreateDir, unless FolderMode says otherwise
)

// errWouldCreate is the error of a dry walk to a folder that a write would make.
var errWouldCreate = fmt.Errorf("the folder is not there yet: %w", fs.ErrNotExist)

// errOwners is the error of a walk as root at a folder of the target's owner. From there
// the walk goes on as that user.
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
	w.target, w.privileged, w.as = f.target, privileged(), identity{uid: os.Geteuid()}
	w.SystemOf = f.typeOf
	if !w.privileged { // without powers to misuse it trusts every file system
		w.SystemOf = func(int) (host.FileSystem, error) { return 0, nil }
	}
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
	return t.Owner.With(t.Group).Do(do)
}

// A walk goes from / to the folder of a target, and never by a name that somebody else
// could change meanwhile.
type walk struct {
	host.Walk
	target     Target
	privileged bool
	as         identity // under which this thread touches files
	dry        bool     // changes nothing

	others   bool // as in a Refusal, of the folder that the walk is in
	owners   bool // a folder that root does not own has been passed
	warnings []error
}

// A place is an open component of the path.
type place struct {
	host.Place
	others bool // as in a Refusal
}

// open reports whether somebody other than root and the process's own user may put
// something into the folder.
func (p place) open() bool {
	return p.others || p.strange() || p.Stat.Mode&othersWrite != 0
}

// strange reports whether the place may belong to somebody other than those two.
func (p place) strange() bool {
	return p.System.Server() == host.Program || p.Stat.Uid != 0 && int(p.Stat.Uid) != os.Geteuid()
}

// holds reports whether somebody else may have put next into the folder p. In a sticky
// folder nobody else can replace a folder of root's.
func (p place) holds(next place) bool {
	if next.Kind() == unix.S_IFDIR && !next.strange() && p.Sticky() {
		return p.others || p.strange()
	}
	return p.open()
}

func (w walk) visit(do func(*folder) error) error {
	d, err := w.open()
	if err != nil {
		return err
	}
	defer d.Close()
	return do(d)
}

// open goes all the way. Every later step uses the descriptor that it returns.
func (w *walk) open() (*folder, error) {
	defer w.Close()
	dir, name := filepath.Split(w.target.Path)
	if err := w.Begin(dir); err != nil {
		return nil, w.unopened("/", err)
	}
	if err := w.validateRoot(); err != nil {
		return nil, err
	}
	for len(w.Rest) > 0 {
		if err := w.step(); err != nil {
			return nil, err
		}
	}
	at := w.here()
	fd, err := openat(at.FD, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, w.unopened(at.Path, err)
	}
	at.FD = fd
	return &folder{place: at, name: name, owner: w.target.Owner.UID, privileged: w.privileged, as: w.as, warnings: w.warnings}, nil
}

// here is the folder that the walk is in.
func (w *walk) here() place { return place{w.At, w.others} }

// step goes one component further: into a folder, or along a symbolic link.
func (w *walk) step() error {
	p, err := w.Next()
	if errors.Is(err, unix.ENOENT) && w.target.CreateDir && (len(w.Rest) == 1 || w.target.CreateParents) {
		if err := w.create(w.Rest[0]); err != nil {
			return w.unopened(p.Path, err)
		}
		p, err = w.Next()
	}
	if err != nil {
		return w.unopened(p.Path, err)
	}
	next := place{Place: p}
	next.others = w.here().holds(next)
	if p.Kind() == unix.S_IFDIR {
		w.Enter(p)
		w.others = next.others
		return w.validate()
	}
	defer p.Close()
	if p.Kind() == unix.S_IFLNK {
		return w.follow(next)
	}
	return w.refusal(next, host.KindOf(p.Stat.Mode)+", not a folder")
}

// validateRoot validates /, where the walk begins, also after an absolute link.
func (w *walk) validateRoot() error {
	w.owners, w.others = false, false
	return w.validate()
}

// validate demands that only root and the target's owner can change the names in the
// folder that the walk is in.
func (w *walk) validate() error {
	if err := w.validateOwner(); err != nil {
		return err
	}
	w.owners = w.owners || w.At.Stat.Uid != 0 || w.privileged && w.At.System.Server() == host.Program
	mode := w.At.Stat.Mode
	if mode&othersWrite == 0 || mode&unix.S_ISVTX != 0 {
		return nil
	}
	path := host.ShellWord(w.At.Path)
	problem := w.refusal(w.here(), "a folder that others can change (owner %v, mode %04o); chmod go-w %s",
		host.UserID(w.At.Stat.Uid), mode&0o7777, path)
	if len(w.Rest) == 0 { // descriptor, O_EXCL and O_NOFOLLOW keep the write inside; an emptyDir is 0777
		w.warn(problem)
		return nil
	}
	problem.reason = host.Say("%v, or, where others must write there, chmod +t %s", problem.reason, path)
	return w.object(problem)
}

func (w *walk) validateOwner() error {
	owner, wanted := int(w.At.Stat.Uid), w.target.Owner.UID
	if w.privileged && w.At.System.Server() == host.Program {
		if wanted == 0 {
			return w.refusal(w.here(), "a folder on FUSE, where the user who mounted it decides what seems to be root's; write to another file system, or for another owner")
		}
		if owner == 0 {
			owner = wanted // it is entered with the owner's powers alone
		}
	}
	switch {
	case owner == 0 && w.owners:
		return w.object(w.refusal(w.here(), "a folder of root in a folder of somebody else, who could replace it; move it, or chown it"))
	case owner == 0:
		return nil
	case owner != wanted:
		return w.object(&Foreign{w.At.Path, owner, wanted, len(w.Rest) == 0, w.others})
	case w.privileged && owner != w.as.uid:
		return errOwners
	}
	return nil
}

// refusal is a Refusal of the place.
func (w *walk) refusal(p place, format string, args ...any) *Refusal {
	return &Refusal{p.Path, p.others, host.Say(format, args...)}
}

// object refuses to go on, or only warns without privileges: leading such a process astray
// gains nobody anything.
func (w *walk) object(problem error) error {
	if w.privileged {
		return problem
	}
	w.warn(problem)
	return nil
}

func (w *walk) warn(problem error) { w.warnings = append(w.warnings, problem) }

// follow follows a symbolic link that only somebody trusted can have made.
func (w *walk) follow(link place) error {
	if w.privileged && w.At.System.Server() != host.Kernel {
		return w.refusal(link, "a symbolic link on %s, which root does not follow there; write the path that it stands for", w.At.System)
	}
	if !w.trusts(link) {
		return w.refusal(link, "a symbolic link that %v could change; write the path that it stands for", w.suspect(link))
	}
	err := w.Follow(link.Place)
	switch {
	case errors.Is(err, unix.ELOOP):
		return w.refusal(link, "one symbolic link too many; at most 40 are followed")
	case err != nil:
		return w.unopened(link.Path, err)
	case w.At.Path == "/":
		return w.validateRoot()
	}
	return nil
}

// trusts reports whether only root can have made the link, or, without privileges, root
// or this process's user.
func (w *walk) trusts(link place) bool {
	if !w.privileged {
		return link.Stat.Uid == 0 || int(link.Stat.Uid) == w.as.uid
	}
	dir := w.At.Stat
	return link.Stat.Uid == 0 && dir.Uid == 0 && dir.Mode&othersWrite == 0
}

// suspect is the user whom trusts does not trust.
func (w *walk) suspect(link place) any {
	for _, uid := range []uint32{link.Stat.Uid, w.At.Stat.Uid} {
		if uid != 0 {
			return host.UserID(uid)
		}
	}
	return "somebody who may write in " + w.At.Path
}

// create makes a missing folder of the path and gives it to the target's owner. Nobody
// else can have replaced it: the folder above was validated.
func (w *walk) create(name string) (err error) {
	if w.dry {
		return errWouldCreate
	}
	err = unix.Mkdirat(w.At.FD, name, directoryMode)
	if errors.Is(err, unix.EEXIST) {
		return nil // somebody was faster; its owner is checked next
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(w.At.FD, name, unix.AT_REMOVEDIR)
		}
	}()
	fd, err := openat(w.At.FD, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, uint32(cmp.Or(w.target.FolderMode, directoryMode))); err != nil { // the umask may be odd, the parent setgid
		return err
	}
	return unix.Fchown(fd, w.target.Owner.UID, w.target.Owner.GID)
}
