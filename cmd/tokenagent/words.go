package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// spoken is a duration as people say it: its two largest units, "2d4h", "57m3s".
func spoken(d time.Duration) string {
	d = d.Abs().Round(time.Second)
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "0s"
}

// away says how far the time t is from now: "in 57m", "3m ago".
func away(t, now time.Time) string {
	if t.After(now) {
		return "in " + spoken(t.Sub(now))
	}
	return spoken(now.Sub(t)) + " ago"
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
