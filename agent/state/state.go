// Package state keeps what outlives the process, in one folder for each configuration: the
// records of the files that were written, the hooks that are pending, the key of the
// digests, and the lock that lets one agent run at a time.
package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

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
	firstKey []byte // the key for a new folder; nil: a random one

	records []agent.Record
	foreign []agent.Record // of another configuration, and not moved away: they are kept, but not recalled
	begun   *begun

	holding sync.Mutex
	lock    *os.File // nil: only read

	keeping sync.Mutex
	ledger  ledger

	saying   sync.Mutex
	warnings []string
}

// Open makes the folder if it is missing, locks it until Close, and reads what is in
// there. What cannot be read is set aside, with a warning: the agent starts all the same.
// Where the folder hangs, Open returns an error after 30 s.
func Open(dir string) (*State, error) {
	return within(dir, newState(dir).open, (*State).Close)
}

func (s *State) open() (*State, error) {
	dir := s.dir
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("state folder %s: the path is relative; name it from the root", dir)
	}
	if err := makeSafe(dir); err != nil {
		return nil, err
	}
	if err := validateFolder(dir); err != nil { // root has refused it already; nobody gains much by misleading another user's agent
		s.warn("%v", err)
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

// Read reads the folder for those who only look: it takes no lock and changes nothing. A
// folder that is missing, or that hangs, counts as empty.
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

// Close releases the lock, if there is one. Where the folder hangs it gives up after a
// second: the lock ends with the process.
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

// Warnings are what was found wrong, in Open and since the last call.
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

// DigestKey is the key of the digests of definitions; nil when Read found none. It is
// random and stays in the folder: without it, a digest says nothing about a secret.
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

// Keep writes what has changed since the last time, and makes a folder again that was
// deleted meanwhile. When it returns nil, these records, all that has begun, the key and
// the owner are on the disk.
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

// Check makes the folder again if it was deleted, with all that belongs into it but the
// records. It reports whether the records are there; else the caller keeps them again.
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

// Begin adds to what has begun; see [agent.Records]. It returns when that is on the disk,
// or cannot be written, or ctx is done. Unless the process ends, it counts in any case.
func (s *State) Begin(ctx context.Context, all ...agent.Record) error { return s.begun.begin(ctx, all) }
