package hooks

import (
	"slices"
	"time"
)

// A Level says what has happened to a file, or to a token that fails, and what each of its
// hooks has heard of. What happens is counted. A hook is due while the number that it last
// succeeded for is not the latest. So there is no list of due hooks that could be lost, and
// two Levels of different age can be merged.
//
// A Level is never changed, so it can be shared. Its methods return another one.
type Level struct {
	Write    int       `json:"write,omitempty"`    // the last write that changed the file
	First    int       `json:"first,omitempty"`    // the last write that found no acceptable token
	Failure  int       `json:"failure,omitempty"`  // the last time that the token began to fail
	Recovery int       `json:"recovery,omitempty"` // the last time that this ended
	Expires  time.Time `json:"expires,omitzero"`   // of the token of the last write
	Heard    []Heard   `json:"heard,omitempty"`
}

// Heard is what one hook has last succeeded for.
type Heard struct {
	Event    Event  `json:"event"`
	Key      string `json:"key"`
	Number   int    `json:"number,omitempty"`
	Expiring int    `json:"expiring,omitempty"` // of on_expiring: the number of the file whose token is about to expire
}

// latest is the number that a hook of the event has to hear of; zero: none. Of failure and
// recovery only the one that holds now has a number.
func (l *Level) latest(e Event) int {
	switch {
	case e == OnChange:
		return l.Write
	case e == OnFirst:
		return l.First
	case e == OnFailure && l.Fails():
		return l.Failure
	case e == OnRecover && !l.Fails():
		return l.Recovery
	}
	return 0
}

// latestFor is latest for that hook. The number of a file whose token is about to expire
// is one more than that of its write, so that a file without a known write has one too.
func (l *Level) latestFor(h Heard) int {
	switch {
	case h.Event != OnExpiring:
		return l.latest(h.Event)
	case h.Expiring == l.Write+1:
		return h.Expiring
	}
	return 0
}

// expiring is the Level after the token in the file is about to expire for that hook.
func (l *Level) expiring(key string) *Level {
	next := *l
	next.Heard = slices.Clone(l.Heard)
	for i, h := range next.Heard {
		if h.Event == OnExpiring && h.Key == key {
			next.Heard[i].Expiring = l.Write + 1
		}
	}
	return &next
}

// Fails reports whether the token fails.
func (l *Level) Fails() bool { return l.Failure > l.Recovery }

// Due are the hooks that have not heard of the latest.
func (l *Level) Due() []Heard {
	if l == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(l.Heard), func(h Heard) bool { return h.Number >= l.latestFor(h) })
}

// Written is the Level after another write, of a token that expires then. First says that
// the write found no acceptable token.
func (l *Level) Written(first bool, expires time.Time) *Level {
	next := *l
	next.Write++
	next.Expires = expires
	if first {
		next.First = next.Write
	}
	return &next
}

// wrote is the Level after a write that Written has counted. If the write changed nothing,
// its number is used up, but no hook hears of it.
func (l *Level) wrote(written *Level, changed bool) *Level {
	next := *l
	next.Write, next.First, next.Expires = written.Write, written.First, written.Expires
	if changed {
		return &next
	}
	next.Heard = slices.Clone(l.Heard)
	for i, h := range next.Heard {
		if h.Event == OnExpiring { // the same token is about to expire once
			next.Heard[i].Number, next.Heard[i].Expiring = l.moved(h.Number, &next), l.moved(h.Expiring, &next)
		} else if h.Number >= l.latest(h.Event) {
			next.Heard[i].Number = max(h.Number, next.latest(h.Event))
		}
	}
	return &next
}

// moved is the number of the file by the next Level, where it is that by this one.
func (l *Level) moved(number int, next *Level) int {
	if number == l.Write+1 {
		return next.Write + 1
	}
	return number
}

// turned is the Level after the token began or ceased to fail. If quiet is true, only those
// hooks hear of it that have not heard of the last such event either.
func (l *Level) turned(quiet bool) *Level {
	next, number, event, last := *l, l.turns()+1, OnFailure, l.Failure
	if l.Fails() {
		next.Recovery, event, last = number, OnRecover, l.Recovery
	} else {
		next.Failure = number
	}
	if quiet {
		next.Heard = slices.Clone(l.Heard)
		for i, h := range next.Heard {
			if h.Event == event && h.Number >= last {
				next.Heard[i].Number = number
			}
		}
	}
	return &next
}

// heard is the Level after the hook has succeeded for that number.
func (l *Level) heard(event Event, key string, number int) *Level {
	next := *l
	next.Heard = raised(l.Heard, Heard{Event: event, Key: key, Number: number})
	return &next
}

// raised is all with the number of the hook raised to that of h, if the hook is there.
func raised(all []Heard, h Heard) []Heard {
	all = slices.Clone(all)
	for i := range all {
		if all[i].Event == h.Event && all[i].Key == h.Key {
			all[i].Number = max(all[i].Number, h.Number)
		}
	}
	return all
}

// suited is the Level for these hooks of the events. A new hook is not due, unless one of
// the same event is gone that was.
func (l *Level) suited(hooks []Hook, events []Event) *Level {
	next := *l
	next.Heard = nil
	for _, h := range hooks {
		if slices.Contains(events, h.Event) {
			next.Heard = append(next.Heard, Heard{Event: h.Event, Key: h.Key, Number: l.start(h, hooks)})
		}
	}
	return &next
}

// start is the number that the hook, one of hooks, has heard of.
func (l *Level) start(h Hook, hooks []Hook) int {
	number := l.latest(h.Event)
	for _, old := range l.Heard {
		switch {
		case old.Event != h.Event:
		case old.Key == h.Key:
			return old.Number
		case !slices.ContainsFunc(hooks, func(o Hook) bool { return o.Event == old.Event && o.Key == old.Key }):
			number = min(number, old.Number)
		}
	}
	return number
}

// Merge is what an older and a newer Level say together. Either may be nil.
func Merge(older, newer *Level) *Level {
	if newer == nil || older != nil && (older.Write > newer.Write || older.turns() > newer.turns()) {
		older, newer = newer, older
	}
	if older == nil {
		return newer
	}
	next := *newer
	next.First = max(older.First, newer.First)
	for _, h := range older.Heard {
		next.Heard = raised(next.Heard, h)
	}
	return &next
}

// turns is how often the token began or ceased to fail.
func (l *Level) turns() int { return max(l.Failure, l.Recovery) }

// Covers reports whether the Level knows of everything that the other knows of. Both may be
// nil.
func (l *Level) Covers(other *Level) bool {
	if l == nil || other == nil {
		return other == nil
	}
	return l.Write >= other.Write && l.First >= other.First && l.turns() >= other.turns() &&
		(l.Write > other.Write || l.Expires.Equal(other.Expires))
}
