package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tokenagent/tokenagent/agent"
)

const (
	recordsName = "records.jsonl"
	oldRecords  = "records.json" // of version 0.1: one document
	version     = 1              // of both
)

// The journal of records begins with a headLine. Then each line is an
// [agent.Record] or a goneLine, and the last one for a path holds.
type (
	headLine struct {
		Version int `json:"version"`
	}
	goneLine struct {
		Path string `json:"path"`
		Gone bool   `json:"gone"`
	}
	anyLine struct {
		headLine
		agent.Record
		Gone bool `json:"gone"`
	}
)

// A ledger is the journal of records.
type ledger struct {
	journal
	seed  maphash.Seed
	known map[string]uint64 // by name: the hash of its line in the journal
	lines int               // in the journal
	old   []string          // the files of version 0.1, which go when the journal is on the disk
}

func newLedger(dir string) ledger {
	return ledger{
		journal: journal{path: filepath.Join(dir, recordsName)},
		seed:    maphash.MakeSeed(),
		known:   map[string]uint64{},
	}
}

// The journal is written again without its outdated lines when it has more than twice as many
// lines as there are records, and some to spare.
const (
	tooLong    = 2
	spareLines = 100
	mostAtOnce = 1 << 20 // bytes to append; for more, writing the journal again takes less memory
)

// keep makes the journal say what these records say. It appends what has changed.
func (l *ledger) keep(all []agent.Record) error {
	if l.whole || !l.inPlace() {
		return l.rewrite(all)
	}
	c, err := l.changes(all)
	if err != nil || len(c.sums) == 0 {
		return err
	}
	if c.tooMany || l.lines+len(c.sums) > tooLong*len(all)+spareLines {
		if err := l.rewrite(all); err == nil || c.tooMany {
			return err // else the disk has no room for a copy, but perhaps for a few lines
		}
	}
	if err := l.append(c.lines); err != nil {
		return err
	}
	l.lines += len(c.sums)
	for path, sum := range c.sums {
		if sum == gone {
			delete(l.known, path)
		} else {
			l.known[path] = sum
		}
	}
	return nil
}

// gone is the hash of no line.
const gone = 0

// A change is what has to be appended.
type change struct {
	sums    map[string]uint64 // by name: the hash of the new line, or gone
	lines   []byte
	tooMany bool // for lines, which do not have all
}

func (c *change) add(path string, sum uint64, line []byte) {
	c.sums[path] = sum
	if c.tooMany = len(c.lines) > mostAtOnce; !c.tooMany {
		c.lines = append(append(c.lines, line...), '\n')
	}
}

func (l *ledger) changes(all []agent.Record) (c change, err error) {
	c.sums = map[string]uint64{}
	fresh := 0
	for _, r := range all {
		line, err := json.Marshal(r)
		if err != nil {
			return c, fmt.Errorf("record of %s: %w", r.Name, err)
		}
		sum, known := l.known[r.Name]
		if now := l.sum(line); now != sum {
			c.add(r.Name, now, line)
		}
		if !known {
			fresh++
		}
	}
	if len(l.known)+fresh == len(all) { // none is gone
		return c, nil
	}
	there := make(map[string]bool, len(all))
	for _, r := range all {
		there[r.Name] = true
	}
	for path := range l.known {
		if !there[path] {
			line, _ := json.Marshal(goneLine{path, true}) // a string and a bool
			c.add(path, gone, line)
		}
	}
	return c, nil
}

// sum is the hash of a line, never gone.
func (l *ledger) sum(line []byte) uint64 { return max(gone+1, maphash.Bytes(l.seed, line)) }

// rewrite writes the whole journal, one record after the other. Then it removes the files of
// version 0.1: after a power cut one of the two is there.
func (l *ledger) rewrite(all []agent.Record) error {
	known := make(map[string]uint64, len(all))
	err := l.replace(func(w io.Writer) error {
		lines := json.NewEncoder(w)
		if err := lines.Encode(headLine{version}); err != nil {
			return err
		}
		for _, r := range all {
			line, err := json.Marshal(r)
			if err != nil {
				return fmt.Errorf("record of %s: %w", r.Name, err)
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
			known[r.Name] = l.sum(line)
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.known, l.lines = known, len(all)
	for _, old := range l.old {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	l.old = nil
	return nil
}

// read reads the journal.
func (l *ledger) read() (all []agent.Record, r reading) {
	place := map[string]int{} // in all, by name
	r = readLines(l.path, func(line []byte) error {
		a, err := parseLine(line)
		if err != nil || a.Version > 0 {
			return err
		}
		i, known := place[a.Name]
		if !known {
			i = len(all)
			all, place[a.Name] = append(all, agent.Record{}), i
		}
		all[i] = a.Record // empty when it is gone
		if l.known[a.Name] = l.sum(line); a.Gone {
			delete(l.known, a.Name)
		}
		return nil
	})
	if l.lines = r.lines; r.refused == nil && r.lines == 0 && r.bad == nil {
		r.refused = errors.New("it is empty")
	}
	return slices.DeleteFunc(all, ofNothing), r
}

// ofNothing reports whether the record says nothing of a file or of hooks.
func ofNothing(r agent.Record) bool { return r.Mark == nil && r.Hooks == nil && r.Failures == nil }

// withBegun adds to the records what has begun since they were kept.
func withBegun(records, begun []agent.Record) []agent.Record {
	place := map[string]int{}
	for i, r := range records {
		place[r.Name] = i
	}
	for _, b := range begun {
		if i, known := place[b.Name]; known {
			records[i] = withHooks(records[i], records[i], b)
		} else {
			records = append(records, b)
		}
	}
	return records
}

func parseLine(line []byte) (a anyLine, err error) {
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("not a line of records: %w", err)
	}
	switch {
	case a.Version > version:
		return a, fmt.Errorf("%w %d, and this agent knows version %d", errVersion, a.Version, version)
	case a.Version == 0 && a.Name == "":
		return a, errors.New("not a line of records: it names no file")
	case a.Version == 0 && !a.Gone && ofNothing(a.Record):
		return a, errors.New("not a line of records: it has no mark and no hooks")
	}
	return a, nil
}

// oldDocument is the file of records of version 0.1.
type oldDocument struct {
	Version int            `json:"version"`
	Records []agent.Record `json:"records"`
}

func parseOld(content []byte) ([]agent.Record, error) {
	var d oldDocument
	if err := json.Unmarshal(content, &d); err != nil {
		return nil, fmt.Errorf("not a file of records: %w", err)
	}
	if d.Version != version {
		return nil, fmt.Errorf("%w %d, and this agent knows version %d", errVersion, d.Version, version)
	}
	return d.Records, nil
}

// merge adds the older records to the newer ones. Both are there when a power cut ended an
// upgrade, or when version 0.1 has run since. Of a file that both have, the record of the
// token that was issued last counts. Should that be wrong, its mark does not fit the file,
// and the token is asked for.
func merge(newer, older []agent.Record) []agent.Record {
	place := map[string]int{}
	for i, r := range newer {
		place[r.Name] = i
	}
	for _, r := range older {
		i, known := place[r.Name]
		switch {
		case !known:
			newer = append(newer, r)
		case r.Issued.After(newer[i].Issued):
			newer[i] = withHooks(r, r, newer[i])
		}
	}
	return newer
}

// openRecords reads the journal of records, and the files of version 0.1.
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

func (s *State) readOld() ([]agent.Record, error) {
	content, err := readOwn(filepath.Join(s.dir, oldRecords), mostRecords)
	if err != nil {
		return nil, err
	}
	return parseOld(content)
}
