package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/tokenagent/tokenagent/agent/host"
)

// MaxFile is how many bytes a file with a secret may have.
const MaxFile = 64 << 10

// Read reads the private key in the file at path, which must be kept as
// [ReadSecretFile] demands, as [Parse] does. A key that is printed publicly is an error
// (see [Demonstration]). Its errors begin with "key PATH: ".
func Read(path, id string) (Key, error) {
	data, err := ReadSecretFile(path)
	if err != nil {
		return Key{}, fmt.Errorf("key %w", err)
	}
	k, err := Parse(data, id)
	if err == nil {
		err = RefuseDemonstration(k)
	}
	if err != nil {
		return Key{}, fmt.Errorf("key %s: %w", path, err)
	}
	return k, nil
}

// ReadAll is Read for all private keys of the file, which is more than one of a set.
func ReadAll(path string) ([]Key, error) {
	data, err := ReadSecretFile(path)
	if err != nil {
		return nil, fmt.Errorf("key %w", err)
	}
	all, err := ParseAll(data)
	for _, k := range all {
		if err == nil {
			err = RefuseDemonstration(k)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	return all, nil
}

// ReadSecretFile returns what is in the file at path, when it is kept as a
// secret: a regular file of at most MaxFile bytes that belongs to root or to the user
// who runs this, and that nobody else can read or write. A group may read it that this
// user is in. What counts is who really can, see [host.File.Strangers]. A symlink is
// followed, as secrets in a pod are. Root reads as [host.Open] says: what lies below the
// folder of another user must be kept as that user's secret. It never waits, not even at
// a FIFO. A byte order mark of UTF-8, which nobody sees in an editor, is left out. Its
// errors begin with the path, and say what to do.
func ReadSecretFile(path string) ([]byte, error) {
	data, err := readKept(path, refuses)
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, fmt.Errorf("%s: it is in UTF-16, as programs on Windows write; save it in UTF-8", path)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), err
}

// readKept is ReadSecretFile with its own idea of how a secret is kept: refuses
// says why the file is not.
func readKept(path string, refuses func(f *host.File, path string) error) ([]byte, error) {
	f, err := host.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if err := mayOwn(f, path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := refuses(f, path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := host.ReadAtMost(f, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// asTheUnit is what to do about a credential that this user is not to read.
const asTheUnit = "systemd gives a credential to the User= of its unit alone: run this as that user"

// refuses says why the file is not kept as a secret.
func refuses(f *host.File, path string) error {
	readers, writers := f.Strangers(path)
	who, can := readers, "read"
	switch {
	case len(readers) == 0 && len(writers) == 0:
		return nil
	case len(readers) == 0:
		who, can = writers, "write"
	}
	names := make([]string, len(who))
	for i, w := range who {
		names[i] = w.String()
	}
	return fmt.Errorf("%s can %s it (mode %04o); %s", strings.Join(names, " and "), can, f.Info.Mode().Perm(),
		f.Closing(path, host.Advice{
			Command: f.ClosingCommand(path),
			InPod:   "defaultMode: 0440 of its volume, and fsGroup",
			InUnit:  asTheUnit,
		}))
}

// refusesShared is refuses for a key of HTCondor's, which looks at the mode alone.
func refusesShared(f *host.File, path string) error {
	mode := f.Info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	return fmt.Errorf("its mode %04o gives permissions to others than its owner, and HTCondor wants none; %s", mode,
		f.Closing(path, host.Advice{
			Command: f.ClosingCommand(path),
			InPod:   "defaultMode: 0400 of its volume, without fsGroup",
			InUnit:  "systemd shows a credential as 0440 where its unit has User=: keep the key in a file of that user, with mode 0600",
		}))
}

// mayOwn is an error unless root or the keeper owns the file.
func mayOwn(f *host.File, path string) error {
	stat, ok := f.Info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner cannot be told on this system")
	}
	if owner := int(stat.Uid); owner != 0 && owner != f.Keeper.UID {
		return fmt.Errorf("its owner is %v; it must be root or %s: %s", host.UserID(owner), keeper(f),
			f.Closing(path, host.Advice{
				Command: fmt.Sprintf("chown %d %s", f.Keeper.UID, host.ShellWord(path)),
				InPod:   fmt.Sprintf("runAsUser: %d", owner),
				InUnit:  asTheUnit,
			}))
	}
	return nil
}

// keeper is how errors call the user whose secret the file is: who runs this, or in
// whose folder it lies.
func keeper(f *host.File) string {
	if f.Keeper.UID == os.Geteuid() {
		return "the user who runs tokenagent"
	}
	return fmt.Sprintf("the owner of its folder (%v)", host.UserID(f.Keeper.UID))
}
