package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// write puts content into a new file and returns its path.
func write(t *testing.T, content string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func TestReadTakesAKeyThatIsKeptAsASecret(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o440, 0o640} {
		path := write(t, testdata(t, "sec1.pem"), mode)
		if k, err := Read(path); err != nil || k.Algorithm() != "ES256" {
			t.Errorf("mode %04o: got %v, %v", mode, k, err)
		}
	}
}

func TestReadFollowsSymlinksAsInAPod(t *testing.T) {
	path := write(t, testdata(t, "sec1.pem"), 0o400)
	link := filepath.Join(t.TempDir(), "key")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(link); err != nil {
		t.Error(err)
	}
}

func TestReadNamesTheFileAndTheMend(t *testing.T) {
	key := testdata(t, "sec1.pem")
	fifo, missing := filepath.Join(t.TempDir(), "fifo"), filepath.Join(t.TempDir(), "missing")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ path, want string }{
		"missing":        {missing, "key PATH: no such file or directory"},
		"others read":    {write(t, key, 0o604), "key PATH: its mode 0604 lets everybody at it; chmod 0600 PATH (in a pod: defaultMode: 0440 with fsGroup)"},
		"group writes":   {write(t, key, 0o660), "key PATH: its mode 0660 lets its group write; chmod 0600 PATH (in a pod"},
		"directory":      {t.TempDir(), "key PATH: it is a directory, not a regular file"},
		"FIFO":           {fifo, "key PATH: it is a FIFO, not a regular file"},
		"device":         {"/dev/null", "key PATH: it is a device, not a regular file"},
		"too large":      {write(t, strings.Repeat("x", MaxFile+1), 0o600), "key PATH: it is larger than 65536 bytes"},
		"empty":          {write(t, "", 0o600), "key PATH: it is empty"},
		"what is no key": {write(t, "secret\n", 0o600), "key PATH: it is no private key in a known format"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Read(c.path)
			want := strings.ReplaceAll(c.want, "PATH", c.path)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	if _, err := Read(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

// withList gives user 54321 the permissions by an access control list, as
// setfacl -m u:54321:PERM does, in the kernel's own form.
func withList(t *testing.T, path string, permissions uint16) string {
	t.Helper()
	const userObj, user, groupObj, mask, other, nobody = 1, 2, 4, 16, 32, 0xffffffff
	list := binary.LittleEndian.AppendUint32(nil, 2) // version
	for _, e := range []struct {
		tag, permissions uint16
		id               uint32
	}{{userObj, 6, nobody}, {user, permissions, 54321}, {groupObj, 0, nobody}, {mask, permissions, nobody}, {other, 0, nobody}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.permissions)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	err := unix.Setxattr(path, "system.posix_acl_access", list, 0)
	if errors.Is(err, unix.ENOTSUP) {
		t.Skip("the file system of " + path + " has no access control lists")
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadRefusesAnAccessControlList(t *testing.T) {
	path := withList(t, write(t, testdata(t, "sec1.pem"), 0o600), 4)
	_, err := Read(path)
	if want := "key " + path + ": it has an access control list, which may let others at it; setfacl -b " + path; text(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := ReadCondor(path, PoolKey); !strings.HasPrefix(text(err), "key "+path+": its mode 0640 lets others") {
		t.Errorf("HTCondor's key: got %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // so that the list's mask permits nothing
		t.Fatal(err)
	}
	if _, err := Read(path); err != nil {
		t.Errorf("with an empty mask: %v", err)
	}
}

func TestReadSecretFileReturnsEveryByte(t *testing.T) {
	content := bytes.Repeat([]byte("x\n"), MaxFile/2)
	got, err := ReadSecretFile(write(t, string(content), 0o600))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// A fakeInfo is what fstat says of a file that a test cannot make without root.
type fakeInfo struct {
	fs.FileInfo
	mode fs.FileMode
	stat syscall.Stat_t
}

func (f fakeInfo) Mode() fs.FileMode { return f.mode }
func (f fakeInfo) Sys() any          { return &f.stat }

func TestOwnerAndGroupDecide(t *testing.T) {
	agent := keeper{host.Identity{UID: 500, GID: 500, Groups: []int{70}}}
	root := keeper{host.Identity{}}
	cases := []struct {
		name     string
		me       keeper
		uid, gid uint32
		mode     fs.FileMode
		want     string
	}{
		{"own", agent, 500, 500, 0o600, ""},
		{"root's, own group reads", agent, 0, 70, 0o440, ""},
		{"root's, another group may do nothing", agent, 0, 71, 0o400, ""},
		{"root's, another group reads", agent, 0, 71, 0o440, "its mode 0440 lets group 71 read, which the owner of its folder (uid 500) is not in; chmod 0600 /k (in a pod"},
		{"another user's", agent, 501, 500, 0o600, "its owner is user 501; it must be root or the owner of its folder (uid 500): chown 500 /k"},
		{"another user's, as root", root, 501, 0, 0o600, "its owner is user 501; it must be root"},
		{"others may execute", agent, 500, 500, 0o601, "its mode 0601 lets everybody at it"},
		{"own group writes", agent, 500, 500, 0o620, "its mode 0620 lets its group write"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.me.refuses("/k", fakeInfo{mode: c.mode, stat: syscall.Stat_t{Uid: c.uid, Gid: c.gid}})
			if got := text(err); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRootReadsAKeyInAUsersFolderAsThatUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root reads for other users")
	}
	const user = 54321
	home := t.TempDir()
	for dir := home; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	key := func(name string, uid int) string {
		path := filepath.Join(home, name)
		must(t, errors.Join(os.WriteFile(path, []byte("secret"), 0o600), os.Chown(path, uid, uid)))
		return path
	}
	roots := write(t, "secret", 0o600)
	must(t, os.Chmod(filepath.Dir(roots), 0o755))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(roots)), 0o755))
	must(t, errors.Join(os.Chown(home, user, user), os.Symlink(roots, filepath.Join(home, "link"))))
	for path, want := range map[string]string{
		key("own", user):            "",
		key("roots", 0):             "roots: permission denied for uid 54321, to whom " + home + " belongs",
		filepath.Join(home, "link"): "link: " + roots + ": permission denied for uid 54321",
	} {
		_, err := ReadSecretFile(path)
		if got := text(err); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestACommandThatCorrectsAFileCanBeTyped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "it's a key.pem")
	if err := os.WriteFile(path, []byte("secret"), 0o604); err != nil {
		t.Fatal(err)
	}
	_, err := Read(path)
	if want := "chmod 0600 '" + strings.ReplaceAll(path, "'", `'\''`) + "'"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
