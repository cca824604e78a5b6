package agent

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
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

// Most tokens are a b64token of RFC 6750 section 2.1. RFC 6749 appendix A.12 allows
// more, and some issuers use it: their tokens are URLs, or have a colon or a bar.
var (
	anyToken  = regexp.MustCompile(`^[A-Za-z0-9\-._~+/][A-Za-z0-9\-._~+/=:?#\[\]@!$&()*,;%|]*$`)
	bareToken = regexp.MustCompile(`^[A-Za-z0-9\-._~+/][A-Za-z0-9\-._~+/:]*=*$`)
)

// nothing are what Python, JavaScript, jq and Go print for a text that is missing.
var nothing = []string{"None", "null", "undefined", "nil"}

// CheckText is an error unless a token may have that text: at most MaxText bytes, all of
// them characters of a URL (RFC 3986) or bars. The error does not quote it.
func CheckText(text string) error {
	switch {
	case text == "":
		return errors.New("it is empty")
	case len(text) > MaxText:
		return fmt.Errorf("it has %d bytes; readers take at most %d", len(text), MaxText)
	case slices.Contains(nothing, text):
		return errors.New("it is a word that programs print where they have no token")
	case !anyToken.MatchString(text):
		return errors.New("it is not a token: only the characters of a URL (RFC 3986), without quotes, and | may stand in one")
	}
	return nil
}

// CheckBare is CheckText for a text that may be anything, such as a line of a file: only a
// b64token of RFC 6750 with colons is surely a token.
func CheckBare(text string) error {
	if text != "" && len(text) <= MaxText && !bareToken.MatchString(text) {
		return errors.New("it is not a token: only the characters of RFC 6750 (A-Z a-z 0-9 - . _ ~ + / :, and = at its end) may stand in one")
	}
	return CheckText(text)
}
