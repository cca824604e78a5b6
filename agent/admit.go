package agent

import (
	"errors"
	"fmt"
	"time"
)

// admit is an error where the fresh token must never be installed.
func admit(fresh Token, now time.Time) error {
	if err := CheckText(fresh.Secret.Reveal()); err != nil {
		return fmt.Errorf("the token that the source gave: %w", err)
	}
	switch {
	case fresh.Expires.IsZero():
		return nil
	case fresh.Expires.Sub(now) > MaxLife:
		return fmt.Errorf("the token expires in the year %d; more than ten years ahead is taken for an error (milliseconds?)", fresh.Expires.Year())
	case fresh.Expires.Before(now.Add(leastUse)):
		return fmt.Errorf("the token expires at %s, too soon to be of use; is the clock of this host right?", fresh.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// sooner reports whether the fresh token expires sooner than the valid one in place, so that
// installing it would make things worse.
func sooner(fresh, inPlace Token, now time.Time) bool {
	return !inPlace.IsZero() && !inPlace.Expires.IsZero() && !inPlace.Expired(now) &&
		!fresh.Expires.IsZero() && fresh.Expires.Before(inPlace.Expires)
}

// keepsForm says why the token cannot follow the one that a sink got last: what is
// read while it is written, or is no token at all, must not replace a whole one.
func (e *entry) keepsForm(t Token) error {
	if e.Form == nil {
		return nil
	}
	form := e.Form(t.Secret)
	for _, p := range e.sinks {
		if form < p.record.Form {
			return lessWhole()
		}
	}
	return nil
}

// lessWhole is the fault of a token that must not follow a whole one.
func lessWhole() error {
	return &Fault{Kind: Transient, Err: errors.New(`what came is not a whole JWT, and the last token was one, so it is not installed; see to what makes the tokens, or write token_format = "opaque" in the source if they are not JWTs any more`)}
}
