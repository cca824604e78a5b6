package agent

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// A Request is what a token block asks its source for.
type Request struct {
	Profile   string         // "wlcg", "scitokens", "htcondor", "clustercockpit", or "" for none
	Subject   string         // the claim sub
	Audience  []string       // the claim aud
	Scope     []string       // the words of the claim scope
	Unlimited bool           // htcondor only: no claim scope, on purpose, which HTCondor takes for no limit at all
	Claims    map[string]any // further claims: string, bool, int64, float64, []any, map[string]any
	Lifetime  time.Duration  // how long the token is to live; zero: as its issuer likes
}

// A Token is one credential with the times that matter for renewing it.
type Token struct {
	Secret  Secret    // the text that a reader presents
	Issued  time.Time // when it was asked for, by our clock
	Expires time.Time // when verifiers begin to refuse it; zero: no expiry is known
	AskBy   time.Time // its successor must be asked for by then, however long it lives; zero: that does not matter
	Note    string    // what is not as asked, but accepted; logged once, as a warning
	Beside  string    // what came in addition and does no harm; logged once
	ID      string    // the claim jti, to be shown; Renewer.Decode fills it
	KeyID   string    // the header kid, to be shown; Renewer.Decode fills it
}

// Lifetime is the time from asking for the token to its expiry; zero when no expiry is known.
// The claims nbf and iat do not count: an issuer may set both as it likes.
func (t Token) Lifetime() time.Duration {
	if t.Expires.IsZero() {
		return 0
	}
	return t.Expires.Sub(t.Issued)
}

// IsZero reports whether t is the zero Token, which is none.
func (t Token) IsZero() bool { return t == Token{} }

// Expired reports whether the token has expired at the time now.
func (t Token) Expired(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// A Source issues tokens: it signs them, or asks another that does.
//
// Issue may be called for several Requests at once. An error that is not a [*Fault] counts as
// a transient one. A Source neither logs nor tries again, and stops when ctx is done.
type Source interface {
	Issue(ctx context.Context, req Request) (Token, error)
}

// A Follower is a source that reads a file which something else keeps fresh,
// such as a token that it copies or exchanges. See [Agent.Touched].
type Follower interface {
	Source
	// Follows is the absolute path of the file; "" for none. If the tokens are copies of it,
	// each change of the file makes them due. Otherwise a change only repeats an attempt that failed.
	Follows() (path string, copied bool)
}

// A Sink puts a token where its readers look.
//
// Put replaces what lies there as a whole or not at all. It changes nothing if the token
// already lies there as wanted. The Agent never calls two methods of one Sink at the same
// time. An error that is not a [*Fault] counts as one of kind Writing.
type Sink interface {
	Put(ctx context.Context, t Token) (Written, error)
}

// Written says what a Put did. After an error only its Warnings count.
type Written struct {
	Changed  bool            // what lies there is not what lay there before
	Warnings []string        // what is wrong, but did not stop it; each is told once
	Mark     json.RawMessage // for [Store.Adopt], to know what was put after a restart; without a secret; nil: nothing is remembered
}

// A Target is a sink with its names. For a file Name and Path are its absolute path, and Queue
// is its folder.
type Target struct {
	Sink
	Name  string // in the status, the log and the records; "": nothing is remembered of it
	Queue string // equal for sinks that hang together, such as all in one folder: they share a queue; "": a queue of its own
	Path  string // of the file, to watch it; "": it is not a file
}

// ErrNotReadBack is the error of a Store that holds more than a token and cannot tell
// it from the rest.
var ErrNotReadBack = errors.New("the token in it cannot be told from what is around it")

// A Store is a sink that can be read and looked at. The Agent puts the token there again when
// somebody has changed it, goes on with it after a restart, and can remove it.
type Store interface {
	Sink
	// Look says in a few words what differs from what was put ("it is gone", "its mode is
	// 0644, not 0600"); "" when nothing does. It is cheap, and reads nothing. An error
	// means that it could not look.
	Look(ctx context.Context) (difference string, err error)
	// Read returns the text of the token that lies there, whoever put it. The error
	// where nothing lies is fs.ErrNotExist, and where the token cannot be told from
	// what is around it ErrNotReadBack: its record alone tells what lies there.
	Read(ctx context.Context) (Secret, error)
	// Adopt goes on with what an earlier process put, if it still is as the mark says.
	// Otherwise it says what differs, as Look does.
	Adopt(ctx context.Context, mark json.RawMessage) (difference string, err error)
	// Remove removes what was put. What somebody else has put there stays.
	Remove(ctx context.Context) error
}
