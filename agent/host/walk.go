package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	mostLinks    = 40 // symbolic links in one path, as in the kernel
	groupWrites  = 0o020
	othersWrite  = 0o002
	othersRead   = 0o004
	othersSearch = 0o001
)

// A walk goes along a path, one component at a time, and holds each open. So what
// was looked at is what the walk goes on from, whoever renames what meanwhile. It
// has no opinion: whether to go on is for whoever takes the steps.
type walk struct {
	at     place
	rest   []string // components still to go
	links  int      // symbolic links followed
	device uint64   // that / lies on

	systemOf func(fd int) (FileSystem, error) // nil: FileSystemOf
}

// A place is a component of the path, held by a descriptor of O_PATH.
type place struct {
	fd     int
	path   string // without symbolic links
	stat   unix.Stat_t
	system FileSystem // that it lies in, where that is not the one of /
}

// begin opens the folder that every path begins in. The walk is closed by close.
func (w *walk) begin(path string) error {
	w.at.fd = -1
	w.rest = components(path)
	return w.restart()
}

func (w *walk) restart() error {
	root, err := open(unix.AT_FDCWD, "/", "/")
	if err != nil {
		return err
	}
	w.device = uint64(root.stat.Dev)
	w.enter(root)
	return nil
}

// next opens the next component. It is for the caller to enter, follow or close.
func (w *walk) next() (place, error) {
	if w.at.fd < 0 { // see duplicate
		return place{fd: -1, path: w.at.path}, unix.EMFILE
	}
	name := w.rest[0]
	p, err := open(w.at.fd, name, filepath.Join(w.at.path, name))
	if err != nil {
		return p, err
	}
	w.rest = w.rest[1:]
	switch {
	case uint64(p.stat.Dev) == w.device: // whoever serves / serves this program as well
	case p.stat.Dev == w.at.stat.Dev:
		p.system = w.at.system
	default:
		p.system, err = w.typeOf(p.fd)
	}
	if err != nil {
		p.close()
	}
	return p, err
}

func (w *walk) typeOf(fd int) (FileSystem, error) {
	if w.systemOf != nil {
		return w.systemOf(fd)
	}
	return FileSystemOf(fd)
}

// enter goes on from the folder.
func (w *walk) enter(folder place) {
	w.at.close()
	w.at = folder
}

// follow goes where the link leads, and closes it.
func (w *walk) follow(link place) error {
	defer link.close()
	if w.links++; w.links > mostLinks {
		return unix.ELOOP
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link.fd, "", buf)
	if err != nil {
		return err
	}
	to := string(buf[:n])
	w.rest = append(components(to), w.rest...)
	if filepath.IsAbs(to) {
		return w.restart()
	}
	return nil
}

func (w *walk) close() { w.at.close() }

func open(dirfd int, name, path string) (p place, err error) {
	p.path = path
	err = again(func() error {
		p.fd, err = unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return place{fd: -1, path: path}, err
	}
	if err = unix.Fstat(p.fd, &p.stat); err != nil {
		p.close()
	}
	return p, err
}

func (p place) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

func (p place) kind() uint32 { return p.stat.Mode & unix.S_IFMT }

func (p place) sticky() bool { return p.stat.Mode&unix.S_ISVTX != 0 }

// owner is who decides what lies in the place: of what a process serves by FUSE
// the user who mounted it, whatever that process says.
func (p place) owner() int {
	if p.system.Server() == Program {
		if uid, known := mounter(p.stat.Dev); known && uid != 0 {
			return uid
		}
	}
	return int(p.stat.Uid)
}

// String tells whose the place is, for errors.
func (p place) String() string {
	return fmt.Sprintf("%s (owner %v, mode %04o)", p.path, UserID(p.stat.Uid), p.stat.Mode&0o7777)
}

// procPath is the path by which the kernel opens what the descriptor holds.
func (p place) procPath() string { return fmt.Sprintf("/proc/self/fd/%d", p.fd) }

// ReadOnlyForAll reports whether a mount that this process sees as read-only cannot be
// written by others either. It is false below systemd: in the sandbox of a unit all
// that the unit may not write is mounted read-only, for it alone (ProtectSystem=).
func ReadOnlyForAll() bool { return os.Getenv("INVOCATION_ID") == "" } // see systemd.exec(5)

// readOnly reports whether the mount that the place lies in cannot be written.
func (p place) readOnly() bool {
	var st unix.Statfs_t
	err := again(func() error { return unix.Fstatfs(p.fd, &st) })
	return err == nil && st.Flags&unix.ST_RDONLY != 0 && p.system.Server() != Program
}

func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// KindOf names the type of what lies at a path, by the mode that stat(2) tells.
func KindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFBLK, unix.S_IFCHR:
		return "a device"
	case unix.S_IFREG:
		return "a file"
	}
	return "of an unknown kind"
}
