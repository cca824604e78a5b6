package sources

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// The members of a JSON object that say when the token beside them ends, and when it was
// made. HTCondor's credmons write expires_in and expires_at, other programs others.
var (
	endMembers  = []string{"expires_at", "expires_on", "expiration", "expiry", "exp", "expiresAt", "expiresOn", "expirationTime", "expirationTimestamp"}
	madeMembers = []string{"created_at", "issued_at", "obtained_at", "iat", "createdAt", "issuedAt"}
	lifeMembers = []string{"expires_in", "expiresIn"}
)

// A told is a JSON object that a token lies in; nil where it lies in none.
type told map[string]any

// toldIn is the JSON object in the content of a file.
func toldIn(data []byte) told {
	v, _ := profile.DecodeValue(bytes.TrimSpace(data))
	object, _ := v.(map[string]any)
	return object
}

// end is when the token ends: the earliest time, if several members name one; zero, if
// none does. expires_in counts from when the token was made, or else from when the file
// was written. note names a member that is ignored because it cannot be read.
func (t told) end(written time.Time) (end time.Time, note string) {
	var ends []time.Time
	for _, name := range endMembers {
		at, ok := instantOf(t[name])
		switch {
		case ok && at.Sub(written) <= agent.MaxLife:
			ends = append(ends, at)
		case isSaid(t[name]):
			note = name
		}
	}
	for _, name := range lifeMembers {
		seconds, ok := numberOf(t[name])
		switch {
		case ok && seconds != 0 && math.Abs(seconds) <= agent.MaxLife.Seconds():
			ends = append(ends, t.made(written).Add(time.Duration(seconds*float64(time.Second))))
		case isSaid(t[name]):
			note = name
		}
	}
	if note != "" {
		note += " beside the token cannot be read as a time within ten years; it is ignored"
	}
	if len(ends) > 0 {
		end = slices.MinFunc(ends, time.Time.Compare)
	}
	return end, note
}

// made is when the token was made, as far as is known of one in a file written then.
func (t told) made(written time.Time) time.Time {
	for _, name := range madeMembers {
		if at, ok := instantOf(t[name]); ok && at.Before(written) {
			return at
		}
	}
	return written
}

// isSaid reports whether a member says something: programs write null, 0, "" or the
// year 1 where they know nothing.
func isSaid(v any) bool {
	n, isNumber := numberOf(v)
	text, _ := v.(string)
	return v != nil && v != "" && !(isNumber && n == 0) && !strings.HasPrefix(text, "0001-")
}

// numberOf is a number, or a text that is one.
func numberOf(v any) (float64, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

const (
	year2000 = 946684800 // in seconds since 1970; no token is older
	year5138 = 1e11
)

// instantOf is a time in seconds, milliseconds or microseconds since 1970, or one of RFC 3339, also
// with a blank for the T or without the colon of its zone, as Python and date(1) write it.
func instantOf(v any) (time.Time, bool) {
	if n, ok := numberOf(v); ok {
		switch {
		case n >= year2000*1e6:
			n /= 1e6
		case n >= year2000*1e3:
			n /= 1e3
		}
		return time.UnixMilli(int64(n * 1000)).UTC(), n >= year2000 && n < year5138
	}
	text, _ := v.(string)
	text = strings.Replace(text, " ", "T", 1)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.Parse("2006-01-02T15:04:05Z0700", text)
	}
	return at.UTC(), err == nil && at.Unix() >= year2000
}
