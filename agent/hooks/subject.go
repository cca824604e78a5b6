package hooks

import (
	"slices"
	"time"
)

// A Subject is what hooks hear of: a file that is written, or a token that fails. Its Notice
// is what they are told.
type Subject struct {
	Notice Notice
	Idle   bool // its hooks are not run and stay due

	events []Event
	hooks  []Hook
	level  *Level
	begun  int    // the latest number that a hook was started for
	waits  []*Run // those that will start for it
	told   []*Run // those that run for it
}

// File is the Subject of a file. The Level is what is known from before; it may be nil.
func File(n Notice, hooks []Hook, l *Level) *Subject {
	if l != nil && l.Expires.After(n.Expires) {
		n.Expires = l.Expires
	}
	return subject(n, hooks, l, OnFirst, OnChange, OnExpiring)
}

// Token is the Subject of a token that may fail.
func Token(n Notice, hooks []Hook, l *Level) *Subject {
	s := subject(n, hooks, l, OnFailure, OnRecover)
	s.begun = s.level.turns() // an earlier process may have started to tell it
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

// SetHooks replaces the hooks.
func (s *Subject) SetHooks(hooks []Hook) {
	s.hooks, s.level = hooks, s.level.suited(hooks, s.events)
}

// Level is what has to be remembered; nil where the Subject has no hook.
func (s *Subject) Level() *Level {
	if s == nil || len(s.level.Heard) == 0 {
		return nil
	}
	return s.level
}

// Wrote notes that the file was written. Written is what [Level.Written] returned before the
// write. Changed says whether the file has changed.
func (s *Subject) Wrote(written *Level, changed bool) { s.level = s.level.wrote(written, changed) }

// Fails reports whether the token failed when that was last set.
func (s *Subject) Fails() bool { return s.level.Fails() }

// SetFails sets whether the token fails now. If no hook was started for the last such change,
// none hears of either: what they were last told is true again.
func (s *Subject) SetFails(fails bool) {
	if fails == s.Fails() {
		return
	}
	untold := s.begun < s.level.turns() && len(s.level.Due()) > 0
	s.level = s.level.turned(untold)
}

// begin is the number that the hook is started for.
func (s *Subject) begin(h Hook) int {
	if h.Event == OnExpiring {
		return s.level.Write + 1
	}
	s.begun = max(s.begun, s.level.latest(h.Event))
	return s.level.latest(h.Event)
}

// Expiring makes those hooks due of which the token in the file has less life left than
// they want: at says when that is for a Hook.Before. It returns when that is for the next
// one; the zero time if there is none.
func (s *Subject) Expiring(at func(before time.Duration) time.Time, now time.Time) (next time.Time) {
	for _, h := range s.hooks {
		if h.Event != OnExpiring {
			continue
		}
		if t := at(h.Before); !t.After(now) {
			s.level = s.level.expiring(h.Key)
		} else if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// Runs are those that are due or run for the Subject, which may be nil.
func (s *Subject) Runs() []*Run {
	if s == nil {
		return nil
	}
	return slices.Concat(s.waits, s.told)
}

// due is the hook of the event and key, if it is due.
func (s *Subject) due(event Event, key string) (h Hook, due bool) {
	if s.Idle {
		return Hook{}, false
	}
	at := slices.IndexFunc(s.hooks, func(h Hook) bool { return h.Event == event && h.Key == key })
	if at < 0 {
		return Hook{}, false
	}
	return s.hooks[at], slices.ContainsFunc(s.level.Heard, func(h Heard) bool {
		return h.Event == event && h.Key == key && h.Number < s.level.latestFor(h)
	})
}

// waitsFor is the run of the event that the Subject waits for and that has not failed; nil:
// none.
func (s *Subject) waitsFor(e Event) *Run {
	for _, r := range s.waits {
		if r.Event == e && !r.failed {
			return r
		}
	}
	return nil
}
