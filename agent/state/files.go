package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// readOwn reads a regular file of at most so many bytes that only this user or root can have
// written. It never waits, not even at a FIFO.
func readOwn(path string, most int64) ([]byte, error) {
	f, err := openOwn(path, most)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// openOwn opens a file as readOwn does.
func openOwn(path string, most int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := own(f, most); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func own(f *os.File, most int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("it is not a regular file")
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to uid %d", st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("others may write it (mode %04o)", st.Mode&0o7777)
	case st.Size > most:
		return fmt.Errorf("it has %d bytes", st.Size)
	}
	return nil
}

// newFile writes a file beside path, syncs it and renames it to path. It follows no link,
// and leaves nothing behind after an error. The file stays open: a journal goes on in it,
// which package safefile could not offer.
func newFile(path string, write func(io.Writer) error) (f *os.File, err error) {
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a killed agent
		return nil, err
	}
	f, err = os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	buffer := bufio.NewWriter(f)
	err = write(buffer)
	if err == nil {
		err = buffer.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		f.Close()
		os.Remove(temp)
		return nil, err
	}
	return f, nil
}

// replaceFile replaces the whole file durably. The lock of the folder keeps others away.
func replaceFile(path string, content []byte) error {
	f, err := newFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), host.SyncFolder(filepath.Dir(path)))
}

// sameFile reports whether path names the open file; nil is never named.
func sameFile(f *os.File, path string) bool {
	if f == nil {
		return false
	}
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}
