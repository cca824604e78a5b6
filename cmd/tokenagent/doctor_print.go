package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// print writes what was found.
func (d diagnosis) print(w io.Writer) {
	for _, text := range d.Warnings {
		fmt.Fprintf(w, "WARNING: %s\n\n", plain(text))
	}
	for i, e := range d.Directories {
		if i > 0 {
			io.WriteString(w, "\n")
		}
		e.print(w, d.now)
	}
	if len(d.Directories) == 0 {
		io.WriteString(w, "HTCondor reads no directory for this user, who has no home\n")
	}
	printFindings(w, d.Host, "this host")
}

func (e examination) print(w io.Writer, now time.Time) {
	fmt.Fprintln(w, e.title())
	if e.Version == "" && len(e.Entries) > 0 {
		fmt.Fprintln(w, "  the version of HTCondor is not known: what versions differ in is named (--condor-version 25.13 chooses)")
	}
	if e.Exclude != tokendir.DefaultExclude {
		fmt.Fprintf(w, "  names that match %s are passed over (%s)\n", plain(e.Exclude), tokendir.ExcludeKnob)
	}
	if e.Warning != "" {
		fmt.Fprintf(w, "  WARNING: HTCondor may read other files than these, which are those of its default: %s\n", plain(e.Warning))
	}
	switch {
	case e.Error != "":
		fmt.Fprintf(w, "  %s\n", plain(e.Error))
		return
	case len(e.Entries) == 0:
		fmt.Fprintln(w, "  it is empty")
	default:
		printEntries(w, e.Entries, now)
	}
	e.printWinners(w, now)
	printFindings(w, e.Findings, "the directory")
}

// title says whose directory it is, and why.
func (e examination) title() string {
	text := plain(e.Path) + ", as " + plain(e.Reader) + " reads it"
	if len(e.Systems) > 0 {
		text += " (" + strings.Join(e.Systems, ", ")
		if e.Knob != "" {
			text += " by " + e.Knob
		}
		text += ")"
	}
	return text
}

func printEntries(w io.Writer, entries []tokendir.Entry, now time.Time) {
	table := newTable(w, "  ENTRY", "VERDICT", "REMAINING", "IDENTITY", "ISSUER", "KEY", "TO")
	for _, e := range entries {
		remaining, to := "-", "-"
		t := tokendir.Token{}
		if e.Token != nil {
			t, remaining, to = *e.Token, remainingOf(*e.Token, now), strings.Join(e.Token.Allows, "; ")
		}
		table.row("  "+placeOf(e.Name, e.Line), plain(verdictOf(e)), remaining, orDash(t.Subject), orDash(t.Issuer), orDash(t.KeyID), plain(to))
	}
	table.Flush()
}

// placeOf names a token by its file, and by its line unless that is the first.
func placeOf(name string, line int) string {
	if line > 1 {
		return fmt.Sprintf("%s:%d", plain(name), line)
	}
	return plain(name)
}

// verdictOf is the verdict in a few words.
func verdictOf(e tokendir.Entry) string {
	switch e.Verdict {
	case tokendir.Sent:
		if e.Only != "" {
			return "sent by the " + e.Only + " alone"
		}
		return "sent"
	case tokendir.Shadowed:
		return "shadowed by " + e.By
	case tokendir.Unreached:
		return "never reached, behind " + e.By
	case tokendir.Blocks:
		return "HTCondor waits forever"
	case tokendir.Spins:
		return "HTCondor spins forever"
	}
	return "skipped: " + string(e.Verdict)
}

func remainingOf(t tokendir.Token, now time.Time) string {
	switch {
	case t.State == tokendir.Expired:
		return "expired " + away(t.Expires, now)
	case t.State != tokendir.Valid:
		return string(t.State)
	case t.Expires.IsZero():
		return "no expiry"
	}
	return config.Spoken(t.Expires.Sub(now))
}

// printWinners says which token goes to which servers.
func (e examination) printWinners(w io.Writer, now time.Time) {
	winners := e.reading.Winners()
	if len(winners) == 0 {
		fmt.Fprintln(w, "\n  no token is sent. A daemon that found none at its start looks again only after condor_reconfig")
		return
	}
	fmt.Fprintln(w, "\n  What servers get, by their trust domain and key")
	for _, winner := range winners {
		fmt.Fprintf(w, "    %s\n", winnerInWords(winner, now))
	}
}

func winnerInWords(w tokendir.Winner, now time.Time) string {
	from := ""
	if w.Only != "" {
		from = " from the " + w.Only
	}
	state := ""
	if w.Token.State != tokendir.Valid {
		state = ", which they refuse: " + remainingOf(*w.Token, now)
	}
	return fmt.Sprintf("%s, key %s:%s %s, as %s%s", plain(w.Token.Issuer), plain(w.Token.KeyID), from, placeOf(w.Name, w.Line), orDash(w.Token.Subject), state)
}

// printFindings says what is wrong and what to do; grave findings come first. The
// whole is the subject of findings without a name.
func printFindings(w io.Writer, findings []tokendir.Finding, whole string) {
	for _, section := range []struct {
		title string
		grave bool
	}{{"What to correct", true}, {"What else was seen", false}} {
		title := "\n  " + section.title + "\n"
		for _, f := range findings {
			if f.Grave != section.grave {
				continue
			}
			what := whole
			if f.Name != "" {
				what = placeOf(f.Name, f.Line)
			}
			fmt.Fprintf(w, "%s    %s: %s\n", title, what, plain(f.Text))
			title = ""
			if f.Remedy != "" {
				fmt.Fprintf(w, "      %s\n", plain(f.Remedy))
			}
		}
	}
}
