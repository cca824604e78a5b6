package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

const hooksName = "hooks.jsonl"

// hookJournal is the journal of the hooks that are pending: a line of JSON when one
// becomes due, on the disk before the write that makes it due, and a line when it
// has been run, which needs no sync: after a power cut it may run again.
//
// All who wait at the same time share one write and one sync.
type hookJournal struct {
	journal // of the goroutine of flush
	ready   func() error

	mu      sync.Mutex // never held while the disk is waited for
	pending map[hookID]pendingHook
	added   int    // how many were, ever
	next    *group // what the goroutine of flush writes next; nil: nothing
	last    int    // the number of the last group that was made
	synced  int    // the number of the last group that is on the disk
	running bool   // there is a goroutine of flush
	silent  bool   // somebody has waited for it in vain
	failed  bool   // the last group was not written
	flushes sync.WaitGroup
}

type hookID struct {
	event       hooks.Event
	token, path string
	expires     int64
}

func idOf(o agent.Owed) hookID {
	return hookID{o.Event, o.Notice.Token, o.Notice.Path, o.Notice.Expires.UnixNano()}
}

type pendingHook struct {
	agent.Owed
	nth   int // by when it was added
	group int // it is on the disk when that group is
}

// A group is what one write brings to the disk.
type group struct {
	number int
	lines  []byte
	sync   bool
	done   chan struct{} // closed when it was written, or could not be
	err    error         // why not
}

// hookLine is a line of the journal of hooks.
type hookLine struct {
	agent.Owed
	Settled bool `json:"settled,omitempty"` // version 0.1 does not know it, and runs the hook again
}

func (l hookLine) encode() []byte {
	text, _ := json.Marshal(l) // strings, a bool and a time of these centuries
	return append(text, '\n')
}

// owe adds to what is pending, and returns when that is on the disk.
func (h *hookJournal) owe(ctx context.Context, owed []agent.Owed) error {
	h.mu.Lock()
	var g *group
	for _, o := range owed {
		id := idOf(o)
		p, known := h.pending[id]
		if known && p.group <= h.synced {
			continue
		}
		g = h.add(hookLine{Owed: o}, true)
		if !known {
			h.added++
			p = pendingHook{Owed: o, nth: h.added}
		}
		p.group = g.number
		h.pending[id] = p
	}
	h.mu.Unlock()
	return h.wait(ctx, g)
}

// settle takes from what is pending, and returns when that is in the file.
func (h *hookJournal) settle(ctx context.Context, done []agent.Owed) error {
	h.mu.Lock()
	var g *group
	for _, o := range done {
		if _, known := h.pending[idOf(o)]; known {
			delete(h.pending, idOf(o))
			g = h.add(hookLine{o, true}, false)
		}
	}
	h.mu.Unlock()
	return h.wait(ctx, g)
}

// check writes the file again where it is gone, or does not have all that is pending.
func (h *hookJournal) check() error {
	h.mu.Lock()
	var g *group
	if h.failed || len(h.pending) > 0 {
		g = h.group()
	}
	h.mu.Unlock()
	return h.wait(context.Background(), g)
}

// add puts a line into the next group. The caller has locked mu.
func (h *hookJournal) add(l hookLine, sync bool) *group {
	g := h.group()
	g.lines, g.sync = append(g.lines, l.encode()...), g.sync || sync
	return g
}

// group is the next group, which is written soon. The caller has locked mu.
func (h *hookJournal) group() *group {
	if h.next == nil {
		h.last++
		h.next = &group{number: h.last, done: make(chan struct{})}
	}
	if !h.running {
		h.running = true
		h.flushes.Go(h.flush)
	}
	return h.next
}

// wait waits for the group; nil is none. Where somebody has waited for the disk
// in vain nobody else does until it answers.
func (h *hookJournal) wait(ctx context.Context, g *group) error {
	if g == nil {
		return nil
	}
	h.mu.Lock()
	silent := h.silent
	h.mu.Unlock()
	if !silent {
		select {
		case <-g.done:
			return g.err
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent = h.running
	return fmt.Errorf("%s: %w", h.path, errSilent)
}

var errSilent = errors.New("the file system does not answer")

// flush writes one group after the other until there is none.
func (h *hookJournal) flush() {
	for {
		h.mu.Lock()
		g := h.next
		if h.next = nil; g == nil {
			h.running, h.silent = false, false
			h.mu.Unlock()
			return
		}
		pending, failed := len(h.pending), h.failed
		h.mu.Unlock()

		g.err = h.write(g, pending, failed)

		h.mu.Lock()
		h.silent, h.failed = false, g.err != nil
		if g.err == nil && g.sync {
			h.synced = g.number
		}
		h.mu.Unlock()
		close(g.done)
	}
}

// write brings the group to the file, in which so many hooks are pending now. It
// appends where it can.
func (h *hookJournal) write(g *group, pending int, failed bool) error {
	if err := h.ready(); err != nil {
		return err
	}
	switch {
	case failed || h.whole || !h.inPlace(): // lines of an earlier group are missing
	case pending == 0 && h.empty() == nil:
		return nil
	case h.size <= max(mostSettled, tooLong*int64(pending)*longHook):
		if err := h.append(g.lines, g.sync); !h.whole {
			return err
		}
	}
	return h.replace(func(w io.Writer) error {
		for _, o := range h.inOrder() {
			if _, err := w.Write(hookLine{Owed: o}.encode()); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	mostSettled = 64 << 10 // bytes, until lines that no longer hold are taken out
	longHook    = 512      // bytes of a line
)

// inOrder is what is pending, oldest first.
func (h *hookJournal) inOrder() []agent.Owed {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]pendingHook, 0, len(h.pending))
	for _, p := range h.pending {
		all = append(all, p)
	}
	slices.SortFunc(all, func(p, q pendingHook) int { return cmp.Compare(p.nth, q.nth) })
	owed := make([]agent.Owed, len(all))
	for i, p := range all {
		owed[i] = p.Owed
	}
	return owed
}

// read reads the journal.
func (h *hookJournal) read() reading {
	return readLines(h.path, func(line []byte) error {
		l, err := parseHook(line)
		if err != nil {
			return err
		}
		id := idOf(l.Owed)
		if l.Settled {
			delete(h.pending, id)
		} else if _, known := h.pending[id]; !known {
			h.added++
			h.pending[id] = pendingHook{Owed: l.Owed, nth: h.added}
		}
		return nil
	})
}

func parseHook(line []byte) (l hookLine, err error) {
	if err := json.Unmarshal(line, &l); err != nil {
		return l, fmt.Errorf("not a line of hooks: %w", err)
	}
	if l.Event == "" || l.Notice.Token == "" {
		return l, errors.New("not a line of hooks: it names no event or no token")
	}
	return l, nil
}

func newHooks(dir string, ready func() error) *hookJournal {
	return &hookJournal{journal: journal{path: filepath.Join(dir, hooksName)}, ready: ready, pending: map[hookID]pendingHook{}}
}
