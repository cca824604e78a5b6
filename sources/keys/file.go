package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxFile is how many bytes a file with a secret may have.
const MaxFile = 64 << 10

// Read reads the private key in the file at path, which must be kept as
// [ReadSecretFile] demands. Its errors begin with "key PATH: ".
func Read(path string) (Key, error) {
	data, err := ReadSecretFile(path)
	if err != nil {
		return Key{}, fmt.Errorf("key %w", err)
	}
	k, err := Parse(data)
	if err != nil {
		return Key{}, fmt.Errorf("key %s: %w", path, err)
	}
	return k, nil
}

// ReadSecretFile returns what is in the file at path, when it is kept as a
// secret: a regular file of at most MaxFile bytes, owned by root or by whoever
// runs this, with no permission for others and no write for its group, and none
// at all for a group that whoever runs this does not belong to, nor by an access
// control list for anybody else. A symlink is followed, as secrets in a pod are.
// It never waits, not even at a FIFO. Its errors begin with the path, and name the
// command that mends.
func ReadSecretFile(path string) ([]byte, error) {
	return readKept(path, identity.refuses)
}

// readKept is ReadSecretFile with its own idea of how a secret is kept: refuses
// says why the file is not.
func readKept(path string, refuses func(me identity, path string, info fs.FileInfo) error) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is %s; a regular file is wanted", path, kindOf(info.Mode()))
	}
	me, err := self()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := refuses(me, path, info); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := refusesList(f, path, info.Mode()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	case len(data) > MaxFile:
		return nil, fmt.Errorf("%s: it is larger than %d bytes; no secret is", path, MaxFile)
	}
	return data, nil
}

// refusesList says why an access control list (acl(5)) lets more users at the open
// file than its mode tells: what the mode shows for the group is then the most
// that the list gives to anybody.
func refusesList(f *os.File, path string, mode fs.FileMode) error {
	if mode&0o070 == 0 {
		return nil
	}
	_, err := unix.Fgetxattr(int(f.Fd()), "system.posix_acl_access", nil)
	switch {
	case err == nil:
		return fmt.Errorf("it has an access control list, which may let others at it; setfacl -b %s", path)
	case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP):
		return nil
	}
	return fmt.Errorf("its access control list: %w", err)
}

// bare drops the operation and path that os puts before an error.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	default:
		return "a device"
	}
}

// An identity is what decides whose file is whose.
type identity struct {
	uid    uint32
	groups []uint32
}

// self is the identity of this process.
func self() (identity, error) {
	more, err := os.Getgroups()
	if err != nil {
		return identity{}, fmt.Errorf("own groups: %w", err)
	}
	me := identity{uid: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
	for _, g := range more {
		me.groups = append(me.groups, uint32(g))
	}
	return me, nil
}

const inAPod = "in a pod: defaultMode: 0440 with fsGroup"

// refuses says why the file is not kept as a secret.
func (me identity) refuses(path string, info fs.FileInfo) error {
	gid, err := me.mayOwn(path, info)
	mode := info.Mode().Perm()
	switch {
	case err != nil:
		return err
	case mode&0o007 != 0:
		return fmt.Errorf("its mode %04o lets everybody at it; chmod 0600 %s (%s)", mode, path, inAPod)
	case mode&0o020 != 0:
		return fmt.Errorf("its mode %04o lets its group write; chmod 0600 %s (%s)", mode, path, inAPod)
	case mode&0o050 != 0 && !slices.Contains(me.groups, gid):
		return fmt.Errorf("its mode %04o lets group %d read, which whoever runs tokenagent is not in; chmod 0600 %s (%s)", mode, gid, path, inAPod)
	}
	return nil
}

// refusesShared is refuses for a key of HTCondor's, which no group may touch.
func (me identity) refusesShared(path string, info fs.FileInfo) error {
	if _, err := me.mayOwn(path, info); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("its mode %04o lets others than its owner at it, and HTCondor wants none; chmod 0600 %s (in a pod: defaultMode: 0400 without fsGroup)", mode, path)
	}
	return nil
}

// mayOwn is an error unless root or whoever runs this owns the file; gid is its
// group.
func (me identity) mayOwn(path string, info fs.FileInfo) (gid uint32, err error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("its owner cannot be told on this system")
	}
	if stat.Uid != 0 && stat.Uid != me.uid {
		return 0, fmt.Errorf("its owner is user %d; it must be root or whoever runs tokenagent: chown %d %s", stat.Uid, me.uid, path)
	}
	return stat.Gid, nil
}
