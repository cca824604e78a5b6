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
// An ordinary process opens it as OpenPlain does. Root has powers that the users whose
// folders it goes through do not have, and they could lead it astray, so:
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

// A reading is a walk to a file that root is to read.
type reading struct {
	Walk
	path      string   // of the file, as it was named
	uid       int      // as whom the walk goes on; 0: as root
	groups    Identity // with uid, while it does
	whose     string   // the folder or link for which it goes on as uid
	folder    bool     // it is a folder
	owners    []int    // all users but root who decide where it leads
	held      *Place   // the file, once it is found
	captive   bool     // it followed a link on the file system that prison is
	prison    uint64
	powerless error // why it must do with what everybody may open
}

const mostOwners = 4 // users who decide on one path; each doubles the ways that are walked

// A crossing is the error of a walk that comes to where another user decides. The walk
// can go on.
type crossing struct {
	uid    int
	path   string // of what is that user's
	folder bool
}

func (c *crossing) Error() string { return fmt.Sprintf("%s belongs to uid %d", c.path, c.uid) }

// run goes on to the end. It must not be called under a foreign identity, as it
// asks for users and groups.
func (r *reading) run() (*File, error) {
	f, err := r.attempt()
	if c, crosses := errors.AsType[*crossing](err); crosses {
		return r.cross(c)
	}
	return f, err
}

// attempt goes on under the identity of the walk. A directory service is asked for
// further groups only where those in /etc/group do not do.
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
			*r = *try // from where it can go on
			old.close()
			return f, err
		}
		try.close()
	}
	return nil, err
}

// identity is that of the user of that number, with all groups that are known.
func (d *Database) identity(uid int) Identity {
	const nogroup = 65534
	u, err := d.User(strconv.Itoa(uid))
	if err != nil || u.GID == NoGroup {
		return Identity{UID: uid, GID: nogroup}
	}
	groups, _ := d.GroupsOf(u)
	return Identity{UID: uid, GID: u.GID, Groups: slices.DeleteFunc(groups, func(g int) bool { return g == u.GID })}
}

// cross goes on as the user who decides from here on. The user as whom it went so
// far must be able to read the same file.
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

// withoutPower goes on as root to what everybody may read.
func (r *reading) withoutPower(p *Powerless) (*File, error) {
	open := r.copy()
	defer open.close()
	open.uid, open.powerless = 0, p
	return open.run()
}

// goOn goes on until the file is open, or another user decides.
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

// step goes one component further.
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

// mayPass is a crossing where somebody else decides on the place.
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

// followed goes where the link leads, if it may.
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

// shared reports whether the walk is in a folder of root's that others can write in.
func (r *reading) shared() bool {
	return r.At.Owner() == 0 && len(r.At.writers(nil)) > 0 && !(ReadOnlyForAll() && r.At.readOnly())
}

// mayRead is an error unless the file may be what root is to read.
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

// openHeld opens the file that was found. Root without power over files opens that
// of a user as that user does.
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

// copy is the reading with descriptors of its own.
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

// duplicate is -1 where there are no more descriptors; the next step returns EMFILE.
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
