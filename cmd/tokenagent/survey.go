package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
)

// A survey is what a command shows of many tokens.
type survey struct {
	Agent     bool               `json:"agent"` // true: from the agent; false: read from the files
	Tokens    []agent.Status     `json:"tokens"`
	Refused   time.Time          `json:"configuration_refused_since,omitzero"` // the configuration on disk has faults; the one before it is in use
	Leftovers []control.Leftover `json:"leftovers,omitempty"`                  // files of ours that no definition has any more
	Unknown   []control.Leftover `json:"unknown,omitempty"`                    // files of an unknown configuration; see state.View
	Sources   []sourceStatus     `json:"sources,omitempty"`                    // those that ask with something that ends

	check string // the command that shows why the configuration is refused
}

// A sourceStatus is the state of what a source asks with.
type sourceStatus struct {
	Name    string    `json:"name"`
	What    string    `json:"what"`             // "token", "refresh token" or "client certificate"
	Expires time.Time `json:"expires,omitzero"` // zero: never, or not known
	Error   string    `json:"error,omitempty"`  // why it is not known, and what to do
}

// sourcesOf are the sources that ask with something that ends.
func sourcesOf(cfg *config.Config) (all []sourceStatus) {
	for _, s := range cfg.Sources {
		if s.Ends == nil {
			continue
		}
		for _, end := range s.Ends() {
			one := sourceStatus{Name: s.Name, What: end.What, Expires: end.At}
			if end.Err != nil {
				one.Error = end.Err.Error()
			}
			all = append(all, one)
		}
	}
	return all
}

// line says it in words.
func (s sourceStatus) line(now time.Time) string {
	switch {
	case s.Error != "":
		return fmt.Sprintf("%s cannot ask for tokens: %s", s.Name, plain(s.Error))
	case s.Expires.IsZero():
		return fmt.Sprintf("%s asks with a %s that never ends", s.Name, s.What)
	case !s.Expires.After(now):
		return fmt.Sprintf("%s asks with a %s that ended %s, on %s", s.Name, s.What, away(s.Expires, now), s.Expires.Local().Format(time.DateTime))
	}
	return fmt.Sprintf("%s asks with a %s that ends %s, on %s", s.Name, s.What, away(s.Expires, now), s.Expires.Local().Format(time.DateTime))
}

func (s survey) print(w io.Writer) {
	printTable(w, s.Tokens, wall())
	if !s.Refused.IsZero() {
		fmt.Fprintf(w, "the configuration on disk has been refused since %s, and the one before it is in use; %s says why\n", s.Refused.Local().Format(time.DateTime), s.check)
	}
	for _, t := range s.Tokens {
		for _, h := range t.Hooks {
			is := "fails"
			if h.Early {
				is = "waits for HTCondor to run"
			}
			fmt.Fprintf(w, "hook %s of %s %s: %s: %s\n", h.Event, plain(t.Name), is, plain(h.Command), hookFailure(h, wall()))
		}
	}
	for _, t := range s.Tokens {
		if t.Unvalidated != "" {
			fmt.Fprintf(w, "%s was installed without validation: %s\n", plain(t.Name), plain(strings.TrimPrefix(t.Unvalidated, "validation: ")))
		}
	}
	for _, source := range s.Sources {
		fmt.Fprintln(w, source.line(wall()))
	}
	for _, l := range s.Leftovers {
		fmt.Fprintf(w, "left over: %s, once of token %s; no definition has it any more, so remove it if nobody reads it\n", plain(l.Path), plain(l.Token))
	}
	for _, l := range s.Unknown {
		fmt.Fprintf(w, "of an unknown configuration: %s, once of token %s; no configuration has claimed it, so agents leave it alone\n", plain(l.Path), plain(l.Token))
	}
}

// show writes what a command found, as JSON or for people.
func show(w io.Writer, asJSON bool, found interface{ print(io.Writer) }) error {
	if asJSON {
		return printJSON(w, found)
	}
	var text strings.Builder
	found.print(&text)
	_, err := io.WriteString(w, text.String())
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printTable prints a line for each sink of each token.
func printTable(w io.Writer, tokens []agent.Status, now time.Time) {
	table := newTable(w, "NAME", "STATE", "REMAINING", "RENEWAL", "SINK", "LAST ERROR")
	for _, t := range tokens {
		name, renewal, failing := t.Name, renewalOf(t, now), t.Failing
		for _, s := range t.Sinks {
			if s.Failing != nil {
				failing = s.Failing
			}
			table.row(plain(name), string(s.State), remaining(s, now), renewal, orDash(s.Name), failure(failing, now))
			name, renewal, failing = "", "", nil
		}
	}
	table.Flush()
}

func remaining(s agent.SinkStatus, now time.Time) string {
	switch {
	case s.State == agent.Missing:
		return "-"
	case s.Expires.IsZero():
		return "unknown"
	case s.State == agent.Expired:
		return "expired " + away(s.Expires, now)
	}
	return config.Spoken(s.Expires.Sub(now))
}

func renewalOf(t agent.Status, now time.Time) string {
	switch {
	case t.Renew.IsZero():
		return "-"
	case !t.Renew.After(now):
		return "now"
	}
	return away(t.Renew, now)
}

// failure says in one line what failed, how often, and when it is tried again.
func failure(f *agent.Failing, now time.Time) string {
	if f == nil {
		return "-"
	}
	text := strings.Join(strings.FieldsFunc(f.Error, func(r rune) bool { return r == '\n' || r == '\r' || r == '\t' }), " ")
	if f.Failures > 1 {
		text += fmt.Sprintf(" (%d times since %s)", f.Failures, f.Since.Local().Format(time.DateTime))
	}
	if !f.Retry.IsZero() {
		text += "; tried again " + soon(f.Retry, now)
	}
	return plain(text)
}

// hookFailure is the failure of a hook. The name of the program is cut off its error,
// because the line shows the whole command.
func hookFailure(h agent.HookStatus, now time.Time) string {
	words := strings.Fields(h.Command)
	for len(words) > 1 && (strings.HasPrefix(words[0], "user=") || strings.HasPrefix(words[0], "before=")) {
		words = words[1:]
	}
	about, what, found := strings.Cut(h.Failing.Error, ": ")
	if program, _, _ := strings.Cut(about, " as "); found && len(words) > 0 && program == words[0] {
		h.Failing.Error = what
	}
	return failure(&h.Failing, now)
}

func soon(t, now time.Time) string {
	if !t.After(now) {
		return "now"
	}
	return away(t, now)
}
