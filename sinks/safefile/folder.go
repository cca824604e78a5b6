package safefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the folder's flock, for at most patience. It is no lock file, and
// any user who can open the folder may hold it for ever, so it must not stop a
// write: held tells why the lock was not had, and err only that ctx is done.
func (d *folder) lock(ctx context.Context, patience time.Duration) (held, err error) {
	const shortest, longest = time.Millisecond, 16 * time.Millisecond
	deadline := time.Now().Add(patience)
	for wait := shortest; ; wait = min(2*wait, longest) {
		held = again(func() error { return unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB) })
		if !errors.Is(held, unix.EWOULDBLOCK) {
			return held, nil // had, or not to be had on this file system
		}
		if !time.Now().Add(wait).Before(deadline) {
			return fmt.Errorf("another program holds it for longer than %v", patience), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// target looks at what lies at the target's name without following it. Nothing
// there is no error, nor is a regular file; anything else is a [Refusal].
func (d *folder) target() (st unix.Stat_t, err error) {
	err = again(func() error { return unix.Fstatat(d.fd, d.name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, fs.ErrNotExist) {
		return unix.Stat_t{}, nil
	}
	if err != nil {
		return st, d.explain(toLook, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return st, d.refuse(st)
	}
	return st, nil
}

// sync brings the names in the folder to the disk (step 14 of a write).
func (d *folder) sync() error {
	err := unix.Fsync(d.fd)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil // some file systems have nothing to sync in a folder
	}
	return d.explain(toSyncDir, err)
}

func (d *folder) refuse(st unix.Stat_t) error {
	reason := kindOf(st.Mode) + ", which is not replaced; "
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		reason += "name a file in it"
	case unix.S_IFLNK:
		reason += "name the file itself, or remove the link"
	default:
		reason += "remove it, or name another file"
	}
	return &Refusal{d.path + "/" + d.name, d.open(), say(reason)}
}

// openat is openat(2) with a descriptor that no child inherits.
func openat(dirfd int, name string, flags int) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, tempMode)
		return err
	})
	return fd, err
}

// again repeats a call for as long as signals interrupt it.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
