package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

const begunName = "begun.jsonl"

// begun is the journal of what has begun. Before a file with hooks is written, the journal
// gets what the record of the file will say of its hooks. When the records say so too, the
// line has done its work; when all have, the journal is emptied.
//
// Those who wait at the same time share one write and one sync.
type begun struct {
	journal // of the goroutine of flush
	ready   func() error

	mu      sync.Mutex // never held while the disk is waited for
	pending map[string]pending
	keeps   int    // how often records were kept
	next    *group // what the goroutine of flush writes next; nil: nothing
	last    int    // the number of the last group that was made
	synced  int    // the number of the last group that is on the disk
	running bool   // there is a goroutine of flush
	silent  bool   // the disk did not answer in time
	failed  bool   // the last group was not written
	filled  bool   // there are lines in the file
	flushes sync.WaitGroup
}

// pending is what the records do not say yet of one file.
type pending struct {
	agent.Record     // with the token, the name, and what hooks have heard
	group        int // it is on the disk when that group is
	keeps        int // how often records had been kept before
}

// A group is what is written and synced together.
type group struct {
	number int
	lines  []byte
	done   chan struct{} // closed when it was written, or could not be
	err    error         // why not
}

// begin is [State.Begin].
func (b *begun) begin(ctx context.Context, all []agent.Record) error {
	b.mu.Lock()
	var g *group
	for _, r := range all {
		p, known := b.pending[r.Name]
		if known && p.Token == r.Token && p.group <= b.synced && says(p.Record, r) {
			continue
		}
		p.Record = withHooks(agent.Record{Token: r.Token, Name: r.Name}, p.Record, r)
		g = b.group()
		g.lines = append(g.lines, encode(p.Record)...)
		p.group, p.keeps = g.number, b.keeps
		b.pending[r.Name] = p
	}
	b.mu.Unlock()
	return b.wait(ctx, g)
}

// says reports whether one record says of hooks all that the other one does.
func says(one, other agent.Record) bool {
	return one.Hooks.Covers(other.Hooks) && one.Failures.Covers(other.Failures)
}

// withHooks is r with what an older and a newer record tell of hooks. The numbers of two
// tokens cannot be compared: there the newer record holds.
func withHooks(r, older, newer agent.Record) agent.Record {
	if older.Token != newer.Token {
		r.Hooks, r.Failures = cmp.Or(newer.Hooks, older.Hooks), cmp.Or(newer.Failures, older.Failures)
		return r
	}
	r.Hooks, r.Failures = hooks.Merge(older.Hooks, newer.Hooks), hooks.Merge(older.Failures, newer.Failures)
	return r
}

func encode(r agent.Record) []byte {
	text, _ := json.Marshal(r) // it holds nothing that JSON cannot say
	return append(text, '\n')
}

// kept takes out what the records on the disk say by now. What they do not mention is of
// definitions that are gone. But they may be older than what has begun since: so that goes
// only when the records after them do not mention it either, or when they are the last.
func (b *begun) kept(records []agent.Record, last bool) error {
	b.mu.Lock()
	b.keeps++
	unknown := maps.Clone(b.pending)
	for _, r := range records {
		p, is := b.pending[r.Name]
		if !is || p.Token != r.Token {
			continue
		}
		if (r.Hooks != nil || p.Hooks == nil) && (r.Failures != nil || p.Failures == nil) {
			delete(unknown, r.Name)
		}
		if says(r, p.Record) {
			delete(b.pending, r.Name)
		}
	}
	for path, p := range unknown {
		if last || p.keeps < b.keeps-1 {
			delete(b.pending, path)
		}
	}
	b.mu.Unlock()
	return b.check()
}

// check writes the file again if it is gone or lacks something.
func (b *begun) check() error {
	b.mu.Lock()
	var g *group
	if b.failed || len(b.pending) > 0 || b.filled {
		g = b.group()
	}
	b.mu.Unlock()
	return b.wait(context.Background(), g)
}

// group is the group that is written next. The caller has locked mu.
func (b *begun) group() *group {
	if b.next == nil {
		b.last++
		b.next = &group{number: b.last, done: make(chan struct{})}
	}
	if !b.running {
		b.running = true
		b.flushes.Go(b.flush)
	}
	return b.next
}

// wait waits for the group, if it is not nil. While the disk is silent, it does not wait.
func (b *begun) wait(ctx context.Context, g *group) error {
	if g == nil {
		return nil
	}
	b.mu.Lock()
	silent := b.silent
	b.mu.Unlock()
	if !silent {
		select {
		case <-g.done:
			return g.err
		case <-ctx.Done():
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.silent = b.running
	return fmt.Errorf("%s: %w", b.path, errSilent)
}

// flush writes the groups, one after the other.
func (b *begun) flush() {
	for {
		b.mu.Lock()
		g := b.next
		if b.next = nil; g == nil {
			b.running, b.silent = false, false
			b.mu.Unlock()
			return
		}
		pending, failed := len(b.pending), b.failed
		b.mu.Unlock()

		g.err = b.write(g, pending, failed)

		b.mu.Lock()
		b.silent, b.failed, b.filled = false, g.err != nil, b.size > 0
		if g.err == nil {
			b.synced = g.number
		}
		b.mu.Unlock()
		close(g.done)
	}
}

// write appends the group, or writes the whole file again. So many files are pending now.
func (b *begun) write(g *group, pending int, failed bool) error {
	if err := b.ready(); err != nil {
		return err
	}
	switch {
	case failed || b.whole || !b.inPlace(): // the file lacks lines of an earlier group
	case pending == 0 && b.empty() == nil:
		return nil
	case b.size <= max(mostBegun, tooLong*int64(pending)*longBegun):
		if err := b.append(g.lines); !b.whole {
			return err
		}
	}
	return b.replace(func(w io.Writer) error {
		for _, r := range b.inOrder() {
			if _, err := w.Write(encode(r)); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	mostBegun = 64 << 10 // bytes; a longer journal is written again without the lines that have done their work
	longBegun = 512      // bytes of a line
)

// inOrder is what is pending, by name.
func (b *begun) inOrder() []agent.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	records := make([]agent.Record, 0, len(b.pending))
	for _, path := range slices.Sorted(maps.Keys(b.pending)) {
		records = append(records, b.pending[path].Record)
	}
	return records
}

// read reads the journal.
func (b *begun) read() reading {
	return readLines(b.path, func(line []byte) error {
		var r agent.Record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("not a line of writes: %w", err)
		}
		if r.Name == "" || r.Hooks == nil && r.Failures == nil {
			return errors.New("not a line of writes: it names no file or no hook")
		}
		p := b.pending[r.Name]
		p.Record = withHooks(r, p.Record, r)
		b.pending[r.Name] = p
		return nil
	})
}

func newBegun(dir string, ready func() error) *begun {
	return &begun{journal: journal{path: filepath.Join(dir, begunName)}, ready: ready, pending: map[string]pending{}}
}

// openBegun reads what has begun, and adds it to the records.
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
