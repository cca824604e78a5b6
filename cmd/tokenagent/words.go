package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
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

// plain makes text from elsewhere fit for a terminal: it quotes text that has
// control characters, or bytes that are not UTF-8. A terminal, or a tabwriter, may
// take one of those for an escape.
func plain(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}

// orDash is plain text, or a dash for none.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return plain(text)
}

// A table has columns that are two blanks apart. Flush writes it.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, titles ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(titles) > 0 {
		t.row(titles...)
	}
	return t
}

// row adds a line. Text from elsewhere in a cell has to be plain.
func (t table) row(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }
