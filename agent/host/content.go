package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ReadFile opens the file as Open does, and reads it if it has no more than most bytes. Its
// errors do not begin with the path.
func ReadFile(path string, most int64) ([]byte, fs.FileInfo, error) {
	f, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	content, err := ReadAtMost(f, most)
	return content, f.Info, err
}

// ReadAtMost reads to the end, but no more than most bytes. Its errors name no path.
func ReadAtMost(r io.Reader, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, WithoutPath(err)
	case int64(len(content)) > most:
		return nil, fmt.Errorf("it is larger than %d bytes", most)
	}
	return content, nil
}

// SyncFolder writes the names in the folder to the disk, if its file system can.
func SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := SyncNames(int(f.Fd())); err != nil {
		return &fs.PathError{Op: "sync", Path: path, Err: err}
	}
	return nil
}

// SyncNames is SyncFolder for a folder that is open.
func SyncNames(folder int) error {
	err := Again(func() error { return unix.Fsync(folder) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil // this file system has nothing to sync in a folder
	}
	return err
}
