package safefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A liar serves a file system by FUSE, as any user can, that says of every name
// in it what suits it: a file of root's by that mode, and whither links lead.
type liar struct {
	fd    int
	modes map[string]uint32 // by name, in whatever folder
	fails bool              // the disk, wherever a name is looked up
	link  string            // where all links lead

	mutex    sync.Mutex
	nodes    []string // names by node, from firstNode on
	creators []uint32 // the users under which something was to be made
}

// The messages of FUSE, as in <linux/fuse.h> 7.31.
const (
	fuseLookup, fuseForget, fuseGetattr, fuseReadlink = 1, 2, 3, 5
	fuseMkdir, fuseStatfs, fuseInit, fuseOpendir      = 9, 17, 26, 27
	fuseReleasedir, fuseCreate, fuseBatchForget       = 29, 35, 42

	firstNode = 2 // 1 is the root
)

type fuseRequest struct {
	Len, Opcode           uint32
	Unique, Node          uint64
	UID, GID, PID, Unused uint32
}

type fuseAttr struct {
	Ino, Size, Blocks, Atime, Mtime, Ctime uint64
	Nsec                                   [3]uint32
	Mode, Links, UID, GID, Rdev, Blksize   uint32
	Flags                                  uint32
}

// mountLiar puts the liar at dir for as long as the test runs.
func mountLiar(t *testing.T, dir string, l *liar) *liar {
	t.Helper()
	var err error
	if l.fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		missing(t, "there is no FUSE here: "+err.Error())
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", l.fd, somebody.UID, somebody.GID)
	if err := unix.Mount("liar", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		missing(t, "FUSE cannot be mounted here: "+err.Error())
	}
	served := make(chan struct{})
	go func() { defer close(served); l.serve() }()
	t.Cleanup(func() {
		must(t, unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH))
		<-served
		unix.Close(l.fd)
	})
	return l
}

// serve answers until the file system is unmounted.
func (l *liar) serve() {
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(l.fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return
		}
		var r fuseRequest
		rest := bytes.NewReader(buf[:n])
		_ = binary.Read(rest, binary.NativeEndian, &r)
		if r.Opcode == fuseForget || r.Opcode == fuseBatchForget {
			continue
		}
		errno, body := l.answer(r, buf[n-rest.Len():n])
		out := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
		out = binary.NativeEndian.AppendUint32(out, uint32(-int32(errno)))
		out = binary.NativeEndian.AppendUint64(out, r.Unique)
		_, _ = unix.Write(l.fd, append(out, body...))
	}
}

func (l *liar) answer(r fuseRequest, argument []byte) (unix.Errno, []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	switch r.Opcode {
	case fuseInit:
		init := make([]byte, 64)
		binary.NativeEndian.PutUint32(init, 7)
		binary.NativeEndian.PutUint32(init[4:], 31)
		binary.NativeEndian.PutUint32(init[20:], 1<<16) // the longest write
		return 0, init
	case fuseLookup:
		name := string(bytes.TrimRight(argument, "\x00"))
		if l.fails {
			return unix.EIO, nil
		}
		if l.modes[name] == 0 {
			return unix.ENOENT, nil
		}
		l.nodes = append(l.nodes, name)
		node := uint64(firstNode + len(l.nodes) - 1)
		return 0, append(message([]uint64{node, 0, 0, 0, 0}), message(l.attr(node))...)
	case fuseGetattr:
		return 0, append(make([]byte, 16), message(l.attr(r.Node))...)
	case fuseReadlink:
		return 0, []byte(l.link)
	case fuseStatfs:
		return 0, make([]byte, 80)
	case fuseOpendir:
		return 0, make([]byte, 16)
	case fuseReleasedir:
		return 0, nil
	case fuseCreate, fuseMkdir:
		l.creators = append(l.creators, r.UID)
		return unix.EDQUOT, nil
	}
	return unix.ENOSYS, nil
}

func (l *liar) attr(node uint64) fuseAttr {
	mode := uint32(unix.S_IFDIR | 0o755)
	if node >= firstNode {
		mode = l.modes[l.nodes[node-firstNode]]
	}
	return fuseAttr{Ino: node, Mode: mode, Links: 1, Size: uint64(len(l.link))}
}

func message(m any) []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, m) // of fixed size
	return b.Bytes()
}

func TestALinkOnFUSELeadsRootNowhere(t *testing.T) {
	needRoot(t)
	base := openTempDir(t)
	home, victim := mkdir(t, base+"/home", 0, 0o755), mkdir(t, base+"/victim", 0, 0o755)
	mountLiar(t, home, &liar{modes: map[string]uint32{".condor": unix.S_IFLNK | 0o777}, link: victim})
	_, err := New(theirs(home+"/.condor/token")).Write(t.Context(), []byte("content"))
	wantRefusal(t, err, home+"/.condor", "a symbolic link on FUSE", "write the path that it stands for")
	wantUntouched(t, victim)
}

func TestWhatFUSECallsRootsIsWrittenAsTheOwner(t *testing.T) {
	needRoot(t)
	home := mkdir(t, openTempDir(t)+"/home", 0, 0o755)
	l := mountLiar(t, home, &liar{modes: map[string]uint32{".condor": unix.S_IFDIR | 0o755}})
	made := theirs(home + "/new/token")
	made.CreateDir = true
	for _, target := range []Target{theirs(home + "/token"), theirs(home + "/.condor/token"), made} {
		_, err := New(target).Write(t.Context(), []byte("content"))
		wantError(t, err, "disk quota exceeded") // so the liar says to those that it has noticed
	}
	owner := uint32(somebody.UID)
	if l.mutex.Lock(); !slices.Equal(l.creators, []uint32{owner, owner, owner}) {
		t.Errorf("files were to be made by %d, want only the owner %d", l.creators, owner)
	}
	l.mutex.Unlock()
	_, err := New(mine(home+"/token")).Write(t.Context(), []byte("content"))
	wantRefusal(t, err, home, "a folder on FUSE")
}

// On another host's file system root's folders are root's, but no link is followed.
func TestLinksOnNetworkFileSystemsAreNotFollowed(t *testing.T) {
	_, disk := smallDisk(t)
	dir := filepath.Dir(disk.Path)
	must(t, errors.Join(os.Mkdir(dir+"/real", 0o755), os.Symlink("real", dir+"/link")))
	var mounted unix.Stat_t
	must(t, unix.Stat(dir, &mounted))
	for magic, want := range map[host.FileSystem]string{unix.NFS_SUPER_MAGIC: "NFS", 0x0bd00bd0: "Lustre", unix.TMPFS_MAGIC: ""} {
		asked := 0
		write := func(path string) error {
			f := New(mine(path))
			f.typeOf = func(fd int) (host.FileSystem, error) {
				asked++
				var st unix.Stat_t
				if err := unix.Fstat(fd, &st); err != nil || st.Dev != mounted.Dev {
					return 0, err
				}
				return magic, nil
			}
			_, err := f.Write(t.Context(), []byte("content"))
			return err
		}
		must(t, write(dir+"/real/token"))
		if asked > 3 {
			t.Errorf("the type was asked for %d times on one way", asked)
		}
		if err := write(dir + "/link/token"); want == "" {
			must(t, err)
		} else {
			wantRefusal(t, err, dir+"/link", "a symbolic link on "+want)
		}
	}
}

func TestAFileThatCannotBeLookedAtIsNotCalledRemoved(t *testing.T) {
	needRoot(t)
	home := mkdir(t, openTempDir(t)+"/home", 0, 0o755)
	mountLiar(t, home, &liar{fails: true})
	err := New(theirs(home + "/token")).Remove(t.Context())
	wantError(t, err, "look at it: input/output error")
}
