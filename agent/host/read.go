package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// A File is a regular file that is open for reading.
type File struct {
	*os.File
	Info   fs.FileInfo
	Keeper Identity // the user whose folder it lies in, by the rule of Open; else this process
}

// Open opens the regular file at the path for reading. It never waits, not even at a
// FIFO, and opens no device. Its errors do not begin with the path.
//
// An ordinary process opens it as OpenPlain does. Root has more power than the users whose
// folders it goes through, and they could make it read what they may not. So for root:
//
//   - Below a folder that root does not own, and along a symbolic link that root does
//     not own, the file must be readable for that user, with all groups of that user:
//     it is opened with that identity. Where several users decide, for each of them.
//   - In a folder of root's that others can write in, as /tmp, no symbolic link is
//     followed and no file with a second hard link is read. Another user's file is
//     opened as that user. In a sticky folder not even that user's own link is followed.
//   - A symbolic link on a file system that another host serves leads only to files on
//     that file system. What lies on one that is served by FUSE is of the user who mounted it.
//
// Without the capabilities that this takes, root opens what everybody could open.
// Otherwise the error is a *Powerless.
func Open(path string) (*File, error) {
	if os.Geteuid() != 0 {
		return OpenPlain(path)
	}
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	r := reading{path: filepath.Clean(path)}
	defer r.close()
	if err := r.Begin(path); err != nil {
		return nil, err
	}
	return r.run()
}

// OpenPlain opens the regular file at the path as any program does: as this process,
// along every link. Like Open it never waits and opens no device, and its errors do not
// begin with the path.
func OpenPlain(path string) (*File, error) {
	p := Place{Path: path}
	err := Again(func() (err error) {
		p.FD, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := unix.Fstat(p.FD, &p.Stat); err != nil {
		return nil, err
	}
	f, err := p.reopen()
	if err != nil {
		return nil, err
	}
	f.Keeper = Self()
	return f, nil
}

// reopen opens for reading what the descriptor holds.
func (p Place) reopen() (*File, error) {
	if p.Kind() != unix.S_IFREG {
		return nil, &Irregular{KindOf(p.Stat.Mode)}
	}
	if p.FD < 0 {
		return nil, unix.EMFILE
	}
	f, err := os.OpenFile(p.procPath(), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it cannot be opened, as /proc is not mounted here")
	}
	if err != nil {
		return nil, WithoutPath(err) // which nobody knows
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, WithoutPath(err)
	}
	return &File{File: f, Info: info}, nil
}

// A reading is a walk to a file that root reads.
type reading struct {
	Walk
	path      string   // of the file, as it was named
	uid       int      // the walk goes on as this user; 0: as root
	groups    Identity // with uid, while it does
	whose     string   // the folder or link because of which it goes on as uid
	folder    bool     // whose is a folder
	owners    []int    // all users but root who decide where the path leads
	held      *Place   // the file, once it is found
	captive   bool     // it followed a link on a file system of another host, and must stay on that
	prison    uint64   // the device of that file system
	powerless error    // why it can only open what everybody may open
}

const mostOwners = 4 // users who decide where one path leads; each doubles the walks

// A crossing is the error of a walk that comes to where another user decides. The walk can go
// on as that user.
type crossing struct {
	uid    int
	path   string // what belongs to that user
	folder bool   // it is a folder
}

func (c *crossing) Error() string { return fmt.Sprintf("%s belongs to uid %d", c.path, c.uid) }

// run walks to the end. Call it under our own identity only, since it looks up users and groups.
func (r *reading) run() (*File, error) {
	f, err := r.attempt()
	if c, crosses := errors.AsType[*crossing](err); crosses {
		return r.cross(c)
	}
	return f, err
}

// attempt walks on under the identity of the walk. It asks a directory service for further groups
// only where those in /etc/group are not enough.
func (r *reading) attempt() (f *File, err error) {
	if r.uid == 0 {
		return r.goOn()
	}
	for _, known := range []*Database{{Getent: "/nonexistent"}, {}} {
		try := r.copy()
		try.groups = known.identity(r.uid)
		err = try.groups.Do(func() error {
			f, err = try.goOn()
			return err
		})
		if !errors.Is(err, unix.EACCES) {
			old := *r
			*r = *try // it can go on from there
			old.close()
			return f, err
		}
		try.close()
	}
	return nil, err
}

// identity is the identity of that user, with all known groups.
func (d *Database) identity(uid int) Identity {
	const nogroup = 65534
	u, err := d.User(strconv.Itoa(uid))
	if err != nil || u.GID == NoGroup {
		return Identity{UID: uid, GID: nogroup}
	}
	groups, _ := d.GroupsOf(u)
	return Identity{UID: uid, GID: u.GID, Groups: slices.DeleteFunc(groups, func(g int) bool { return g == u.GID })}
}

// cross walks on as the user who decides from here on. The user so far must be able to read the
// same file.
func (r *reading) cross(c *crossing) (*File, error) {
	if len(r.owners) == mostOwners {
		return nil, r.refuse("more than %d users decide what lies there; write the path that it stands for", mostOwners)
	}
	r.owners = append(slices.Clip(r.owners), c.uid)
	theirs := r.copy()
	defer theirs.close()
	theirs.uid, theirs.whose, theirs.folder = c.uid, c.path, c.folder
	f, err := theirs.run()
	if p, ok := errors.AsType[*Powerless](err); ok && r.powerless == nil {
		f, err = r.withoutPower(p)
	}
	if err != nil || r.uid == 0 {
		return f, err
	}
	defer f.Close()
	own, err := r.run()
	if err == nil && !os.SameFile(own.Info, f.Info) {
		own.Close()
		return nil, errors.New("it was replaced while it was opened; it is tried again")
	}
	return own, err
}

// withoutPower walks on as root, to what everybody may read.
func (r *reading) withoutPower(p *Powerless) (*File, error) {
	open := r.copy()
	defer open.close()
	open.uid, open.powerless = 0, p
	return open.run()
}

// goOn walks until the file is open, or another user decides.
func (r *reading) goOn() (*File, error) {
	for r.held == nil {
		if len(r.Rest) == 0 {
			return nil, &Irregular{"a directory"}
		}
		if err := r.step(); err != nil {
			return nil, err
		}
	}
	return r.openHeld()
}

// step walks one component.
func (r *reading) step() error {
	p, err := r.Next()
	if err != nil {
		return r.unopened(p, err)
	}
	switch {
	case p.Kind() == unix.S_IFDIR:
		r.Enter(p)
		return r.mayPass(p, true)
	case p.Kind() == unix.S_IFLNK:
		return r.followed(p)
	case len(r.Rest) > 0:
		p.Close()
		return Explain(unix.ENOTDIR, "%s: %v", p.Path, unix.ENOTDIR)
	}
	r.held = &p
	return r.mayRead(p)
}

// mayPass is a crossing where another user decides what the place is.
func (r *reading) mayPass(p Place, folder bool) error {
	owner := p.Owner()
	switch {
	case r.powerless != nil && folder && p.Stat.Mode&othersSearch == 0 && !slices.Contains(r.owners, owner):
		return r.powerless
	case r.powerless != nil, owner == 0, slices.Contains(r.owners, owner):
		return nil
	}
	return &crossing{owner, p.Path, folder}
}

// followed follows the link, if that is safe.
func (r *reading) followed(link Place) error {
	defer link.Close()
	if r.shared() && (r.At.Sticky() || link.Owner() == 0) {
		return r.refuse("%s is a symbolic link in %v, where others could have put it; write the path that it stands for", link.Path, r.At)
	}
	if r.At.System.Server() != Kernel {
		if r.captive && r.prison != uint64(link.Stat.Dev) {
			return r.leadsOut(link.Path)
		}
		r.captive, r.prison = true, uint64(link.Stat.Dev)
	}
	if err := r.Follow(link); err != nil {
		return Explain(err, "%s: %v", link.Path, err)
	}
	return r.mayPass(link, false)
}

// shared reports whether the walk is in a folder that is root's and that others can write in.
func (r *reading) shared() bool {
	return r.At.Owner() == 0 && len(r.At.writers(nil)) > 0 && !(ReadOnlyForAll() && r.At.readOnlyEverywhere())
}

// mayRead is an error unless root may read the file here.
func (r *reading) mayRead(p Place) error {
	if r.captive && uint64(p.Stat.Dev) != r.prison {
		return r.leadsOut(p.Path)
	}
	if p.Kind() != unix.S_IFREG || !r.shared() {
		return nil
	}
	if p.Stat.Nlink > 1 {
		return r.refuse("%s has %d names (hard links), and others can make one in %v; move it to a folder that only root can change", p.Path, p.Stat.Nlink, r.At)
	}
	return r.mayPass(p, false)
}

// openHeld opens the file that was found. Root without power over files opens a user's file as
// that user.
func (r *reading) openHeld() (*File, error) {
	p := *r.held
	if r.powerless != nil && p.Stat.Mode&othersRead == 0 {
		return nil, r.powerless
	}
	f, err := p.reopen()
	owner := int(p.Stat.Uid)
	switch {
	case err == nil:
		f.Keeper = Self()
		if r.folder {
			f.Keeper = r.groups
		}
		return f, nil
	case errors.Is(err, unix.EACCES) && r.uid == 0 && owner != 0 && !slices.Contains(r.owners, owner):
		return nil, &crossing{owner, p.Path, false}
	}
	return nil, r.unopened(p, err)
}

func (r *reading) refuse(format string, args ...any) error {
	return &Refusal{Say(format, args...)}
}

func (r *reading) leadsOut(path string) error {
	return r.refuse("a symbolic link on a file system that another host or a process serves leads to %s on another one; write the path that it stands for", path)
}

// unopened explains why the place cannot be opened.
func (r *reading) unopened(p Place, err error) error {
	if errors.Is(err, unix.EACCES) && r.uid != 0 {
		err = Explain(err, "%v for %v, to whom %s belongs: as root the agent reads there only what that user may read; give that user access, or move the file to a folder of root's, such as /etc/tokenagent",
			err, UserID(r.uid), r.whose)
	}
	if p.Path == r.path {
		return err
	}
	return Explain(err, "%s: %v", p.Path, err)
}

// copy is a copy of the reading with descriptors of its own.
func (r *reading) copy() *reading {
	c := *r
	c.At.FD = duplicate(r.At.FD)
	if r.held != nil {
		held := *r.held
		held.FD = duplicate(held.FD)
		c.held = &held
	}
	return &c
}

// duplicate is -1 where descriptors have run out; the next step then returns EMFILE.
func duplicate(fd int) int {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return d
}

func (r *reading) close() {
	r.Walk.Close()
	if r.held != nil {
		r.held.Close()
	}
}
