// Package state keeps what outlives the process in one folder: the records of
// the files that were written, the key of the definitions' digests, and the
// lock that admits one running agent.
package state

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
)

const (
	lockName    = "lock"
	keyName     = "digest.key"
	recordsName = "records.json"
	asideSuffix = ".set-aside"

	version     = 1
	keyBytes    = 32
	mostRecords = 256 << 20 // bytes; 100,000 files take about 60 MB
)

// A State is an open state folder. Its methods may be called from any goroutine.
type State struct {
	// Orphans makes the sink of a file that no definition has any more; see
	// [agent.Records]. It may be nil.
	Orphans func(agent.Record) agent.Sink

	dir      string
	lock     *os.File // nil: only read
	debts    debts
	key      []byte
	keeping  sync.Mutex
	records  []agent.Record
	warnings []string
}

// A Locked is the error of a folder that another process has open.
type Locked struct {
	Dir string
	PID int // zero: not known
}

// Error names the folder and what to do.
func (l *Locked) Error() string {
	who := "another agent"
	if l.PID > 0 {
		who = fmt.Sprintf("another agent (process %d)", l.PID)
	}
	return fmt.Sprintf("state folder %s: %s runs with it; ask that one by `tokenagent refresh`, or give this one a state_dir of its own", l.Dir, who)
}

// Open makes the folder if it is missing, locks it until Close, and reads what
// is in there. What cannot be read is set aside, with a warning: nothing in
// there is worth not starting for.
func Open(dir string) (*State, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("state folder %s: the path is relative; name it from the root", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder %s: %w", dir, err)
	}
	odd := judge(dir)
	if odd != nil && os.Geteuid() == 0 {
		return nil, odd
	}
	s := &State{dir: dir}
	if odd != nil { // without root's powers there is nothing to be gained by leading the process astray
		s.warn("%v", odd)
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	s.readRecords(s.setAside)
	s.readDebts(s.setAside)
	if err := s.readOrMakeKey(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Read reads the folder as it is, without its lock and without changing
// anything: for those who only look. A folder that is not there is an empty one.
func Read(dir string) *State {
	s := &State{dir: dir}
	ignore := func(string, error) {}
	s.readRecords(ignore)
	s.key, _ = s.readKey()
	return s
}

// Close gives the lock back.
func (s *State) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// Warnings are what Open found in the folder that is not as it should be.
func (s *State) Warnings() []string { return s.warnings }

// DigestKey is the key of the digests of definitions. It is random and stays in
// the folder, so that a digest tells nobody else anything about a secret. Nil
// when Read found none.
func (s *State) DigestKey() []byte { return s.key }

// Recall returns the records that lay in the folder when it was opened.
func (s *State) Recall() []agent.Record { return s.records }

// Orphan is what Orphans makes of the record.
func (s *State) Orphan(r agent.Record) agent.Sink {
	if s.Orphans == nil {
		return nil
	}
	return s.Orphans(r)
}

// document is the file of records.
type document struct {
	Version int            `json:"version"`
	Records []agent.Record `json:"records"`
}

// Keep replaces the records, by rename and without sync: after a crash of the
// host it is enough to ask the sources again.
func (s *State) Keep(records []agent.Record) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	content, err := json.Marshal(document{version, records})
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return replaceFile(filepath.Join(s.dir, recordsName), content)
}

// replaceFile replaces the file as a whole. The lock keeps other agents away.
func replaceFile(path string, content []byte) error {
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a killed agent
		return err
	}
	err := writeNew(temp, content)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// writeNew makes a file that was not there; it follows no link.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

func (s *State) takeLock() error {
	path := filepath.Join(s.dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("state folder: lock %s: %w", path, err)
		}
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(holder[:n])))
		return &Locked{s.dir, pid}
	}
	s.lock = f
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid()) // only a help for people
	}
	return nil
}

// judge finds fault with a folder in which somebody else could put files of its own in
// the place of ours: root would follow what they say, and write where they lead.
func judge(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("state folder %s: %w", dir, err)
	}
	for at := real; ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return fmt.Errorf("state folder %s: %s: %w", dir, at, err)
		}
		if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("state folder %s: %s belongs to uid %d, who could put other files in its place; chown it, or name another state_dir", dir, at, st.Uid)
		}
		sticky := at != real && st.Mode&unix.S_ISVTX != 0
		if st.Mode&0o022 != 0 && !sticky {
			return fmt.Errorf("state folder %s: others may write in %s (mode %04o); chmod go-w %s", dir, at, st.Mode&0o7777, at)
		}
		if at == "/" {
			return nil
		}
	}
}

func (s *State) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

func (s *State) readRecords(unreadable func(name string, why error)) {
	content, err := readOwn(filepath.Join(s.dir, recordsName), mostRecords)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		s.records, err = parseRecords(content)
	}
	if err != nil {
		unreadable(recordsName, err)
	}
}

func parseRecords(content []byte) ([]agent.Record, error) {
	var d document
	if err := json.Unmarshal(content, &d); err != nil {
		return nil, fmt.Errorf("no file of records: %w", err)
	}
	if d.Version != version {
		return nil, fmt.Errorf("it has version %d, and this agent knows version %d", d.Version, version)
	}
	return d.Records, nil
}

// without says what it means to start without a file.
var without = map[string]string{
	recordsName: "the sources are asked again",
	keyName:     "the sources are asked again",
	debtsName:   "hooks that were due may not be run",
}

// setAside renames what cannot be used, so that nothing is lost.
func (s *State) setAside(name string, why error) {
	path := filepath.Join(s.dir, name)
	if err := os.Rename(path, path+asideSuffix); err != nil {
		s.warn("%s cannot be used (%v), and not be set aside: %v", path, why, err)
		return
	}
	s.warn("%s cannot be used (%v); it is set aside as %s, and %s", path, why, name+asideSuffix, without[name])
}

func (s *State) readKey() ([]byte, error) {
	key, err := readOwn(filepath.Join(s.dir, keyName), keyBytes)
	if err == nil && len(key) != keyBytes {
		err = fmt.Errorf("it has %d bytes, not %d", len(key), keyBytes)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

func (s *State) readOrMakeKey() (err error) {
	s.key, err = s.readKey()
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.setAside(keyName, err)
	}
	s.key = make([]byte, keyBytes)
	rand.Read(s.key)
	if err := replaceFile(filepath.Join(s.dir, keyName), s.key); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

// readOwn reads a regular file of at most most bytes that nobody but this user
// or root can have written. It waits for nobody.
func readOwn(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errors.New("it is no regular file")
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("it belongs to uid %d", st.Uid)
	case st.Mode&0o022 != 0:
		return nil, fmt.Errorf("others may write it (mode %04o)", st.Mode&0o7777)
	case st.Size > most:
		return nil, fmt.Errorf("it has %d bytes", st.Size)
	}
	return io.ReadAll(io.LimitReader(f, most))
}
