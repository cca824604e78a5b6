package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
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
// secret: a regular file of at most MaxFile bytes, owned by root or by the user who
// runs this, with no permission for others and no write for its group, and none
// at all for a group that this user does not belong to, nor by an access
// control list for anybody else. A symlink is followed, as secrets in a pod are.
// Root reads as [host.Open] says: what lies below the folder of another user must be
// kept as that user's secret. It never waits, not even at a FIFO. Its errors begin
// with the path, and name the command to type.
func ReadSecretFile(path string) ([]byte, error) {
	return readKept(path, keeper.refuses)
}

// readKept is ReadSecretFile with its own idea of how a secret is kept: refuses
// says why the file is not.
func readKept(path string, refuses func(me keeper, path string, info fs.FileInfo) error) ([]byte, error) {
	f, err := host.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if err := refuses(keeper{f.Keeper}, path, f.Info); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := refusesList(f.File, path, f.Info.Mode()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := host.ReadAtMost(f, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// refusesList says why an access control list (acl(5)) lets more users at the open
// file than its mode shows: what it shows for the group is then the most that the
// list gives to anybody.
func refusesList(f *os.File, path string, mode fs.FileMode) error {
	if mode&0o070 == 0 {
		return nil
	}
	_, err := unix.Fgetxattr(int(f.Fd()), "system.posix_acl_access", nil)
	switch {
	case err == nil:
		return fmt.Errorf("it has an access control list, which may let others at it; setfacl -b %s", host.ShellWord(path))
	case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP):
		return nil
	}
	return fmt.Errorf("its access control list: %w", err)
}

// A keeper is the user whose secret a file is: who runs this, or in whose folder
// it lies.
type keeper struct{ host.Identity }

const inAPod = "in a pod: defaultMode: 0440 with fsGroup"

// refuses says why the file is not kept as a secret.
func (me keeper) refuses(path string, info fs.FileInfo) error {
	gid, err := me.mayOwn(path, info)
	mode := info.Mode().Perm()
	switch {
	case err != nil:
		return err
	case mode&0o007 != 0:
		return fmt.Errorf("its mode %04o lets everybody at it; chmod 0600 %s (%s)", mode, host.ShellWord(path), inAPod)
	case mode&0o020 != 0:
		return fmt.Errorf("its mode %04o lets its group write; chmod 0600 %s (%s)", mode, host.ShellWord(path), inAPod)
	case mode&0o050 != 0 && !me.In(gid):
		return fmt.Errorf("its mode %04o lets group %d read, which %s is not in; chmod 0600 %s (%s)", mode, gid, me.name(), host.ShellWord(path), inAPod)
	}
	return nil
}

// refusesShared is refuses for a key of HTCondor's, which no group may touch.
func (me keeper) refusesShared(path string, info fs.FileInfo) error {
	if _, err := me.mayOwn(path, info); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("its mode %04o lets others than its owner at it, and HTCondor wants none; chmod 0600 %s (in a pod: defaultMode: 0400 without fsGroup)", mode, host.ShellWord(path))
	}
	return nil
}

// mayOwn is an error unless root or the keeper owns the file; gid is its group.
func (me keeper) mayOwn(path string, info fs.FileInfo) (gid int, err error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("its owner cannot be told on this system")
	}
	if owner := int(stat.Uid); owner != 0 && owner != me.UID {
		return 0, fmt.Errorf("its owner is user %d; it must be root or %s: chown %d %s", owner, me.name(), me.UID, host.ShellWord(path))
	}
	return int(stat.Gid), nil
}

// name is how errors call the keeper.
func (me keeper) name() string {
	if me.UID == os.Geteuid() {
		return "whoever runs tokenagent"
	}
	return fmt.Sprintf("the owner of its folder (%v)", host.UserID(me.UID))
}
