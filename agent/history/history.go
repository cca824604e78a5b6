// Package history is the journal of the tokens of one configuration: which token was put
// where, signed with which key, for how long, and why. It answers what to do when a token or
// a key has leaked. It holds nothing secret.
//
// It is a file of lines in the state folder. Every token that lives and was put somewhere since
// the journal began is in it, and of those that have expired the last ones. Nothing waits for
// it: lines are written within a second, and a kill or a power cut may lose some.
package history

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// File is the name of the journal in the state folder.
const File = "tokens.jsonl"

// What is kept of tokens that have expired.
const (
	keepExpired = 90 * 24 * time.Hour
	mostExpired = 100_000
)

const (
	betweenWrites = time.Second
	longWrite     = 10 * time.Second // so long a write may take before a person is told that it hangs
	lastWrite     = time.Second      // and so long at the end
	mostPending   = 100_000          // lines, while the folder cannot be written
	mostLine      = 16 << 10         // bytes
	leastCompact  = 256 << 10        // bytes: a journal that is shorter is not worth the work
)

// An Entry is one token that was put somewhere.
type Entry struct {
	At      time.Time `json:"at"`             // when it was put there
	Token   string    `json:"token"`          // the name of its definition
	Path    string    `json:"path,omitempty"` // "": it was printed, or given to a program
	JTI     string    `json:"jti,omitempty"`
	KID     string    `json:"kid,omitempty"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires,omitzero"` // zero: not known
	Why     string    `json:"why,omitempty"`    // why it was asked for: "due", "start", "asked for"
}

// Lives reports whether the token is good at the time now, as far as is known.
func (e Entry) Lives(now time.Time) bool { return e.Expires.IsZero() || now.Before(e.Expires) }

// A Journal writes the history in one folder. Its methods may be called from any goroutine.
type Journal struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	pending []Entry
	lost    int // lines that were dropped, since the folder could not be written for long

	writing sync.Mutex // one write at a time
	compact int64      // the size at which the file is compacted; 0: not known yet
}

// New returns the Journal in the folder. It opens nothing yet.
func New(dir string, now func() time.Time) *Journal {
	return &Journal{path: filepath.Join(dir, File), now: now}
}

// Add notes a token. It waits for nothing.
func (j *Journal) Add(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.pending) >= mostPending {
		j.pending = j.pending[1:]
		j.lost++
	}
	j.pending = append(j.pending, e)
}

// Run writes what was added, every second, until ctx is done, and then once more. report is
// told of an error when it is another than the one before; nil: it is over. Run does not wait
// for a folder that hangs.
func (j *Journal) Run(ctx context.Context, report func(error)) {
	said := ""
	var running *host.Call[error] // a write that hangs
	write := func(patience time.Duration) {
		if running == nil {
			running = host.Begin(j.Write)
		}
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err, returned := running.Wait(within)
		if returned {
			running = nil
		} else {
			err = fmt.Errorf("history %s: the file system does not answer", j.path)
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != said {
			said = text
			report(err)
		}
	}
	ticker := time.NewTicker(betweenWrites)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			write(lastWrite)
			return
		case <-ticker.C:
			write(longWrite)
		}
	}
}

// Close writes what was added, unless that takes longer than a second. What is not written is
// lost; no token depends on it.
func (j *Journal) Close() {
	within, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	_, _ = host.Await(within, j.Write)
}

// Write writes what was added. What an error has kept from being written is still there for
// the next call.
func (j *Journal) Write() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	batch := j.pending
	j.pending = nil
	j.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	written, err := j.append(batch)
	if !written {
		j.mu.Lock()
		j.pending = append(batch, j.pending...)
		j.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("history %s: %w", j.path, host.WithoutPath(err))
	}
	return nil
}

// append adds the entries to the file under its lock, which commands share. They may be
// written although there is an error.
func (j *Journal) append(batch []Entry) (written bool, err error) {
	f, err := open(j.path, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, first, err := end(f)
	if err != nil {
		return false, err
	}
	text := bytes.NewBufferString(first)
	for _, e := range batch {
		if line, err := json.Marshal(e); err == nil && len(line) < mostLine { // of names and times: always
			text.Write(append(line, '\n'))
		}
	}
	if _, err := f.WriteAt(text.Bytes(), size); err != nil {
		_ = f.Truncate(size) // else the next write ends the line
		return false, err
	}
	if size += int64(text.Len()); j.compact == 0 {
		j.compact = leastCompact
	}
	if size < j.compact {
		return true, nil
	}
	kept, err := compact(f, j.path, j.now(), mostExpired)
	if err != nil {
		j.compact = 2 * size // it is tried again, but not at each write
		return true, errors.New("it cannot be shortened: " + host.WithoutPath(err).Error())
	}
	j.compact = max(leastCompact, 2*kept)
	return true, nil
}

// open opens the journal and takes its lock. It follows no link, and a file that was replaced
// meanwhile is opened again.
func open(path string, how int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, how|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("it is not a regular file")
		}
		if err == nil {
			err = host.Again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX) })
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(info, now) {
			return f, nil
		}
		f.Close()
	}
}

// end is where the file ends, and what has to be written there first: a line that was not
// written to its end gets one, and is passed over from then on.
func end(f *os.File) (size int64, first string, err error) {
	if size, err = f.Seek(0, io.SeekEnd); err != nil || size == 0 {
		return size, "", err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil {
		return 0, "", err
	}
	if last[0] != '\n' {
		first = "\n"
	}
	return size, first, nil
}

// compact writes the journal again without what is too old, and with at most so many expired
// tokens. It returns the size.
func compact(f *os.File, path string, now time.Time, most int) (kept int64, err error) {
	expired := 0
	keep := func(e Entry) bool { return e.Lives(now) || now.Sub(e.Expires) < keepExpired }
	if err := read(f, func(e Entry, _ []byte) bool {
		if keep(e) && !e.Lives(now) {
			expired++
		}
		return true
	}); err != nil {
		return 0, err
	}
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer next.Close()
	if info, err := f.Stat(); err == nil { // a command of root leaves it to the agent's user
		st := info.Sys().(*syscall.Stat_t)
		_ = next.Chown(int(st.Uid), int(st.Gid))
	}
	w := bufio.NewWriter(next)
	err = read(f, func(e Entry, line []byte) bool {
		if !keep(e) {
			return true
		}
		if !e.Lives(now) {
			if expired--; expired >= most {
				return true
			}
		}
		kept += int64(len(line))
		_, _ = w.Write(line) // Flush returns the error
		return true
	})
	if err = errors.Join(err, w.Flush(), next.Sync()); err != nil {
		os.Remove(next.Name())
		return 0, err
	}
	return kept, os.Rename(next.Name(), path)
}

// Read calls each for the entries of the folder's journal, the oldest first, until it returns
// false. A journal that is not there has none.
func Read(dir string, each func(Entry) bool) error {
	f, err := os.OpenFile(filepath.Join(dir, File), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return read(f, func(e Entry, _ []byte) bool { return each(e) })
}

// read calls each for the entries of the file and their lines. What is no entry is passed over.
func read(f *os.File, each func(e Entry, line []byte) bool) error {
	lines := bufio.NewReaderSize(io.NewSectionReader(f, 0, math.MaxInt64), mostLine)
	for {
		line, err := lines.ReadSlice('\n')
		var e Entry
		switch {
		case errors.Is(err, io.EOF): // the last line is being written, or was cut off
			return nil
		case errors.Is(err, bufio.ErrBufferFull): // not a line of ours
		case err != nil:
			return err
		case json.Unmarshal(line, &e) == nil && e.Token != "" && !each(e, line):
			return nil
		}
	}
}
