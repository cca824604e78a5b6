package safefile

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Refusal is the error of a folder through which, or a target over which,
// nothing is written as it is.
type Refusal struct {
	Path   string // of the folder, symbolic link or target
	Reason string // what lies there, and what to do about it
}

// Error is the path and the reason.
func (r *Refusal) Error() string { return r.Path + ": " + r.Reason }

// A Foreign is the error of a folder that belongs neither to root nor to the
// owner of the target.
type Foreign struct {
	Path  string // of the folder
	UID   int    // whose it is
	Owner int    // whose it would have to be
}

// Error names the folder and both users.
func (f *Foreign) Error() string {
	return fmt.Sprintf("%s belongs to %s, neither to root nor to %s", f.Path, userName(f.UID), userName(f.Owner))
}

// A Stranger is the error of a target whose group its owner does not belong to,
// in a folder of that owner.
type Stranger struct{ GID, UID int }

// Error names the group and the user.
func (s *Stranger) Error() string {
	return fmt.Sprintf("it cannot have the group %s in a folder of %s, who does not belong to it; name one of that user's groups",
		groupName(s.GID), userName(s.UID))
}

// unopened explains why a component of the path cannot be gone into.
func (w *walk) unopened(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("there is no %s: %w; make that folder (the last one of a path is made with create_dir = true)", path, err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w for %s in %s; let that user pass", path, err, userName(w.uid), describe(w.at.path, w.at.stat))
	}
	return fmt.Errorf("%s: %w%s", path, err, mend(err, path))
}

// explain says what could not be done to the target, and what to do about it.
func (d *folder) explain(doing string, err error) error {
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: %w for %s in %s; let that user write there", doing, err, userName(d.uid), describe(d.path, d.stat))
	}
	return fmt.Errorf("%s: %w%s", doing, err, mend(err, d.path))
}

// mend is what to do about an error in a folder, behind a semicolon; "" when
// nobody can know.
func mend(err error, folder string) string {
	errno, _ := errors.AsType[unix.Errno](err)
	switch errno {
	case unix.ENOSPC:
		return "; free some space or inodes in " + folder
	case unix.EDQUOT:
		return "; raise the quota in " + folder + ", or free some of it"
	case unix.EROFS:
		return fmt.Sprintf("; mount it writable, or, under systemd, open it to the service: ReadWritePaths=%s below [Service] in a drop-in", folder)
	case unix.EBUSY:
		return "; the file is a mount of its own, which cannot be replaced: mount the directory instead"
	case unix.EIO:
		return "; the disk or its server fails, see the kernel's log"
	case unix.EPERM:
		return "; look for an immutable flag (lsattr) or a capability that is missing (CAP_CHOWN)"
	}
	return ""
}

// kindOf names the type of a file that is no regular one.
func kindOf(mode uint32) string {
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

func describe(path string, st unix.Stat_t) string {
	return fmt.Sprintf("%s (owner %s, mode %04o)", path, userName(int(st.Uid)), st.Mode&0o7777)
}

// userName is how people call the user: by name, where one is known.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(uid)
}

// groupName is how people call the group.
func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return "gid " + strconv.Itoa(gid)
}
