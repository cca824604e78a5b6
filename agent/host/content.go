package host

import (
	"fmt"
	"io"
	"io/fs"
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
