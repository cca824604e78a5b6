package main

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokenagent/tokenagent/agent/config"
)

// away says how far the time t is from now: "in 57m", "3m ago".
func away(t, now time.Time) string {
	if t.After(now) {
		return "in " + config.Spoken(t.Sub(now))
	}
	return config.Spoken(now.Sub(t)) + " ago"
}

// plain is text that comes from elsewhere, fit for a terminal: as it is, or
// quoted when it holds what a terminal would obey, or bytes that are no UTF-8:
// one of those may be an escape to a terminal, or to a tabwriter.
func plain(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}
