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
		if k, err := Read(path, ""); err != nil || k.Algorithm() != "ES256" {
			t.Errorf("mode %04o: got %v, %v", mode, k, err)
		}
	}
}

// reachable gives the file another name: then its mode alone counts, however closed the
// folders for tests are.
func reachable(t *testing.T, path string) string {
	t.Helper()
	must(t, os.Link(path, path+".link"))
	return path
}

func TestAKeyInAClosedFolderIsKeptAsASecret(t *testing.T) {
	path := write(t, testdata(t, "sec1.pem"), 0o444)
	must(t, os.Chmod(filepath.Dir(path), 0o700))
	if _, err := Read(path, ""); err != nil {
		t.Error(err)
	}
	if _, err := Read(reachable(t, path), ""); err == nil {
		t.Error("everybody can read the key")
	}
}

func TestReadFollowsSymlinksAsInAPod(t *testing.T) {
	path := write(t, testdata(t, "sec1.pem"), 0o400)
	link := filepath.Join(t.TempDir(), "key")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(link, ""); err != nil {
		t.Error(err)
	}
}

func TestReadNamesTheFileAndTheRemedy(t *testing.T) {
	key := testdata(t, "sec1.pem")
	fifo, missing := filepath.Join(t.TempDir(), "fifo"), filepath.Join(t.TempDir(), "missing")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ path, want string }{
		"missing":        {missing, "key PATH: no such file or directory"},
		"others read":    {reachable(t, write(t, key, 0o604)), "key PATH: everybody can read it (mode 0604); chmod 0600 PATH"},
		"others write":   {reachable(t, write(t, key, 0o602)), "key PATH: everybody can write it (mode 0602); chmod 0600 PATH"},
		"directory":      {t.TempDir(), "key PATH: it is a directory, not a regular file"},
		"FIFO":           {fifo, "key PATH: it is a FIFO, not a regular file"},
		"device":         {"/dev/null", "key PATH: it is a device, not a regular file"},
		"too large":      {write(t, strings.Repeat("x", MaxFile+1), 0o600), "key PATH: it is larger than 65536 bytes"},
		"empty":          {write(t, "", 0o600), "key PATH: it is empty"},
		"UTF-16":         {write(t, "\xff\xfe-\x00-\x00", 0o600), "key PATH: it is in UTF-16, as programs on Windows write; save it in UTF-8"},
		"what is no key": {write(t, "secret\n", 0o600), "key PATH: it is not a private key in a known format"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Read(c.path, "")
			want := strings.ReplaceAll(c.want, "PATH", c.path)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	if _, err := Read(missing, ""); !errors.Is(err, fs.ErrNotExist) {
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

func TestAnAccessControlListCountsForWhomItNames(t *testing.T) {
	path := withList(t, reachable(t, write(t, testdata(t, "sec1.pem"), 0o600)), 4)
	_, err := Read(path, "")
	if want := "key " + path + ": uid 54321 can read it (mode 0640); setfacl -b " + path + " && chmod 0600 " + path; text(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := ReadCondor(path, PoolKey); !strings.HasPrefix(text(err), "key "+path+": its mode 0640 gives permissions to others") {
		t.Errorf("HTCondor's key: got %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(path))
	if _, err := ReadCondor(path, PoolKey); !strings.Contains(text(err), "keep the key in a file of that user, with mode 0600") {
		t.Errorf("HTCondor's key as a credential: got %v", err)
	}
	if _, err := Read(path, ""); !strings.Contains(text(err), "(mode 0640); systemd gives a credential to the User= of its unit alone") {
		t.Errorf("a credential: got %v", err)
	}
	if os.Geteuid() == 0 { // as systemd hands a credential to the user of a unit
		for dir := filepath.Dir(path); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
			must(t, os.Chmod(dir, 0o755))
		}
		must(t, os.Chown(filepath.Dir(path), 54321, 54321))
		if _, err := Read(path, ""); err != nil {
			t.Errorf("in a folder of the user whom it names: %v", err)
		}
		must(t, os.Chown(filepath.Dir(path), 0, 0))
	}
	if err := os.Chmod(path, 0o600); err != nil { // so that the list's mask permits nothing
		t.Fatal(err)
	}
	if _, err := Read(path, ""); err != nil {
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

// Editors on Windows write the mark, which nobody sees.
func TestReadSecretFileLeavesOutAByteOrderMark(t *testing.T) {
	got, err := ReadSecretFile(write(t, "\ufeffs3cret\n", 0o600))
	if err != nil || string(got) != "s3cret\n" {
		t.Errorf("got %q, %v", got, err)
	}
	key, err := Generate("ES256")
	must(t, err)
	jwk, err := key.MarshalJWK()
	must(t, err)
	for _, text := range []string{testdata(t, "sec1.pem"), string(jwk)} {
		if _, err := Read(write(t, "\ufeff"+text, 0o600), ""); err != nil {
			t.Error(err)
		}
	}
}

// ownedBy makes a key of the user and group in a folder of user 500.
func ownedBy(t *testing.T, uid, gid int, mode fs.FileMode) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := reachable(t, write(t, "hello", mode))
	for dir := filepath.Dir(path); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, errors.Join(os.Chown(path, uid, gid), os.Chmod(path, mode), os.Chown(filepath.Dir(path), 500, 500)))
	return path
}

func TestOwnerAndGroupDecide(t *testing.T) {
	const owner = "it must be root or the owner of its folder (uid 500): chown 500 PATH"
	for _, c := range []struct {
		name     string
		uid, gid int
		mode     fs.FileMode
		want     string
	}{
		{"own", 500, 500, 0o600, ""},
		{"another group may do nothing", 500, 71, 0o400, ""},
		{"another group reads", 500, 71, 0o440, "the group gid 71 can read it (mode 0440); chmod 0600 PATH"},
		{"another user's", 501, 500, 0o644, "its owner is uid 501; " + owner},
		{"others may execute", 500, 500, 0o601, ""},
		{"own group writes", 500, 500, 0o620, "the group gid 500 can write it (mode 0620); chmod 0600 PATH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := ownedBy(t, c.uid, c.gid, c.mode)
			_, err := ReadSecretFile(path)
			if got, want := text(err), strings.ReplaceAll(c.want, "PATH", path); want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("got %q, want %q", got, want)
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
	_, err := Read(reachable(t, path), "")
	if want := "chmod 0600 '" + strings.ReplaceAll(path, "'", `'\''`) + "'"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
