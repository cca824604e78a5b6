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

	"golang.org/x/sys/unix"
)

// ErrInUse is the error of a socket that another agent serves.
var ErrInUse = errors.New("another agent answers there")

// LongestPath is the length in bytes of the longest path that a socket can have:
// what struct sockaddr_un holds, less its final NUL; unix(7).
const LongestPath = 107

// OwnerOnly is the group for a socket that only its owner may open.
const OwnerOnly = -1

// Listen makes the socket at path, in its folder, which is made if it is
// missing (0755: the socket's own mode is what protects it). Its mode is 0600,
// or 0660 with that group; it never is wider, not even for an instant. A socket
// that nobody serves any more is replaced; one that answers is ErrInUse;
// anything else at path is left alone and an error.
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

// admit lets the group in, first the group, then the mode, whatever the umask.
func admit(path string, group int) error {
	if group == OwnerOnly {
		return os.Chmod(path, 0o600)
	}
	if err := os.Lchown(path, -1, group); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// lock keeps a second agent that starts at the same time from removing the
// socket that the first has just made. It waits: only the socket's owner can
// open the lock file, and holds it for an instant.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
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
		return errors.New("something that is no socket lies there; move it away, or set another control in the agent block")
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
