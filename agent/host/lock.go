package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LockFile makes the file if it is missing, 0600, and takes its lock (flock(2)), which
// ends with the last descriptor. While another process has the lock, LockFile calls busy,
// which waits a moment, or returns the error to give up with.
func LockFile(path string, busy func() error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := Again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if err == nil {
			return f, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = busy()
		} else {
			err = &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
}

// SignLock writes the number of this process into the lock, for Holder and for people.
func SignLock(lock *os.File) {
	if lock.Truncate(0) == nil {
		_, _ = lock.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
}

// Holder is the process that signed the lock last; zero: not known. Holder follows no link
// at path, and waits for nobody.
func Holder(path string) (pid int) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0
	}
	text := make([]byte, 20) // longer than any number of a process
	n, _ := f.ReadAt(text, 0)
	pid, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}
