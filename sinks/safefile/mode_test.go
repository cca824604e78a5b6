package safefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOwnerAndModeAreAsWantedOnEveryWrite(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		for _, setgid := range []bool{false, true} {
			for _, acl := range []bool{false, true} {
				t.Run(fmt.Sprintf("umask %04o, setgid %v, default ACL %v", umask, setgid, acl), func(t *testing.T) {
					dir := openTempDir(t)
					prepare(t, dir, setgid, acl)
					defer unix.Umask(unix.Umask(umask))
					everyMode(t, mine(filepath.Join(dir, "mine")))
					if os.Geteuid() == 0 {
						everyMode(t, theirs(filepath.Join(dir, "theirs")))
						home := theirs(filepath.Join(dir, "home", "token"))
						home.CreateDir, home.Group = true, somebody.Groups[0]
						everyMode(t, home)
					}
				})
			}
		}
	}
}

func everyMode(t *testing.T, target Target) {
	t.Helper()
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o640, 0o644, 0o666} {
		target.Mode = mode
		f := New(target)
		for write := range 3 {
			content := fmt.Sprintf("%04o %d", mode, write)
			mustWrite(t, f, content)
			wantFile(t, target, content)
		}
	}
}

// prepare makes dir setgid of another group, and gives it a default ACL by
// which all new files are open to another user.
func prepare(t *testing.T, dir string, setgid, acl bool) {
	t.Helper()
	if setgid {
		if os.Geteuid() == 0 {
			must(t, os.Chown(dir, -1, 54399))
		}
		must(t, os.Chmod(dir, 0o755|os.ModeSetgid))
	}
	if !acl {
		return
	}
	err := unix.Setxattr(dir, "system.posix_acl_default", defaultACL(), 0)
	if errors.Is(err, unix.ENOTSUP) {
		missing(t, "the file system of "+dir+" has no ACLs")
	}
	must(t, err)
}

// defaultACL gives everything to the owner, the group, uid 54388 and others.
func defaultACL() []byte {
	const userObj, user, groupObj, mask, other, nobody = 1, 2, 4, 16, 32, 0xffffffff
	acl := binary.LittleEndian.AppendUint32(nil, 2) // version
	for _, e := range []struct {
		tag uint16
		id  uint32
	}{{userObj, nobody}, {user, 54388}, {groupObj, nobody}, {mask, nobody}, {other, nobody}} {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, 7)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	return acl
}
