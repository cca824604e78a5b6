package safefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
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

// The file is open to nobody but its owner for as long as its group is not the
// wanted one.
func TestNoOtherGroupMayReadTheFileForAnInstant(t *testing.T) {
	needRoot(t)
	for name, uid := range map[string]int{"of root": 0, "of the owner": somebody.UID} {
		t.Run("in a folder "+name, func(t *testing.T) {
			dir := mkdir(t, openTempDir(t)+"/setgid", uid, 0o755)
			must(t, errors.Join(os.Chown(dir, -1, 54399), os.Chmod(dir, 0o755|os.ModeSetgid)))
			target := theirs(dir + "/token")
			target.Mode, target.Group = 0o644, somebody.Groups[0]
			f := New(target)
			f.passed = func(step int) error {
				for _, name := range temps(t, dir) {
					var st unix.Stat_t
					must(t, unix.Lstat(dir+"/"+name, &st))
					if int(st.Gid) != target.Group && st.Mode&0o077 != 0 {
						t.Errorf("after step %d the file is %v", step, host.Place{Path: name, Stat: st})
					}
				}
				return nil
			}
			mustWrite(t, f, "content")
			wantFile(t, target, "content")
		})
	}
}

func TestALabelMayBeLong(t *testing.T) {
	needRoot(t)
	path := t.TempDir() + "/token"
	must(t, os.WriteFile(path, nil, 0o600))
	label := bytes.Repeat([]byte("x"), 1000)
	if err := unix.Setxattr(path, labelXattr, label, 0); err != nil {
		missing(t, "a label cannot be set here: "+err.Error())
	}
	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	if got, err := labelOf(int(file.Fd())); !bytes.Equal(got, label) || err != nil {
		t.Errorf("the label has %d bytes, %v; want %d", len(got), err, len(label))
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
