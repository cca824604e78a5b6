package agent

import (
	"errors"
	"time"
)

// A Kind says what an error means for the next attempt.
type Kind int

// The kinds of a Fault.
const (
	Transient     Kind = iota // it may go away by itself: network, time-out, an issuer that is down
	Configuration             // it stays until somebody changes something: wrong client, key, scope, claims
	Writing                   // the token is there, but its file could not be written
)

// String names the kind as logs and status show it.
func (k Kind) String() string {
	switch k {
	case Configuration:
		return "configuration"
	case Writing:
		return "writing"
	default:
		return "transient"
	}
}

// A Fault is an error together with what it means for the next attempt.
type Fault struct {
	Kind       Kind
	RetryAfter time.Duration // how long the issuer asked us to wait; zero: it did not say
	Expected   bool          // of a Command: it is only too early, and nothing is wrong
	Err        error
}

// Error is the text of the error itself.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap returns the error itself.
func (f *Fault) Unwrap() error { return f.Err }

// faultOf is err, with what the Fault in it says, or one of the kind otherwise.
func faultOf(err error, otherwise Kind) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok && f != nil {
		return &Fault{f.Kind, f.RetryAfter, f.Expected, err}
	}
	return &Fault{Kind: otherwise, Err: err}
}
