package host

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadFile returns what is in a file that Open opens, if it has no more than most
// bytes. Its errors do not begin with the path.
func ReadFile(path string, most int64) ([]byte, fs.FileInfo, error) {
	f, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	content, err := ReadAtMost(f, most)
	return content, f.Info, err
}

// ReadAtMost reads to the end what has no more than most bytes. Its errors name no
// path.
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

// OpenPlain opens the regular file at the path as any program does: as this process,
// along every link. Like Open it never waits and opens no device, and its errors do
// not begin with the path.
func OpenPlain(path string) (*File, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, WithoutPath(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, WithoutPath(err)
	}
	if info, err = f.Stat(); err == nil {
		err = regular(info) // another may lie there by now
	}
	if err != nil {
		f.Close()
		return nil, WithoutPath(err)
	}
	return &File{File: f, Info: info, Keeper: Self()}, nil
}

func regular(info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &Irregular{KindOf(info.Sys().(*syscall.Stat_t).Mode)}
}
