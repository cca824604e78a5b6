package agent

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

const (
	// MaxText is how many bytes the text of a token may have: HTCondor reads a file of
	// fewer than 16384, with its line end.
	MaxText = 16382

	// MaxLife is how long a token may live: ten years, with three leap days. A longer
	// life is most likely given in milliseconds.
	MaxLife = 3653 * 24 * time.Hour
)

// bearer is the b64token of RFC 6750 section 2.1: what may stand behind "Bearer " in a
// header, and so on one line of a file.
var bearer = regexp.MustCompile(`^[A-Za-z0-9\-._~+/]+=*$`)

// CheckText is an error unless a token may have that text: a b64token (RFC 6750) of at
// most MaxText bytes. The error does not quote it.
func CheckText(text string) error {
	switch {
	case text == "":
		return errors.New("it is empty")
	case len(text) > MaxText:
		return fmt.Errorf("it has %d bytes; readers take at most %d", len(text), MaxText)
	case !bearer.MatchString(text):
		return errors.New("it is not a token: only the characters of RFC 6750 (A-Z a-z 0-9 - . _ ~ + /, and = at its end) may stand in one")
	}
	return nil
}
