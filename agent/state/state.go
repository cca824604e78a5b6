// Package state keeps what outlives the process in one folder for each configuration:
// the records of the files that were written, the hooks that are pending, the key of
// the definitions' digests, and the lock that admits one running agent.
package state

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	lockName    = "lock"
	keyName     = "digest.key"
	asideSuffix = ".set-aside"

	keyBytes    = 32
	mostRecords = 256 << 20        // bytes; 100,000 files take about 60 MB
	openLimit   = 30 * time.Second // 100,000 records take one second, and more on a busy machine
	closeLimit  = time.Second
)

// A State is an open state folder. Its methods may be called from any goroutine.
type State struct {
	// LeftoverSink makes the sink of a file that no definition has any more; see
	// [agent.Records]. It may be nil.
	LeftoverSink func(agent.Record) agent.Target

	dir      string
	home     *Home // whose folder it is, by Claim; nil: not known
	key      []byte
	firstKey []byte // the key of a folder that has none yet; nil: a random one

	records []agent.Record
	foreign []agent.Record // not the configuration's, and not moved away: they are kept, and not recalled
	begun   *begun

	holding sync.Mutex
	lock    *os.File // nil: only read

	keeping sync.Mutex
	ledger  ledger

	saying   sync.Mutex
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
	return fmt.Sprintf("state folder %s: %s runs with it; for a configuration of its own write another name or state_dir in the agent block", l.Dir, who)
}

// Open makes the folder if it is missing, locks it until Close, and reads what
// is in there. What cannot be read is set aside, with a warning: nothing in
// there is worth not starting for. Nor is a folder that hangs: after 30 s Open
// returns an error.
func Open(dir string) (*State, error) {
	return within(dir, newState(dir).open, (*State).Close)
}

// within returns what f does with the folder, or after openLimit an error. What f
// returns later goes to late.
func within[T any](dir string, f func() (T, error), late func(T) error) (none T, err error) {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	opening := host.Begin(func() (r result) {
		r.value, r.err = f()
		return r
	})
	r, returned := opening.Wait(ctx)
	if !returned {
		opening.Late(func(r result) {
			if r.err == nil {
				_ = late(r.value) // nobody waits for it
			}
		})
		return none, fmt.Errorf("state folder %s: %w", dir, errSilent)
	}
	return r.value, r.err
}

// ignored is what comes too late and needs no end.
func ignored[T any](T) error { return nil }

func (s *State) open() (*State, error) {
	dir := s.dir
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("state folder %s: the path is relative; name it from the root", dir)
	}
	if err := makeSafe(dir); err != nil {
		return nil, err
	}
	if odd := judge(dir); odd != nil { // without root's powers there is nothing to be gained by leading the process astray
		s.warn("%v", odd)
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	s.openRecords()
	s.openBegun()
	s.readOrMakeKey()
	return s, nil
}

func newState(dir string) *State {
	s := &State{dir: dir, ledger: newLedger(dir)}
	s.begun = newBegun(dir, s.ready)
	return s
}

// Read reads the folder as it is, without its lock and without changing
// anything: for those who only look. A folder that is not there, or that hangs,
// is an empty one.
func Read(dir string) *State {
	s, err := within(dir, func() (*State, error) { return readNow(dir), nil }, ignored)
	if err != nil {
		return newState(dir)
	}
	return s
}

func readNow(dir string) *State {
	s := newState(dir)
	s.records, _ = s.ledger.read()
	old, _ := s.readOld()
	s.records = merge(s.records, old)
	due, _ := s.readOldHooks()
	s.begun.read()
	s.records = withBegun(withOldHooks(s.records, due), s.begun.inOrder())
	s.key, _ = s.readKey()
	return s
}

// Close gives the lock back; a nil State has none. It does not wait for long where
// the folder hangs: then the end of the process does it.
func (s *State) Close() error {
	if s == nil || s.lock == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	err, returned := host.Await(ctx, s.close)
	if !returned {
		return fmt.Errorf("state folder %s: %w", s.dir, errSilent)
	}
	return err
}

func (s *State) close() error {
	s.begun.flushes.Wait()
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.holding.Lock()
	defer s.holding.Unlock()
	return errors.Join(s.begun.close(), s.ledger.close(), s.lock.Close())
}

// Warnings are what was found not to be as it should be, in Open and since the
// last call.
func (s *State) Warnings() (found []string) {
	s.saying.Lock()
	defer s.saying.Unlock()
	found, s.warnings = s.warnings, nil
	return found
}

func (s *State) warn(format string, args ...any) {
	s.saying.Lock()
	defer s.saying.Unlock()
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// DigestKey is the key of the digests of definitions. It is random and stays in
// the folder, so that a digest tells nobody else anything about a secret. Nil
// when Read found none.
func (s *State) DigestKey() []byte { return s.key }

// Recall returns the records that lay in the folder when it was opened.
func (s *State) Recall() []agent.Record { return s.records }

// Leftover is what LeftoverSink makes of the record.
func (s *State) Leftover(r agent.Record) agent.Target {
	if s.LeftoverSink == nil {
		return agent.Target{}
	}
	return s.LeftoverSink(r)
}

// Keep has these records, all that has begun, the key and the owner on the disk
// when it returns nil. It writes what has changed since the last time. A folder that was
// deleted meanwhile is made again.
func (s *State) Keep(records []agent.Record) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if err := s.ready(); err != nil {
		return err
	}
	return errors.Join(s.checkKey(), s.checkOwner(), s.keep(addMissing(records, s.foreign)))
}

func (s *State) keep(records []agent.Record) error {
	if err := s.ledger.keep(records); err != nil {
		return errors.Join(err, s.begun.check())
	}
	return s.begun.kept(records, false)
}

// Check makes the folder again if it was deleted, with all that belongs into it
// but the records. It reports whether those are there; else they are to be kept.
func (s *State) Check() bool {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if s.ledger.file != nil && !s.ledger.whole && !s.ledger.inPlace() {
		s.ledger.whole = true
		if s.inPlace() { // else ready warns of the whole folder
			s.warn("%s was deleted or replaced while this agent runs; it is written again", s.ledger.path)
		}
	}
	return s.ready() == nil && s.checkKey() == nil && s.checkOwner() == nil && s.begun.check() == nil && !s.ledger.whole
}

// Begin adds to what has begun; see [agent.Records]. It returns when that is on the
// disk, or cannot be written, or ctx is done; it counts in any case.
func (s *State) Begin(ctx context.Context, all ...agent.Record) error { return s.begun.begin(ctx, all) }

// inPlace reports whether the folder is still the one that this agent has.
func (s *State) inPlace() bool {
	s.holding.Lock()
	defer s.holding.Unlock()
	return s.holds()
}

// holds is inPlace for a caller that has locked holding.
func (s *State) holds() bool { return sameFile(s.lock, filepath.Join(s.dir, lockName)) }

// ready makes sure that this agent still has the folder, and makes it again if it
// was deleted. Where another agent has it by now, nothing is written.
func (s *State) ready() error {
	s.holding.Lock()
	defer s.holding.Unlock()
	if s.holds() {
		return nil
	}
	gone := s.dir
	if _, err := os.Lstat(s.dir); err == nil {
		gone = filepath.Join(s.dir, lockName)
	}
	if err := makeSafe(s.dir); err != nil {
		return err
	}
	lock, err := takeLock(s.dir)
	if err != nil {
		return err
	}
	s.lock.Close()
	s.lock = lock
	s.warn("%s was deleted or replaced while this agent runs; it is made again", gone)
	return errors.Join(s.checkKey(), s.checkOwner())
}

// takeLock takes the lock of the folder, which goes with the file.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	end := time.Now().Add(lockPatience)
	f, err := host.LockFile(path, func() error {
		if pid := host.Holder(path); !ended(pid) || time.Now().After(end) {
			return &Locked{dir, pid}
		}
		time.Sleep(10 * time.Millisecond)
		return nil
	})
	if locked, ok := errors.AsType[*Locked](err); ok {
		return nil, locked
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w; let the agent write there, or set another state_dir in the agent block", err)
	}
	host.SignLock(f)
	return f, nil
}

// lockPatience is how long the lock of an agent that was killed is waited for. A
// program that it was about to start has the lock until it begins, which on a busy
// machine takes a while.
const lockPatience = 10 * time.Second

// ended reports whether there is no process of that number.
func ended(pid int) bool { return pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// makeSafe makes the folder. As root it is an error where somebody else could put
// files or folders in the place of ours; then nothing is made.
func makeSafe(dir string) error {
	if err := judgeAsRoot(dir); err != nil {
		return err
	}
	if err := makeFolder(dir); err != nil {
		return fmt.Errorf("state folder %s: %w", dir, err)
	}
	return judgeAsRoot(dir)
}

func judgeAsRoot(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return judge(dir)
}

// judge is an error where somebody else could put files in the place of ours: root
// would follow what they say, and write where they lead. Every component of the path
// that is there is looked at, with each link and its folder.
func judge(dir string) error {
	found, err := host.Trust{Users: []int{os.Geteuid()}}.Weaknesses(dir)
	switch {
	case len(found) > 0:
		return fmt.Errorf("state folder %s: %w; or name another state_dir", dir, found[0])
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("state folder %s: %w", dir, err)
	}
	return nil
}

// openRecords reads the journal of records, and what version 0.1 has left.
func (s *State) openRecords() {
	var r reading
	s.records, r = s.ledger.read()
	s.openJournal(&s.ledger.journal, recordsName, r)
	old, err := s.readOld()
	switch {
	case err == nil:
		s.ledger.old, s.ledger.whole = []string{filepath.Join(s.dir, oldRecords)}, true
		s.records = merge(s.records, old)
	case !errors.Is(err, fs.ErrNotExist):
		s.setAside(oldRecords, err)
	}
	s.openOldHooks()
	if s.ledger.whole {
		if err := s.ledger.rewrite(s.records); err != nil {
			s.warn("%s cannot be written yet: %v", s.ledger.path, err)
		}
	}
}

// openBegun reads what has begun. It is beside the records until these say as much.
func (s *State) openBegun() {
	s.openJournal(&s.begun.journal, begunName, s.begun.read())
	s.records = withBegun(s.records, s.begun.inOrder())
	s.begun.filled = s.begun.size > 0
	if !s.begun.whole {
		return
	}
	s.begun.failed = true
	if err := s.begun.check(); err != nil {
		s.warn("%s cannot be written yet: %v", s.begun.path, err)
	}
}

// openJournal makes the journal ready to be appended to, after it was read. What
// cannot be used of it is set aside.
func (s *State) openJournal(j *journal, name string, r reading) {
	if errors.Is(r.refused, fs.ErrNotExist) || s.setAsideSome(name, r) {
		return
	}
	if err := j.openFor(r); err != nil {
		s.warn("%s cannot be written: %v", j.path, err)
	}
}

// setAsideSome sets aside what cannot be used of a journal that was read. It
// reports whether that is all of it.
func (s *State) setAsideSome(name string, r reading) (all bool) {
	if r.refused != nil {
		s.setAside(name, r.refused)
		return true
	}
	if r.bad == nil {
		return false
	}
	path := filepath.Join(s.dir, name)
	if err := replaceFile(path+asideSuffix, r.bad); err != nil {
		s.warn("%s: some lines cannot be used (%v), and not be set aside: %v", path, r.why, err)
	} else {
		s.warn("%s: some lines cannot be used (%v); they are set aside as %s, and %s", path, r.why, name+asideSuffix, without[name])
	}
	return false
}

func (s *State) readOld() ([]agent.Record, error) {
	content, err := readOwn(filepath.Join(s.dir, oldRecords), mostRecords)
	if err != nil {
		return nil, err
	}
	return parseOld(content)
}

// without says what it means to go on without a file, or a part of it.
var without = map[string]string{
	recordsName: "the sources of their tokens are asked again",
	oldRecords:  "the sources are asked again",
	keyName:     "the sources are asked again",
	begunName:   "hooks that were pending may not run",
	oldHooks:    "hooks that were pending may not run",
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

// readOrMakeKey reads the key, or makes one. On a full disk the folder is used all the
// same: Check writes the key when there is room.
func (s *State) readOrMakeKey() {
	var err error
	if s.key, err = s.readKey(); err == nil {
		return
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.setAside(keyName, err)
	}
	s.key = s.firstKey
	if s.key == nil {
		s.key = make([]byte, keyBytes)
		rand.Read(s.key)
	}
	if err := s.checkKey(); err != nil {
		s.warn("%s cannot be written yet: %v", filepath.Join(s.dir, keyName), err)
	}
}

// checkKey writes the key again where it is no longer in the folder.
func (s *State) checkKey() error {
	if key, err := s.readKey(); err == nil && bytes.Equal(key, s.key) {
		return nil
	}
	return replaceFile(filepath.Join(s.dir, keyName), s.key)
}

// readOwn reads a regular file of at most most bytes that nobody but this user
// or root can have written. It waits for nobody.
func readOwn(path string, most int64) ([]byte, error) {
	f, err := openOwn(path, most)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// openOwn opens such a file.
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
