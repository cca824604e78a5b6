package rotation

import (
	"fmt"
	"time"
)

// Changes say in plain words what has changed with the keys, for a log.
func (r Report) Changes() (lines []string) {
	for _, k := range r.Now.Keys {
		before := Stage("")
		if at := r.Before.key(k.ID); at >= 0 {
			before = r.Before.Keys[at].Stage()
		}
		if stage := k.Stage(); stage != before {
			lines = append(lines, fmt.Sprintf("key %s %s", k.ID, changed[stage]))
		}
	}
	for _, k := range r.Before.Keys {
		if r.Now.key(k.ID) < 0 {
			lines = append(lines, fmt.Sprintf("key %s is removed: no token that it has signed lives", k.ID))
		}
	}
	return lines
}

// changed says what it means that a key has come to the stage.
var changed = map[Stage]string{
	Created:   "is there, and waits to be seen in the published document",
	Published: "is published, and stands ready to sign",
	Signing:   "signs from now on",
	Retired:   "signs no more; it stays published for the tokens that it has signed",
	Revoked:   "is revoked, and no longer published",
}

// Revoked are the IDs of the keys that were revoked, and of which a token may live.
func (l Life) Revoked() (ids []string) {
	for _, k := range l.Keys {
		if k.Stage() == Revoked {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// Since is when the key came to its stage.
func (k Key) Since() time.Time {
	switch k.Stage() {
	case Revoked:
		return k.Revoked
	case Retired:
		return k.Retired
	case Signing:
		return k.Signing
	case Published:
		return k.Seen
	}
	return k.Created
}

// Signing is the ID of the key that signs; "" for none.
func (l Life) Signing() string {
	if at := l.signing(); at >= 0 && l.Keys[at].Gone.IsZero() {
		return l.Keys[at].ID
	}
	return ""
}
