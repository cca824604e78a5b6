package state

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// Names are what a configuration names: by this its records are found
// in a folder that an older version shared between configurations.
type Names struct {
	Paths map[string]bool // of the files of all tokens

	// Evict moves what else lies in the folder from, and is not the
	// configuration's, to the folder to. It may be nil.
	Evict func(from, to string) error

	step func() // is called before each change of a file, so that tests can end there
}

func (n Names) before(change func() error) error {
	if n.step != nil {
		n.step()
	}
	return change()
}

func (n Names) record(r agent.Record) bool { return n.Paths[r.Name] }

// Claim makes the folder the configuration's: call it before Recall.
//
//  1. In a folder of another or an unknown configuration, what n does not name
//     goes to the folder "unclaimed" in there, where nobody acts on it.
//  2. The folder gets the mark of the configuration.
//  3. Of what nobody has claimed in the base, what n names is moved here.
//
// Everything is written in its new place before it goes from the old one, so an
// agent that is killed on the way loses nothing, and the next start goes on. An
// error leaves what is not yet moved where it is, and hides it from Recall:
// a [*Locked] where an agent of an older version works with the base.
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

// Former are the folders with what an older version kept for all configurations:
// of what lies there, a configuration may take what it names. Look there in this
// order: the default configuration moves things from the first to the last.
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

// unclaimed are Former, and what is left of another configuration that had the
// folder of h before.
func (h Home) unclaimed() []string {
	all := h.Former()
	if h.Name != "" {
		all = append(all, filepath.Join(h.Dir(), unclaimedName))
	}
	return all
}

// sharesBase reports whether the base may hold what belongs to h although h has a
// folder of its own. That ends when the default configuration has claimed the base.
func (h Home) sharesBase() bool { return h.Name != "" && !ownerOf(h.Base).known() }

// LockFormer keeps others from the folder, which is one of Former, until release is
// called. The error is a [*Locked] where an agent works with it.
func (h Home) LockFormer(dir string) (release func(), err error) {
	if dir != h.Base { // nobody works with what nobody has claimed
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

// hide keeps what n does not name in the folder, where nobody acts on it: the
// folder has no owner, so the next start finds it.
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
		return nil // without the lock: most have nothing there
	}
	claimed := func() bool { return from == h.Base && !h.sharesBase() }
	other, err := openSoon(from, claimed)
	if claimed() { // by the default configuration, which has moved what is named to the next folder
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

// add adds those that are not there yet, and has them on the disk.
func (n Names) add(s *State, records []agent.Record) error {
	all := addMissing(slices.Clone(s.records), records)
	return n.before(func() error { return s.replace(all) })
}

// replace keeps these records and nothing else, also for Recall.
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

// claimPatience is how long the lock of a folder is waited for that another agent
// claims from: after the upgrade of a host, all start at once.
const claimPatience = 2 * time.Second

// openSoon opens the folder, and waits for its lock until then or until enough is
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

// KeyOf is the key of the definitions' digests that the configuration's agent would
// have at its next start; nil when there is none yet.
func KeyOf(h Home) []byte {
	key, _ := within(h.Dir(), func() ([]byte, error) { return keyOf(h), nil }, ignored) // one that hangs has none
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

// A View is what those see who only look: what the configuration's agent would
// have at its next start.
type View struct {
	Records []agent.Record // of the configuration
	Unknown []agent.Record // in its folder, of an unknown configuration; nobody acts on them
}

// Look is what the configuration's agent would find. It changes nothing and waits
// for nobody; a folder that hangs is an empty one.
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

// addMissing adds the records of files that all does not have, and what they tell
// of hooks to those that tell nothing of them.
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
