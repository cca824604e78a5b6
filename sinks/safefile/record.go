package safefile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A Record is what stat said of a target after it was written, and a fingerprint of the
// content. It holds no secret, and can be kept across restarts as JSON.
type Record struct {
	Fingerprint string      `json:"fingerprint"` // SHA-256 of the content, in hex
	Device      uint64      `json:"device"`
	Inode       uint64      `json:"inode"`
	Size        int64       `json:"size"`
	Modified    time.Time   `json:"modified"` // mtime
	Changed     time.Time   `json:"changed"`  // ctime
	UID         int         `json:"uid"`
	GID         int         `json:"gid"`
	Mode        fs.FileMode `json:"mode"` // permission bits, with setuid, setgid and sticky as in stat(2)
}

// Record is what f wrote last, or the zero Record.
func (f *File) Record() Record { return f.record }

// Adopt takes r, the record of an earlier File, for what f wrote last. If the target
// differs from it, or from what is wanted now, Adopt says how, as Look does, and takes
// nothing.
func (f *File) Adopt(r Record) (difference string, err error) {
	if _, err := f.Check(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	r.UID, r.GID, r.Mode = f.target.Owner.UID, f.target.Group, f.target.Mode
	if st, err := f.stat(); err == nil {
		r.Device = uint64(st.Dev) // a file system may get another number with each mount
	}
	f.record = r
	if difference, err = f.Look(); difference != "" || err != nil {
		f.record = Record{}
	}
	return difference, err
}

// Look says in a few words how the target differs from what was written; "" if it does
// not. It goes by the path, as readers do, so it notices a folder that was replaced. A
// link in the place of a folder that leads to the same file makes no difference to
// readers; a write refuses it.
func (f *File) Look() (difference string, err error) {
	if f.record == (Record{}) {
		return "it was not written yet", nil
	}
	st, err := f.stat()
	switch {
	case err == nil:
		return f.record.difference(st).String(), nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return "it is gone", nil
	}
	return "", f.target.fault(fmt.Errorf("look at it: %w", err))
}

// stat looks at what the path names.
func (f *File) stat() (st unix.Stat_t, err error) {
	look := func() error { return host.Again(func() error { return unix.Lstat(f.target.Path, &st) }) }
	if f.asOwner {
		err = f.target.asOwner(look)
	} else {
		err = look()
	}
	return st, err
}

// Remove removes the target if it is as it was written. A missing one is no error. What
// somebody else has put or changed there stays, with the error [ErrChanged], unless it
// came between the last look and the removal, microseconds later.
func (f *File) Remove(ctx context.Context) error {
	err := f.inFolder(walk{dry: true}, func(d *folder) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		st, err := d.lookAt()
		if err != nil || st.Ino == 0 {
			return err
		}
		if d := f.record.difference(st); !d.IsZero() {
			return host.Explain(ErrChanged, "left as it is, since somebody changed it: %v", d)
		}
		return d.remove()
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its folder went before it
	}
	return err
}

func (d *folder) remove() error {
	if err := unix.Unlinkat(d.FD, d.name, 0); err != nil {
		return d.explain(toRemove, err)
	}
	return d.sync()
}

// difference is the first difference that a person would name.
func (r Record) difference(st unix.Stat_t) host.Text {
	is := recordOf(st)
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return host.Say("it is %s", host.KindOf(st.Mode))
	case is.Device != r.Device || is.Inode != r.Inode:
		return host.Say("another file lies in its place")
	case is.UID != r.UID:
		return host.Say("its owner is %v, not %v", host.UserID(is.UID), host.UserID(r.UID))
	case is.GID != r.GID:
		return host.Say("its group is %v, not %v", host.GroupID(is.GID), host.GroupID(r.GID))
	case is.Mode != r.Mode:
		return host.Say("its mode is %04o, not %04o", uint32(is.Mode), uint32(r.Mode))
	case is.Size != r.Size:
		return host.Say("its size is %d, not %d", is.Size, r.Size)
	case !is.Modified.Equal(r.Modified):
		return host.Say("its content was written by somebody else")
	case !is.Changed.Equal(r.Changed):
		return host.Say("its attributes were changed")
	}
	return host.Text{}
}

func recordOf(st unix.Stat_t) Record {
	return Record{
		Device:   uint64(st.Dev),
		Inode:    st.Ino,
		Size:     st.Size,
		Modified: time.Unix(st.Mtim.Unix()).UTC(),
		Changed:  time.Unix(st.Ctim.Unix()).UTC(),
		UID:      int(st.Uid),
		GID:      int(st.Gid),
		Mode:     fs.FileMode(st.Mode & 0o7777),
	}
}

// An inode identifies a file.
type inode struct{ device, number uint64 }

func inodeOf(st unix.Stat_t) inode { return inode{uint64(st.Dev), st.Ino} }

func fingerprint(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
