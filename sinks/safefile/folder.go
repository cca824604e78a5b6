package safefile

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// lookAt is what lies at the target's name, which is not followed; the zero Stat_t for
// nothing.
func (d *folder) lookAt() (st unix.Stat_t, err error) {
	err = host.Again(func() error { return unix.Fstatat(d.FD, d.name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, fs.ErrNotExist) {
		return unix.Stat_t{}, nil
	}
	if err != nil {
		return st, d.explain(toLook, err)
	}
	return st, nil
}

// target is lookAt for a reader: anything but a regular file is a [Refusal].
func (d *folder) target() (st unix.Stat_t, err error) {
	st, err = d.lookAt()
	if err == nil && st.Ino != 0 && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = d.refuse(st)
	}
	return st, err
}

// sync writes the names in the folder to the disk (step 13).
func (d *folder) sync() error {
	if err := host.SyncNames(d.FD); err != nil {
		return d.explain(toSyncDir, err)
	}
	return nil
}

func (d *folder) refuse(st unix.Stat_t) error {
	reason := host.KindOf(st.Mode) + ", which is not replaced; "
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		reason += "name a file in it"
	case unix.S_IFLNK:
		reason += "name the file itself, or remove the link"
	default:
		reason += "remove it, or name another file"
	}
	return d.refusal(reason)
}

// openat is openat(2) with a descriptor that no child inherits.
func openat(dirfd int, name string, flags int) (fd int, err error) {
	err = host.Again(func() error {
		fd, err = unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, tempMode)
		return err
	})
	return fd, err
}
