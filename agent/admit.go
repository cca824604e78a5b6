package agent

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// bearer is the b64token of RFC 6750, section 2.1: what may stand behind
// "Bearer " in a header, and so on one line of a file.
var bearer = regexp.MustCompile(`^[A-Za-z0-9\-._~+/]+=*$`)

// mostBytes is what HTCondor still reads of a token: with its line end fewer than 16384.
const mostBytes = 16382

// admit says why the fresh token must never be installed, whatever lies there.
func admit(fresh Token, now time.Time) error {
	text := fresh.Secret.Reveal()
	switch {
	case text == "":
		return errors.New("the source gave an empty token")
	case len(text) > mostBytes:
		return fmt.Errorf("the source gave a token of %d bytes; readers take at most %d", len(text), mostBytes)
	case !bearer.MatchString(text):
		return errors.New("the source gave no token: only the characters of RFC 6750 (A-Z a-z 0-9 - . _ ~ + / =) may stand in one")
	case fresh.Expires.IsZero():
		return nil
	case fresh.Expires.Sub(now) > mostLife:
		return fmt.Errorf("the token expires in the year %d; more than ten years ahead is taken for an error (milliseconds?)", fresh.Expires.Year())
	case fresh.Expires.Before(now.Add(leastUse)):
		return fmt.Errorf("the token expires at %s, too soon to be of use; is the clock of this host right?", fresh.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// sooner reports whether the fresh token would expire sooner than the one in
// place, so that installing it would make things worse.
func sooner(fresh, inPlace Token, now time.Time) bool {
	return !inPlace.IsZero() && !inPlace.Expires.IsZero() && !inPlace.Expired(now) &&
		!fresh.Expires.IsZero() && fresh.Expires.Before(inPlace.Expires)
}
