package rotation

import (
	"encoding/json"
	"slices"
	"time"
)

// A Stage is where a key stands in its life.
type Stage string

// The stages of a key, in their order. A key that is removed is forgotten.
const (
	Created   Stage = "created"   // it is in the keys folder; the document at the issuer's URL does not hold it yet
	Published Stage = "published" // the document holds it, and it stands ready to sign
	Signing   Stage = "signing"   // it signs all new tokens
	Retired   Stage = "retired"   // it signs no more; the document holds it for the tokens that it has signed
	Revoked   Stage = "revoked"   // it was taken out of the document before its time
)

// A Key is what is remembered of one key; nothing of it is secret. A zero time means
// that it has not come to that.
type Key struct {
	ID      string          `json:"id"`               // kid
	Public  json.RawMessage `json:"public"`           // its public half as JWK, so that the document needs no file
	File    string          `json:"file"`             // the name of the file with its private half in the keys folder
	Created time.Time       `json:"created"`          // where others put the file there, when it was last changed
	Seen    time.Time       `json:"seen,omitzero"`    // since when each document that was fetched held it
	Gone    time.Time       `json:"gone,omitzero"`    // since when no document that was fetched held it, though it is to sign
	Signing time.Time       `json:"signing,omitzero"` // since when it signs, or has signed
	Retired time.Time       `json:"retired,omitzero"` // since when it signs no more
	Revoked time.Time       `json:"revoked,omitzero"` // when a person revoked it
	Until   time.Time       `json:"until,omitzero"`   // no token signed with it expires later
}

// Stage is where the key stands.
func (k Key) Stage() Stage {
	switch {
	case !k.Revoked.IsZero():
		return Revoked
	case !k.Retired.IsZero():
		return Retired
	case !k.Signing.IsZero():
		return Signing
	case !k.Seen.IsZero():
		return Published
	}
	return Created
}

// waiting reports whether the key is yet to sign.
func (k Key) waiting() bool { return k.Stage() == Created || k.Stage() == Published }

// A Life is what is remembered of all keys of an issuer.
type Life struct {
	Keys   []Key     `json:"keys"`             // in the order in which they were created
	Asked  time.Time `json:"rotate,omitzero"`  // when a person asked for a rotation that has not happened yet
	AtOnce bool      `json:"at_once,omitzero"` // that rotation does not wait for PublishAhead
	Told   string    `json:"told,omitzero"`    // the Digest of the publication that OnPublish last succeeded for
	URL    string    `json:"url,omitzero"`     // of the issuer that all this is remembered of
	Root   string    `json:"root,omitzero"`    // the folder that was published into
	Ours   bool      `json:"ours,omitzero"`    // the document was published from here, so what it has beside these keys is not another's
}

// signing is the index of the key that signs; -1 for none.
func (l Life) signing() int {
	return slices.IndexFunc(l.Keys, func(k Key) bool { return k.Stage() == Signing })
}

// A Sight is a document as it was fetched from the issuer's URL.
type Sight struct {
	IDs       []string // the IDs of the keys of ours that it holds, with the same public half
	ClockSure bool     // its server's clock agrees with ours, or it told none
}

func (s *Sight) holds(id string) bool { return s != nil && slices.Contains(s.IDs, id) }

// A Policy says how the keys of an issuer follow each other.
type Policy struct {
	RotateAfter  time.Duration // how long a key signs; zero: until a person asks for a rotation
	PublishAhead time.Duration // how long verifiers may keep a document that they have fetched
}

// Advance returns the life of the keys one step on, at the time now, after the document
// was fetched as sight; nil means that it could not be fetched. It is a pure function.
//
// The first key signs as soon as it is seen in the document. A successor is always there,
// and signs when every verifier must have seen it. A key leaves the document when the last
// token that it has signed has expired, and with it every copy of the document in which
// its successor is missing. While the clock is in doubt, no key takes turns and none is removed.
//
// needKey reports that a new key should be created: none waits to sign.
func (p Policy) Advance(l Life, sight *Sight, now time.Time) (next Life, needKey bool) {
	l.Keys = slices.Clone(l.Keys)
	l.look(sight, now)
	if l.signing() < 0 {
		l.start(sight, now)
	}
	if sight != nil && sight.ClockSure {
		p.rotate(&l, sight, now)
		l.Keys = slices.DeleteFunc(l.Keys, func(k Key) bool { return p.over(k, now) })
	}
	return l, !slices.ContainsFunc(l.Keys, Key.waiting)
}

// at notes where the issuer is and where its document is written. What was known of another
// document is not known of this one: nobody has seen its keys, and what it holds may be
// another's.
func (l *Life) at(url, root string, now time.Time) {
	if l.URL != "" && l.URL != url {
		for i := range l.Keys {
			switch k := &l.Keys[i]; {
			case k.waiting():
				k.Seen = time.Time{}
			case k.Stage() == Signing:
				k.Gone = now
			}
		}
	}
	if l.URL != url || l.Root != root {
		l.Ours, l.Told = l.Ours && l.URL == "", ""
	}
	l.URL, l.Root = url, root
}

// look notes which keys the document holds. A key that waits and has gone from the document
// waits again from the start, since a verifier may have fetched the document without it.
func (l *Life) look(sight *Sight, now time.Time) {
	if sight == nil {
		return
	}
	for i := range l.Keys {
		k := &l.Keys[i]
		switch held := sight.holds(k.ID); {
		case held:
			k.Gone = time.Time{}
			if k.Seen.IsZero() && sight.ClockSure {
				k.Seen = now
			}
		case k.waiting():
			k.Seen = time.Time{}
		case k.Gone.IsZero() && k.Stage() == Signing:
			k.Gone = now
		}
	}
}

// start lets a key sign where none does: at the beginning, after a revocation, and where
// nothing is remembered of keys that are there. The youngest is the successor of another,
// if there is another.
func (l *Life) start(sight *Sight, now time.Time) {
	var ready []int
	for i, k := range l.Keys {
		if k.Stage() == Published && sight.holds(k.ID) {
			ready = append(ready, i)
		}
	}
	if len(ready) == 0 {
		return
	}
	l.Keys[ready[max(0, len(ready)-2)]].Signing = now
}

// rotate lets the successor sign when it is time and the successor is ready.
func (p Policy) rotate(l *Life, sight *Sight, now time.Time) {
	old, successor := l.signing(), l.successor()
	if old < 0 || successor < 0 || !p.due(*l, now) || !sight.holds(l.Keys[successor].ID) {
		return
	}
	if now.Before(p.ready(*l, l.Keys[successor])) {
		return
	}
	l.Keys[old].Retired, l.Keys[successor].Signing = now, now
	l.Asked, l.AtOnce = time.Time{}, false
}

// successor is the index of the published key that has waited longest; -1 for none.
func (l Life) successor() int {
	found := -1
	for i, k := range l.Keys {
		if k.Stage() == Published && (found < 0 || k.Seen.Before(l.Keys[found].Seen)) {
			found = i
		}
	}
	return found
}

// ready is when the key may sign: every verifier must have seen it.
func (p Policy) ready(l Life, successor Key) time.Time {
	if l.AtOnce {
		return successor.Seen
	}
	return successor.Seen.Add(p.PublishAhead)
}

// due reports whether a rotation is due.
func (p Policy) due(l Life, now time.Time) bool {
	at := p.rotation(l)
	return !at.IsZero() && !now.Before(at)
}

// turn is when the key takes over; zero: not before a person asks for it.
func (p Policy) turn(l Life, successor Key) time.Time {
	at, ready := p.rotation(l), p.ready(l, successor)
	if at.IsZero() || at.After(ready) {
		return at
	}
	return ready
}

// rotation is when the key that signs is to be followed by another; zero: not before a
// person asks for it.
func (p Policy) rotation(l Life) time.Time {
	signing := l.signing()
	switch {
	case signing < 0:
		return time.Time{}
	case !l.Asked.IsZero():
		return l.Asked
	case p.RotateAfter > 0:
		return l.Keys[signing].Signing.Add(p.RotateAfter)
	}
	return time.Time{}
}

// over reports whether nobody needs the key any more.
func (p Policy) over(k Key, now time.Time) bool {
	end := p.end(k)
	return !end.IsZero() && !now.Before(end)
}

// end is when the key is removed; zero: that is not known yet.
func (p Policy) end(k Key) time.Time {
	stopped := k.Retired
	if !k.Revoked.IsZero() {
		stopped = k.Revoked
	}
	if stopped.IsZero() {
		return time.Time{}
	}
	if k.Until.After(stopped) {
		stopped = k.Until
	}
	return stopped.Add(p.PublishAhead)
}

// key is the index of the key with the ID; -1 for none.
func (l Life) key(id string) int {
	return slices.IndexFunc(l.Keys, func(k Key) bool { return k.ID == id })
}

// ids are the IDs of all keys.
func (l Life) ids() (ids []string) {
	for _, k := range l.Keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// After says what comes next for the key, and when; the zero time where that depends on
// something else than time.
func (p Policy) After(l Life, k Key) (next Stage, at time.Time) {
	switch k.Stage() {
	case Created:
		return Published, time.Time{}
	case Published:
		return Signing, p.turn(l, k)
	case Signing:
		if next := l.successor(); next >= 0 {
			return Retired, p.turn(l, l.Keys[next])
		}
		return Retired, p.rotation(l)
	}
	return "removed", p.end(k)
}
