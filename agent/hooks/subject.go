package hooks

import "slices"

// A Subject is what hooks hear of: a file that is written, or a token that fails.
// Its Notice is what they are told when they are run.
type Subject struct {
	Notice Notice
	Idle   bool // its hooks are not run, and stay due

	events []Event
	hooks  []Hook
	level  *Level
	begun  int    // the latest number that a hook was begun for, whatever came of it
	waits  []*Run // those that are yet to be started for it
	told   []*Run // those that run for it
}

// File is the Subject of a file. The Level is what is known from before; nil is nothing.
func File(n Notice, hooks []Hook, l *Level) *Subject {
	if l != nil && l.Expires.After(n.Expires) {
		n.Expires = l.Expires
	}
	return subject(n, hooks, l, OnFirst, OnChange)
}

// Token is the Subject of a token that may fail.
func Token(n Notice, hooks []Hook, l *Level) *Subject {
	s := subject(n, hooks, l, OnFailure, OnRecover)
	s.begun = s.level.turns() // nobody knows what an earlier process began to tell
	return s
}

func subject(n Notice, hooks []Hook, l *Level, events ...Event) *Subject {
	if l == nil {
		l = &Level{}
	}
	s := &Subject{Notice: n, events: events, level: l}
	s.SetHooks(hooks)
	return s
}

// SetHooks takes the hooks of the definition in the place of those that it had before.
func (s *Subject) SetHooks(hooks []Hook) {
	s.hooks, s.level = hooks, s.level.suited(hooks, s.events)
}

// Level is what is to be remembered; nil when no hook is for the Subject.
func (s *Subject) Level() *Level {
	if s == nil || len(s.level.Heard) == 0 {
		return nil
	}
	return s.level
}

// Wrote takes in that the file was written. Written is what Level.Written has made
// of the Level before. Changed says whether it is another file now.
func (s *Subject) Wrote(written *Level, changed bool) { s.level = s.level.wrote(written, changed) }

// Fails reports whether the token failed when that was last set.
func (s *Subject) Fails() bool { return s.level.Fails() }

// SetFails sets whether the token fails now. A hook that has not been begun for what
// was before does not hear of it, nor of its end: what was last told is true again.
func (s *Subject) SetFails(fails bool) {
	if fails == s.Fails() {
		return
	}
	untold := s.begun < s.level.turns() && len(s.level.Due()) > 0
	s.level = s.level.turned(untold)
}

// begin is the number that the hook is begun for.
func (s *Subject) begin(e Event) int {
	s.begun = max(s.begun, s.level.latest(e))
	return s.level.latest(e)
}

// Runs are those that are due or run for the Subject; nil has none.
func (s *Subject) Runs() []*Run {
	if s == nil {
		return nil
	}
	return slices.Concat(s.waits, s.told)
}

// due is the hook for the event and key, if it is due.
func (s *Subject) due(event Event, key string) (h Hook, due bool) {
	if s.Idle {
		return Hook{}, false
	}
	at := slices.IndexFunc(s.hooks, func(h Hook) bool { return h.Event == event && h.Key == key })
	if at < 0 {
		return Hook{}, false
	}
	latest := s.level.latest(event)
	return s.hooks[at], slices.ContainsFunc(s.level.Heard, func(h Heard) bool {
		return h.Event == event && h.Key == key && h.Number < latest
	})
}

// waitsFor is the run with hooks of the event that the Subject waits for, and that
// has not failed; nil is none.
func (s *Subject) waitsFor(e Event) *Run {
	for _, r := range s.waits {
		if r.Event == e && !r.failed {
			return r
		}
	}
	return nil
}
