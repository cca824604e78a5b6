package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// ErrInUse is the error of a socket that another agent serves.
var ErrInUse = errors.New("another agent answers there")

// LongestPath is the length in bytes of the longest path that a socket can have:
// what struct sockaddr_un holds, less its final NUL; unix(7).
const LongestPath = 107

// OwnerOnly is the group for a socket that only its owner may open.
const OwnerOnly = -1

// Listen makes the socket at path, and its folder if that is missing (0755: the mode of the
// socket protects it). The mode of the socket is 0600, or 0660 with that group, and never
// wider, not even for an instant. A socket that nobody serves any more is replaced. One
// that answers is ErrInUse. Anything else at path is an error and stays.
func Listen(path string, group int) (net.Listener, error) {
	if len(path) > LongestPath {
		return nil, fmt.Errorf("control socket %s: a socket's path has at most %d bytes; set a shorter control in the agent block", path, LongestPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	unlock, err := lock(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer unlock()
	if err := clear(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	l, err := bind(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := admit(path, group); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// Exposed are the ways in which somebody else could put another socket at the path.
// The error says that the folder is missing where somebody else could have root make
// another one. No trust, as of a user who is not root, finds nothing.
func Exposed(path string, t *host.Trust) (found []*host.Weakness, err error) {
	if t == nil {
		return nil, nil
	}
	found, _ = t.Weaknesses(path) // Listen finds the error too; a missing folder is one
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	for _, w := range found {
		if !w.Sudo {
			return found, fmt.Errorf("control socket %s: its folder is missing, and root makes none there: %w; or make the folder, or set another control in the agent block", path, w)
		}
	}
	return found, nil
}

// bind sets the mode before the socket has a name: Linux gives the file the
// mode of the unbound socket, less the umask.
func bind(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if ctl := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); ctl != nil {
			return ctl
		}
		return err
	}}
	return config.Listen(context.Background(), "unix", path)
}

// admit sets the group of the socket, and then its mode, whatever the umask. It holds the
// socket open: where others can write in the folder, they could replace it meanwhile by a
// link to any file.
func admit(path string, group int) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: somebody has replaced the socket; set control in the agent block to a path in a folder that others cannot write", path)
	}
	mode := os.FileMode(0o600)
	if group != OwnerOnly {
		if err := unix.Fchownat(fd, "", -1, group, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("give %s to its group: %w", path, err)
		}
		mode = 0o660
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

// lockPatience is how long to wait for the lock of a socket. An agent holds it for an
// instant, but in a folder that others can write, anybody can hold it for as long as they like.
const lockPatience = 2 * time.Second

// lock keeps a second agent that starts at the same time from removing the socket that the
// first has just made.
func lock(file string) (unlock func(), err error) {
	end := time.Now().Add(lockPatience)
	f, err := host.LockFile(file, func() error {
		if time.Now().After(end) {
			return fmt.Errorf("another process holds it (fuser %s names it); end that one, or set another control in the agent block", file)
		}
		time.Sleep(10 * time.Millisecond)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", file, host.WithoutPath(err))
	}
	return func() { f.Close() }, nil
}

// clear removes a socket that nobody serves.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("it is not a socket; move it away, or set another control in the agent block")
	}
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		conn.Close()
		return ErrInUse
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
