package safefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	labelXattr = "security.selinux"
	tempMode   = 0o600
)

// errAsWanted ends a write that has nothing to do.
var errAsWanted = errors.New("it is as wanted")

// errTempGone ends a write whose temporary file somebody else removed.
var errTempGone = errors.New("another program removed the temporary file; let only one agent write it")

// errOvertaken ends a write whose file somebody else replaced at once.
var errOvertaken = errors.New("another program has replaced or removed it at the same moment; let only one write it")

// writing is one write on its way.
type writing struct {
	*folder
	file      *File
	content   []byte
	old       unix.Stat_t // what lies at the target
	foreign   bool        // it is what another user put there
	temp      string      // name of the temporary file; "" for none
	fd        int         // of the temporary file; -1 for none
	inode     inode       // of the temporary file
	unchanged bool
}

// stepReplace is the step that puts the new file in its place. Before it a write may be
// cancelled.
const stepReplace = 12

// run takes the steps of the package comment from the second on; the folder is open.
func (w *writing) run(ctx context.Context) error {
	w.fd = -1
	defer w.discard()
	steps := [...]func() error{
		1:           func() error { return nil },
		2:           w.inspect,
		3:           w.compare,
		4:           w.create,
		5:           w.fill,
		6:           w.label,
		7:           w.setGroup,
		8:           w.setMode,
		9:           w.setOwner,
		10:          w.sync,
		11:          w.close,
		stepReplace: w.rename,
		13:          w.folder.sync,
		14:          w.record,
	}
	for n := 1; n < len(steps); n++ {
		if n <= stepReplace && ctx.Err() != nil {
			return ctx.Err()
		}
		err := steps[n]()
		if errors.Is(err, errAsWanted) {
			w.unchanged = true
			return nil
		}
		if err == nil && w.file.passed != nil {
			err = w.file.passed(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inspect refuses a target that cannot be replaced (step 2).
func (w *writing) inspect() (err error) {
	w.old, w.foreign, err = w.replaced()
	return err
}

// compare ends the write if the content is there already (step 3).
func (w *writing) compare() error {
	was, wanted := w.file.record, w.file.target
	if was.Fingerprint != fingerprint(w.content) || was.UID != wanted.Owner.UID || was.GID != wanted.Group || was.Mode != wanted.Mode {
		return nil
	}
	if st, err := w.lookAt(); err != nil || !was.difference(st).IsZero() {
		return err
	}
	return errAsWanted
}

// create makes the temporary file (step 4).
func (w *writing) create() (err error) {
	name := tempName(w.name)
	w.fd, err = openat(w.folder.FD, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW)
	if err != nil {
		return w.explain(toCreate, err)
	}
	w.temp = name
	return nil
}

// fill writes the content (step 5).
func (w *writing) fill() error {
	for rest := w.content; len(rest) > 0; {
		n, err := unix.Write(w.fd, rest)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return w.explain(toFill, err)
		}
		rest = rest[max(n, 0):]
	}
	return nil
}

// label gives the file the SELinux label of the old one (step 6). A failure is no error:
// the folder's policy has labelled the new file.
func (w *writing) label() error {
	if w.foreign {
		return nil // its label is what that user wanted
	}
	ours, err := labelOf(w.fd)
	if err != nil {
		return nil // no SELinux here
	}
	old, err := openat(w.folder.FD, w.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil
	}
	defer unix.Close(old)
	theirs, err := labelOf(old)
	if err == nil && !bytes.Equal(theirs, ours) {
		_ = unix.Fsetxattr(w.fd, labelXattr, theirs, 0)
	}
	return nil
}

// labelOf is the SELinux label of an open file.
func labelOf(fd int) ([]byte, error) {
	size, err := unix.Fgetxattr(fd, labelXattr, nil)
	if err != nil {
		return nil, err
	}
	label := make([]byte, size)
	size, err = unix.Fgetxattr(fd, labelXattr, label)
	return label[:max(size, 0)], err
}

// setGroup gives the file its group (step 7). In a setgid folder it has the folder's
// until then.
func (w *writing) setGroup() error {
	st, err := w.statTemp()
	if err != nil || int(st.Gid) == w.file.target.Group {
		return err
	}
	if err := unix.Fchown(w.fd, -1, w.file.target.Group); err != nil {
		return host.Explain(err, "give it the group %v: %v%s", host.GroupID(w.file.target.Group), err, remedy(err, toGive, w.Path))
	}
	return nil
}

// setMode gives the file its mode, whatever the umask (step 8).
func (w *writing) setMode() error {
	if err := unix.Fchmod(w.fd, uint32(w.file.target.Mode)); err != nil {
		return w.explain(toSetMode, err)
	}
	return nil
}

// setOwner gives the file its owner, and checks it (step 9).
func (w *writing) setOwner() error {
	st, err := w.statTemp()
	if err != nil {
		return err
	}
	if owner := w.file.target.Owner.UID; int(st.Uid) != owner {
		if err := unix.Fchown(w.fd, owner, -1); err != nil {
			return host.Explain(err, "give it to %v: %v%s", host.UserID(owner), err, remedy(err, toGive, w.Path))
		}
		if st, err = w.statTemp(); err != nil {
			return err
		}
	}
	w.inode = inodeOf(st)
	return w.verify(st)
}

func (w *writing) statTemp() (st unix.Stat_t, err error) {
	if err := unix.Fstat(w.fd, &st); err != nil {
		return st, w.explain(toLookTemp, err)
	}
	return st, nil
}

// verify demands that the file system has kept owner, group, mode and content.
func (w *writing) verify(st unix.Stat_t) error {
	wanted := recordOf(st)
	wanted.UID, wanted.GID, wanted.Mode = w.file.target.Owner.UID, w.file.target.Group, w.file.target.Mode
	wanted.Size = int64(len(w.content))
	if d := wanted.difference(st); !d.IsZero() {
		return host.Explain(unix.EINVAL, "the file system of %s does not keep owner, group, mode or size: of the temporary file, %v; use another file system", w.Path, d)
	}
	return nil
}

// sync writes the file to the disk (step 10). It is not tried twice: a second call would
// succeed without writing anything.
func (w *writing) sync() error {
	if err := unix.Fsync(w.fd); err != nil {
		return w.explain(toSync, err)
	}
	return nil
}

// close closes the file (step 11); some file systems write only then.
func (w *writing) close() error {
	fd := w.fd
	w.fd = -1
	if err := unix.Close(fd); err != nil {
		return w.explain(toClose, err)
	}
	return nil
}

// rename puts the file in its place (step 12).
func (w *writing) rename() error {
	err := unix.Renameat(w.folder.FD, w.temp, w.folder.FD, w.name)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w", errTempGone, err)
	}
	if err != nil {
		return w.explain(toReplace, err)
	}
	w.temp = ""
	if w.foreign {
		w.warnOfForeign(w.old, "was replaced")
	}
	return nil
}

// record remembers what lies there now (step 14).
func (w *writing) record() error {
	st, err := w.lookAt()
	if err != nil {
		return err
	}
	if inodeOf(st) != w.inode {
		return errOvertaken
	}
	w.file.record = recordOf(st)
	w.file.record.Fingerprint = fingerprint(w.content)
	return nil
}

// discard removes what an unfinished write has left.
func (w *writing) discard() {
	if w.fd >= 0 {
		unix.Close(w.fd)
	}
	if w.temp != "" {
		_ = unix.Unlinkat(w.folder.FD, w.temp, 0)
	}
}
