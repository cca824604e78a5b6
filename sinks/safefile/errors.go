package safefile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A Refusal is the error of a folder or a target that nothing is written to as it is.
type Refusal struct {
	Path   string    // of the folder, symbolic link or target
	Others bool      // somebody other than root and the process's own user may have put it there
	reason host.Text // what lies there, and what to do about it
}

// Error is the path and the reason.
func (r *Refusal) Error() string { return r.Path + ": " + r.reason.String() }

// A Foreign is the error of a folder that belongs neither to root nor to the
// owner of the target.
type Foreign struct {
	Path   string // of the folder
	UID    int    // whose it is
	Owner  int    // whose it has to be
	Last   bool   // the target lies in it, with no other folder between
	Others bool   // as in a Refusal
}

// Error names the folder, its user, and whose it has to be.
func (f *Foreign) Error() string {
	if f.Owner == 0 {
		return fmt.Sprintf("%s belongs to %v, not to root", f.Path, host.UserID(f.UID))
	}
	return fmt.Sprintf("%s belongs to %v, neither to root nor to %v", f.Path, host.UserID(f.UID), host.UserID(f.Owner))
}

// A Stranger is the error of a target in a folder of its owner, with a group that the
// owner is not in.
type Stranger struct{ GID, UID int }

// Error names the group and the user.
func (s *Stranger) Error() string {
	return fmt.Sprintf("it cannot have the group %v in a folder of %v, who does not belong to it; name one of that user's groups",
		host.GroupID(s.GID), host.UserID(s.UID))
}

// ErrChanged is the error of a target that stays because somebody changed it.
var ErrChanged = errors.New("somebody changed it")

// unopened says why a component of the path cannot be entered, and what to do.
func (w *walk) unopened(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return host.Explain(err, "there is no %s: %v; make that folder (the last one of a path is made with create_dir = true)", path, err)
	case errors.Is(err, unix.EACCES):
		return host.Explain(err, "%s: %v for %v in %v; let that user pass", path, err, w.as, w.At)
	}
	return host.Explain(err, "%s: %v%s", path, err, remedy(err, toOpen, path))
}

// explain says what could not be done to the target, and what to do.
func (d *folder) explain(doing deed, err error) error {
	if errors.Is(err, unix.EACCES) {
		return host.Explain(err, "%s: %v for %v in %v; let that user write there", doing, err, d.as, d.Place)
	}
	return host.Explain(err, "%s: %v%s", doing, err, remedy(err, doing, d.Path))
}

// A deed is what a step does, in words for its error.
type deed string

const (
	toOpen     deed = "open it"
	toLook     deed = "look at it"
	toRead     deed = "read it"
	toCreate   deed = "make a temporary file"
	toLookTemp deed = "look at the temporary file"
	toFill     deed = "write the temporary file"
	toGive     deed = "give it away"
	toSetMode  deed = "set the mode"
	toSync     deed = "sync the temporary file"
	toClose    deed = "close the temporary file"
	toReplace  deed = "replace it"
	toSyncDir  deed = "sync the folder"
	toRemove   deed = "remove it"
	toList     deed = "list the folder"
)

// remedy is what to do about an error in a folder, behind a semicolon; "" if that is not
// known.
func remedy(err error, doing deed, folder string) string {
	errno, _ := errors.AsType[unix.Errno](err)
	switch errno {
	case unix.ENOSPC:
		return "; free some space or inodes in " + folder
	case unix.EDQUOT:
		return "; raise the quota in " + folder + ", or free some of it"
	case unix.EROFS:
		return fmt.Sprintf("; mount it writable, or, under systemd, open it to the service: ReadWritePaths=%s in a drop-in, which tokenagent systemd-dropin prints (with the --config of this agent)", folder)
	case unix.EBUSY:
		return "; the file is a mount of its own, which cannot be replaced: mount the directory instead"
	case unix.EIO:
		return "; the disk or its server fails, see the kernel's log"
	case unix.EMFILE:
		return "; raise the limit on open files of the agent (LimitNOFILE= of its unit, or ulimit -n)"
	case unix.ENFILE:
		return "; raise the limit on open files of this host (sysctl fs.file-max)"
	case unix.EPERM:
		return forbidden(doing)
	}
	return ""
}

// forbidden is what to do about EPERM.
func forbidden(doing deed) string {
	switch doing {
	case toGive:
		return "; the agent needs the capability CAP_CHOWN, and a file system that knows owners"
	case toReplace, toRemove:
		return "; look for an immutable flag (lsattr), or, in a sticky folder, for a file of another user (remove it)"
	}
	return "; look for an immutable flag (lsattr)"
}
