package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

// oldHooks is the journal of version 0.1: a line of JSON for each hook that is due.
const oldHooks = "hooks.jsonl"

// oldHook is a line of it.
type oldHook struct {
	Event   hooks.Event  `json:"event"`
	Notice  hooks.Notice `json:"notice"`
	Settled bool         `json:"settled"` // the hook has run
}

func parseOldHook(line []byte) (h oldHook, err error) {
	if err := json.Unmarshal(line, &h); err != nil {
		return h, fmt.Errorf("not a line of hooks: %w", err)
	}
	if h.Event == "" || h.Notice.Token == "" {
		return h, errors.New("not a line of hooks: it names no event or no token")
	}
	return h, nil
}

// readOldHooks reads the hooks that are due by the journal of version 0.1.
func (s *State) readOldHooks() (due []oldHook, r reading) {
	r = readLines(filepath.Join(s.dir, oldHooks), func(line []byte) error {
		h, err := parseOldHook(line)
		if err != nil {
			return err
		}
		settled := h.Settled
		h.Settled = false
		same := func(o oldHook) bool {
			return o.Event == h.Event && o.Notice.Token == h.Notice.Token && o.Notice.Path == h.Notice.Path &&
				o.Notice.Expires.Equal(h.Notice.Expires)
		}
		due = slices.DeleteFunc(due, same)
		if !settled {
			due = append(due, h)
		}
		return nil
	})
	return due, r
}

// withOldHooks notes the hooks that are due in the records of their files. Records that say
// something of hooks are of this version, which has taken the old ones over already.
func withOldHooks(records []agent.Record, due []oldHook) []agent.Record {
	place := map[string]int{}
	for i, r := range records {
		if place[r.Name] = i; r.Hooks != nil || r.Failures != nil {
			place[r.Name] = -1
		}
	}
	for _, h := range due {
		i, known := place[h.Notice.Path]
		if !known {
			i = len(records)
			records, place[h.Notice.Path] = append(records, agent.Record{Token: h.Notice.Token, Name: h.Notice.Path}), i
		}
		if i >= 0 && h.Notice.Path != "" {
			h.note(&records[i])
		}
	}
	return slices.DeleteFunc(records, func(r agent.Record) bool { return r.Name == "" })
}

// note makes the hooks of the event due in the record, with whatever command.
func (h oldHook) note(r *agent.Record) {
	level := &r.Hooks
	if h.Event == hooks.OnFailure || h.Event == hooks.OnRecover {
		level = &r.Failures
	}
	l := hooks.Level{Write: 1, Expires: h.Notice.Expires}
	if *level != nil {
		l = **level
	}
	switch h.Event {
	case hooks.OnFirst:
		l.First = 1
	case hooks.OnFailure:
		l.Failure = 1
	case hooks.OnRecover:
		l.Recovery = 2
	}
	l.Heard = append(slices.Clip(l.Heard), hooks.Heard{Event: h.Event})
	*level = &l
}

// openOldHooks takes over the journal of version 0.1. It goes when the records are on the
// disk.
func (s *State) openOldHooks() {
	due, r := s.readOldHooks()
	if errors.Is(r.refused, os.ErrNotExist) {
		return
	}
	if s.setAsideLines(oldHooks, r) {
		return
	}
	s.ledger.old, s.ledger.whole = append(s.ledger.old, filepath.Join(s.dir, oldHooks)), true
	s.records = withOldHooks(s.records, due)
}
