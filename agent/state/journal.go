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

// A journal is a file of lines to which changes are appended: a change costs one small write
// and one sync, however long the file is. After a power cut the file has the lines of the
// last sync, and perhaps a part of those after it.
//
// The first write makes the file. Call one method at a time.
type journal struct {
	path  string
	file  *os.File // nil: it was never written
	size  int64    // of the lines that are surely in the file
	whole bool     // the file must be replaced, since nobody knows what is in it
}

// errMissing is the error of an append to a file that is no longer in its place.
var errMissing = errors.New("the file was deleted or replaced")

// inPlace reports whether the file that is open still has its name.
func (j *journal) inPlace() bool { return sameFile(j.file, j.path) }

// append adds whole lines at the end and syncs them. After an error the file is as before,
// or whole is set.
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

// empty takes all lines out. After a power cut they may be back, since it does not sync.
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

// replace replaces the file by one with the lines that write writes. After a power cut one
// of the two is there, whole. After an error the old one stays in use.
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

// longestLine is far longer than any that is written.
const longestLine = 1 << 20

// A reading is what was found in a journal.
type reading struct {
	size    int64 // up to the end of the last whole line
	lines   int   // that can be used
	torn    bool  // a part of a line follows, of a write that was cut short
	bad     []byte
	why     error // of the first bad line
	refused error // nothing in the file can be used
}

// errVersion is the error of a file in a format that this version does not know.
var errVersion = errors.New("version")

// readLines hands the whole lines of the file to take, one after the other. Lines that take
// refuses are collected.
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

// take hands over one line. A power cut may leave NUL bytes before it.
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

// openFor opens the file that was read, to append to it, and cuts off a torn line.
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

// openJournal opens a journal that was read, to append to it. Lines that cannot be used are
// set aside.
func (s *State) openJournal(j *journal, name string, r reading) {
	if errors.Is(r.refused, fs.ErrNotExist) || s.setAsideLines(name, r) {
		return
	}
	if err := j.openFor(r); err != nil {
		s.warn("%s cannot be written: %v", j.path, err)
	}
}
