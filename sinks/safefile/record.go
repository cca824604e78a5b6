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
)

// A Record is what fstat said of a target after it was written, and a
// fingerprint of what was written. It holds no secret, and may be kept across
// restarts as JSON.
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

// Adopt takes r, of an earlier File for the target, for what f wrote last, and
// says how the target differs from it or from what is wanted now, as Look does.
// Then it is not taken.
func (f *File) Adopt(r Record) (difference string, err error) {
	if _, err := f.Check(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	r.UID, r.GID, r.Mode = f.target.Owner.UID, f.target.Group, f.target.Mode
	f.record = r
	if difference, err = f.Look(); difference != "" || err != nil {
		f.record = Record{}
	}
	return difference, err
}

// Look says in a few words how the target differs from what was written, and ""
// when it does not. It looks by the path, as readers do, so that it sees a
// folder that was replaced too.
func (f *File) Look() (difference string, err error) {
	if f.record == (Record{}) {
		return "it was not written yet", nil
	}
	look := func() error {
		difference, err = f.look()
		return err
	}
	if f.asOwner {
		err = f.target.asOwner(look)
	} else {
		err = look()
	}
	return difference, f.target.fault(err)
}

// Remove takes the target away if it is as it was written, and leaves alone
// what anybody else has put there.
func (f *File) Remove(ctx context.Context) error {
	err := f.inFolder(walk{dry: true}, func(d *folder) error {
		if _, err := d.lock(ctx, lockPatience); err != nil {
			return err
		}
		st, err := d.target()
		if _, foreign := errors.AsType[*Refusal](err); foreign || f.record.difference(st) != "" {
			return nil
		}
		if err == nil {
			err = d.remove()
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its folder went before it
	}
	return err
}

func (d *folder) remove() error {
	if err := unix.Unlinkat(d.fd, d.name, 0); err != nil {
		return d.explain("remove it", err)
	}
	return d.sync()
}

func (f *File) look() (difference string, err error) {
	var st unix.Stat_t
	switch err := again(func() error { return unix.Lstat(f.target.Path, &st) }); err {
	case nil:
		return f.record.difference(st), nil
	case unix.ENOENT, unix.ENOTDIR:
		return "it is gone", nil
	default:
		return "", fmt.Errorf("look at it: %w", err)
	}
}

// difference says in what st is not as recorded; what a person would name first.
func (r Record) difference(st unix.Stat_t) string {
	is := recordOf(st)
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return "it is " + kindOf(st.Mode)
	case is.Device != r.Device || is.Inode != r.Inode:
		return "another file lies in its place"
	case is.UID != r.UID:
		return fmt.Sprintf("its owner is %s, not %s", userName(is.UID), userName(r.UID))
	case is.GID != r.GID:
		return fmt.Sprintf("its group is %s, not %s", groupName(is.GID), groupName(r.GID))
	case is.Mode != r.Mode:
		return fmt.Sprintf("its mode is %04o, not %04o", uint32(is.Mode), uint32(r.Mode))
	case is.Size != r.Size:
		return fmt.Sprintf("its size is %d, not %d", is.Size, r.Size)
	case !is.Modified.Equal(r.Modified):
		return "its content was written by somebody else"
	case !is.Changed.Equal(r.Changed):
		return "its attributes were changed"
	}
	return ""
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

// An inode names a file whatever its name.
type inode struct{ device, number uint64 }

func inodeOf(st unix.Stat_t) inode { return inode{uint64(st.Dev), st.Ino} }

func fingerprint(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
