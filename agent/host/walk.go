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
	othersRead   = 0o004
	othersSearch = 0o001
)

// A Walk goes along a path, one component at a time. It holds each open, so nobody can swap what
// it has looked at. It decides nothing: its callers decide what to enter and follow. They are
// [Open] (reading), [Trust] (who can change a path) and package safefile (writing).
type Walk struct {
	At       Place                            // the folder that the walk is in
	Rest     []string                         // components still to go
	SystemOf func(fd int) (FileSystem, error) // nil: FileSystemOf

	links  int    // symbolic links followed
	device uint64 // that / lies on
}

// A Place is a component of a path, held by a descriptor of O_PATH.
type Place struct {
	FD     int    // -1: none is open
	Path   string // without symbolic links
	Stat   unix.Stat_t
	System FileSystem // that it lies in; zero for that of /, which serves this program too
}

// Begin enters /. The walk must be closed.
func (w *Walk) Begin(path string) error {
	w.At.FD = -1
	w.Rest = components(path)
	return w.restart()
}

func (w *Walk) restart() error {
	root, err := open(unix.AT_FDCWD, "/", "/")
	if err != nil {
		return err
	}
	w.device = uint64(root.Stat.Dev)
	w.Enter(root)
	return nil
}

// Next opens the next component, which the caller must enter or close. After an error the Place
// has only its path, and the walk is where it was.
func (w *Walk) Next() (Place, error) {
	if w.At.FD < 0 { // see duplicate
		return Place{FD: -1, Path: w.At.Path}, unix.EMFILE
	}
	name := w.Rest[0]
	p, err := open(w.At.FD, name, filepath.Join(w.At.Path, name))
	if err != nil {
		return p, err
	}
	switch {
	case uint64(p.Stat.Dev) == w.device:
	case p.Stat.Dev == w.At.Stat.Dev:
		p.System = w.At.System
	case w.SystemOf != nil:
		p.System, err = w.SystemOf(p.FD)
	default:
		p.System, err = FileSystemOf(p.FD)
	}
	if err != nil {
		p.Close()
		return Place{FD: -1, Path: p.Path}, err
	}
	w.Rest = w.Rest[1:]
	return p, nil
}

// Enter enters the folder.
func (w *Walk) Enter(folder Place) {
	w.At.Close()
	w.At = folder
}

// Follow goes where the link leads. Its error is ELOOP after 40 links.
func (w *Walk) Follow(link Place) error {
	if w.links++; w.links > mostLinks {
		return unix.ELOOP
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link.FD, "", buf)
	if err != nil {
		return err
	}
	to := string(buf[:n])
	w.Rest = append(components(to), w.Rest...)
	if filepath.IsAbs(to) {
		return w.restart()
	}
	return nil
}

// Close closes the folder that the walk is in.
func (w *Walk) Close() { w.At.Close() }

func open(dirfd int, name, path string) (p Place, err error) {
	p.Path = path
	err = Again(func() error {
		p.FD, err = unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return Place{FD: -1, Path: path}, err
	}
	if err = unix.Fstat(p.FD, &p.Stat); err != nil {
		p.Close()
		return Place{FD: -1, Path: path}, err
	}
	return p, nil
}

// Close closes the descriptor, if there is one.
func (p Place) Close() {
	if p.FD >= 0 {
		unix.Close(p.FD)
	}
}

// Kind is the file type: S_IFDIR, S_IFLNK and so on.
func (p Place) Kind() uint32 { return p.Stat.Mode & unix.S_IFMT }

// Sticky reports whether only the owners of files, and of the folder, remove files in it.
func (p Place) Sticky() bool { return p.Stat.Mode&unix.S_ISVTX != 0 }

// Owner is who decides what lies in the place. On a FUSE file system that is the user who mounted
// it, whatever its process says.
func (p Place) Owner() int {
	if p.System.Server() == Program {
		if uid, known := mounter(p.Stat.Dev); known && uid != 0 {
			return uid
		}
	}
	return int(p.Stat.Uid)
}

// String names the place, its owner and its mode, for errors.
func (p Place) String() string {
	return fmt.Sprintf("%s (owner %v, mode %04o)", p.Path, UserID(p.Stat.Uid), p.Stat.Mode&0o7777)
}

// procPath is the path by which the kernel opens what the descriptor holds.
func (p Place) procPath() string { return fmt.Sprintf("/proc/self/fd/%d", p.FD) }

// ReadOnlyForAll reports whether a mount that this process sees as read-only cannot be
// written by others either. It is false below systemd: in the sandbox of a unit all
// that the unit may not write is mounted read-only, for it alone (ProtectSystem=).
func ReadOnlyForAll() bool { return os.Getenv("INVOCATION_ID") == "" } // see systemd.exec(5)

// readOnly reports whether the mount that the place lies in cannot be written.
func (p Place) readOnly() bool {
	var st unix.Statfs_t
	err := Again(func() error { return unix.Fstatfs(p.FD, &st) })
	return err == nil && st.Flags&unix.ST_RDONLY != 0 && p.System.Server() != Program
}

// readOnlyEverywhere reports whether no mount that shows the place can be written.
func (p Place) readOnlyEverywhere() bool {
	return p.readOnly() && p.sameInAllMounts(func(Place) bool { return false }, Place.readOnly)
}

func components(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// KindOf names the type in a mode of stat(2): "a directory".
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
