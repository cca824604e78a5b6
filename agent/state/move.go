package state

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// Names are what a configuration names. By them it finds its records in a folder that
// version 0.1 shared between configurations.
type Names struct {
	Paths map[string]bool // of the files of all tokens

	// Evict moves what else lies in the folder from, and is of another configuration, to
	// the folder to. It may be nil.
	Evict func(from, to string) error

	step func() // called before each change of a file, so that tests can stop there; may be nil
}

func (n Names) before(change func() error) error {
	if n.step != nil {
		n.step()
	}
	return change()
}

func (n Names) record(r agent.Record) bool { return n.Paths[r.Name] }

// Claim makes the configuration the owner of the folder. Call it before Recall.
//
//  1. If the folder had another or no known owner, what n does not name goes to the
//     folder "unclaimed" in there, where nobody acts on it.
//  2. The owner is written.
//  3. What n names moves here from the base, where nobody has claimed it.
//
// Each thing is written in its new place before it is removed from the old one. So a kill
// loses nothing, and the next start goes on. After an error, what has not moved stays where
// it is, and Recall does not return it. The error is a [*Locked] where an agent of version
// 0.1 uses the base.
func (s *State) Claim(h Home, n Names) error {
	if !ownerOf(s.dir).is(h) {
		if err := s.split(n); err != nil {
			s.hide(n)
			return fmt.Errorf("state folder %s: %w", s.dir, err)
		}
		s.home = &h
		if err := n.before(s.checkOwner); err != nil { // Check tries again
			s.warn("%s cannot be written yet: %v", filepath.Join(s.dir, ownerName), err)
		}
	}
	s.home = &h
	var errs []error
	for _, from := range h.unclaimed() {
		errs = append(errs, s.take(from, h, n))
	}
	return errors.Join(errs...)
}

// Former are the folders with what version 0.1 kept for all configurations together. A
// configuration may take from there what it names. Look in this order: the default
// configuration moves things from the first folder to the last.
func (h Home) Former() []string {
	if h.Base == "" {
		return nil
	}
	var all []string
	if h.sharesBase() {
		all = append(all, h.Base)
	}
	return append(all, filepath.Join(h.Base, unclaimedName))
}

// unclaimed are Former, and the folder with what another configuration left here.
func (h Home) unclaimed() []string {
	all := h.Former()
	if h.Name != "" {
		all = append(all, filepath.Join(h.Dir(), unclaimedName))
	}
	return all
}

// sharesBase reports whether the base may have something of h, although h has its own
// folder: until the default configuration has claimed the base.
func (h Home) sharesBase() bool { return h.Name != "" && !ownerOf(h.Base).known() }

// LockFormer locks a folder of Former until release is called. The error is a [*Locked]
// where an agent uses it.
func (h Home) LockFormer(dir string) (release func(), err error) {
	if dir != h.Base { // no agent uses it
		return func() {}, nil
	}
	if release, err = lockFolder(dir); err != nil {
		return nil, err
	}
	if !h.sharesBase() {
		release()
		return nil, fmt.Errorf("state folder %s: the default configuration has claimed it meanwhile", dir)
	}
	return release, nil
}

// split moves what n does not name to the unclaimed folder.
func (s *State) split(n Names) error {
	pool := filepath.Join(s.dir, unclaimedName)
	records, strange := partition(s.records, n.record)
	if len(strange) > 0 {
		if err := n.put(pool, strange); err != nil {
			return err
		}
		if err := n.leave(s, records); err != nil {
			return err
		}
	}
	if n.Evict == nil {
		return nil
	}
	return n.Evict(s.dir, pool)
}

// hide keeps what n does not name in the folder, but Recall does not return it. The folder
// has no owner, so the next start tries again.
func (s *State) hide(n Names) {
	s.records, s.foreign = partition(s.records, n.record)
}

// put adds the records to those of another folder.
func (n Names) put(dir string, records []agent.Record) error {
	to, err := openSoon(dir, never)
	if err != nil {
		return err
	}
	defer to.Close()
	return n.add(to, records)
}

// leave leaves these records in the folder.
func (n Names) leave(s *State, records []agent.Record) error {
	return n.before(func() error { return s.replace(records) })
}

// take moves what n names from another folder to this one.
func (s *State) take(from string, h Home, n Names) error {
	if records, _ := partition(Read(from).records, n.record); len(records) == 0 {
		return nil // most have nothing there, and need no lock
	}
	claimed := func() bool { return from == h.Base && !h.sharesBase() }
	other, err := openSoon(from, claimed)
	if claimed() { // the default configuration has moved what n names to the next folder
		other.Close()
		return nil
	}
	if err != nil {
		return err
	}
	defer other.Close()
	records, rest := partition(other.records, n.record)
	if err := n.add(s, records); err != nil {
		return fmt.Errorf("state folder %s: %w", s.dir, err)
	}
	if err := n.leave(other, rest); err != nil {
		return fmt.Errorf("state folder %s: %w", from, err)
	}
	return nil
}

// add adds the records that are missing, on the disk.
func (n Names) add(s *State, records []agent.Record) error {
	all := addMissing(slices.Clone(s.records), records)
	return n.before(func() error { return s.replace(all) })
}

// replace keeps and recalls these records alone.
func (s *State) replace(records []agent.Record) error {
	if err := s.Keep(records); err != nil {
		return err
	}
	if err := s.begun.kept(records, true); err != nil {
		return err
	}
	s.records = records
	return nil
}

func partition[T any](all []T, of func(T) bool) (yes, no []T) {
	for _, one := range all {
		if of(one) {
			yes = append(yes, one)
		} else {
			no = append(no, one)
		}
	}
	return yes, no
}

// claimPatience is how long to wait for the lock of a folder from which another agent takes
// what it names: after the upgrade of a host, all start at once.
const claimPatience = 2 * time.Second

// openSoon opens the folder. It waits for its lock for claimPatience, or until enough is
// true.
func openSoon(dir string, enough func() bool) (*State, error) {
	for end := time.Now().Add(claimPatience); ; time.Sleep(20 * time.Millisecond) {
		s, err := Open(dir)
		if _, locked := errors.AsType[*Locked](err); !locked || time.Now().After(end) || enough() {
			return s, err
		}
	}
}

func never() bool { return false }

// KeyOf is the key of the digests that the configuration's agent would have at its next
// start; nil when there is none yet.
func KeyOf(h Home) []byte {
	key, _ := within(h.Dir(), func() ([]byte, error) { return keyOf(h), nil }, ignored) // a folder that hangs has no key
	return key
}

func keyOf(h Home) []byte {
	for _, dir := range []string{h.Dir(), h.Base} {
		if key, err := newState(dir).readKey(); err == nil {
			return key
		}
	}
	return nil
}

// A View is what the configuration's agent would have at its next start.
type View struct {
	Records []agent.Record // of the configuration
	Unknown []agent.Record // of an unknown configuration, in the same folder; nobody acts on them
}

// Look finds the View. It changes nothing and takes no lock; a folder that hangs counts as
// empty.
func Look(h Home, n Names) View {
	v, _ := within(h.Dir(), func() (View, error) { return look(h, n), nil }, ignored)
	return v
}

func look(h Home, n Names) (v View) {
	own := Read(h.Dir())
	v.Records = own.records
	if !ownerOf(h.Dir()).is(h) {
		v.Records, v.Unknown = partition(own.records, n.record)
	}
	for _, from := range h.unclaimed() {
		named, rest := partition(Read(from).records, n.record)
		v.Records = addMissing(v.Records, named)
		if from == filepath.Join(h.Dir(), unclaimedName) {
			v.Unknown = append(v.Unknown, rest...)
		}
	}
	return v
}

// addMissing adds the records of files that all does not have. Records of all that say
// nothing of hooks take over what these say of them.
func addMissing(all, records []agent.Record) []agent.Record {
	place := make(map[string]int, len(all))
	for i, r := range all {
		place[r.Name] = i
	}
	for _, r := range records {
		i, known := place[r.Name]
		switch {
		case !known:
			place[r.Name] = len(all)
			all = append(all, r)
		case all[i].Hooks == nil && all[i].Failures == nil:
			all[i].Hooks, all[i].Failures = r.Hooks, r.Failures
		}
	}
	return all
}
