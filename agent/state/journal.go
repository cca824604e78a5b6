package state

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A journal is a file of lines that grows by what changes, so that a change
// costs one small write and one sync, however much is in the file. A power cut
// leaves the lines of the last sync and perhaps a part of those after it.
//
// The first write makes the file. Its methods are called one at a time.
type journal struct {
	path  string
	file  *os.File // nil: it was never written
	size  int64    // of the lines that are in the file for certain
	whole bool     // what is in the file is uncertain: only a replacement makes it good
}

// errMissing is the error of an append to a file that is no longer in its place.
var errMissing = errors.New("the file was deleted or replaced")

// inPlace reports whether the file that is open still has its name.
func (j *journal) inPlace() bool { return sameFile(j.file, j.path) }

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

// append adds whole lines at the end, and has them on the disk. After an
// error the file is as before, or whole is set.
func (j *journal) append(lines []byte) error {
	if j.whole || !j.inPlace() {
		j.whole = true
		return fmt.Errorf("%s: %w", j.path, errMissing)
	}
	if len(lines) == 0 {
		return nil
	}
	if _, err := j.file.WriteAt(lines, j.size); err != nil {
		j.whole = j.file.Truncate(j.size) != nil // a part of the lines would spoil those after it
		return err
	}
	if err := unix.Fdatasync(int(j.file.Fd())); err != nil {
		j.whole = true // the kernel may have dropped what it could not write
		return fmt.Errorf("sync %s: %w", j.path, err)
	}
	j.size += int64(len(lines))
	return nil
}

// empty takes all lines out. It is not synced: after a power cut they may be back.
func (j *journal) empty() error {
	if j.whole || !j.inPlace() {
		return errMissing
	}
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	j.size = 0
	return nil
}

// replace puts a new file with the lines that write writes in the place of the
// old one. After a power cut one of the two is there, whole. After an error the
// old one stays in use.
func (j *journal) replace(write func(io.Writer) error) error {
	f, err := newFile(j.path, write)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		f.Close()
		return err
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size, j.whole = f, size, false
	if err := host.SyncFolder(filepath.Dir(j.path)); err != nil {
		j.whole = true
		return err
	}
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// newFile writes a file beside path, syncs it, and renames it to path. It
// follows no link, and leaves nothing behind after an error.
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

// replaceFile replaces the file as a whole, durably. The lock keeps other agents away.
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

// makeFolder makes the folder and those above it that are missing, durably.
func makeFolder(dir string) error {
	var parents []string
	for at := dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(at))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := host.SyncFolder(p); err != nil && !errors.Is(err, fs.ErrPermission) { // one above may be closed to us
			return err
		}
	}
	return nil
}

// longestLine is far longer than any that is written.
const longestLine = 1 << 20

// A reading is what was found in a journal.
type reading struct {
	size    int64 // up to the end of the last whole line
	lines   int   // that are good
	torn    bool  // a part of a line follows, of a write that did not end
	bad     []byte
	why     error // of the first bad line
	refused error // nothing in the file can be used
}

// errVersion is the error of a file that another version of this program wrote
// in a way that this one does not know.
var errVersion = errors.New("version")

// readLines hands the whole lines of the file to take, one after the other. What
// take has no use for is collected, and does not keep it from the rest.
func readLines(path string, take func(line []byte) error) (r reading) {
	f, err := openOwn(path, mostRecords)
	if err != nil {
		return reading{refused: err}
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == nil:
			r.size += int64(len(line))
		case errors.Is(err, io.EOF):
			r.torn = len(line) > 0
			return r
		case errors.Is(err, bufio.ErrBufferFull):
			r.size += int64(len(line))
			r.spoiled(line, errors.New("a line is too long"))
			continue
		default:
			r.refused = err
			return r
		}
		if r.take(line, take); r.refused != nil {
			return r
		}
	}
}

// take hands over one line. A power cut may leave NUL bytes before a good one.
func (r *reading) take(line []byte, take func([]byte) error) {
	err := take(bytes.Trim(line, "\x00\n"))
	switch {
	case err == nil:
		r.lines++
	case errors.Is(err, errVersion):
		r.refused = err
	default:
		r.spoiled(line, err)
	}
}

func (r *reading) spoiled(line []byte, why error) {
	if r.why == nil {
		r.why = why
	}
	if len(r.bad) < longestLine {
		r.bad = append(r.bad, line...)
	}
}

// openFor opens the file that was read for what is appended from now on, and cuts
// off a line that did not end.
func (j *journal) openFor(r reading) error {
	f, err := os.OpenFile(j.path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		j.whole = true
		return err
	}
	j.file, j.size = f, r.size
	j.whole = r.bad != nil
	if r.torn && f.Truncate(r.size) != nil {
		j.whole = true
	}
	return nil
}
