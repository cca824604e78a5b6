package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

func newTokenInspect() *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect [FILE|-]",
		Short: "Explain a token's claims and times, and what is wrong by its profile",
		Long: `Explain a token's claims and times, and what is wrong by its profile. The
token is read from a file or from standard input, never from an argument, which
others could see. Files in the formats json and env are understood too. The
signature is neither verified nor printed.

Exit codes: 0 it was read, even if it has problems, 1 it is not a token.`,
		Example: `  tokenagent token inspect .quickstart/token
  tokenagent token create --config /etc/tokenagent pilot/ce1.example.org | tokenagent token inspect`,
		Args: arguments(0, 1, "one FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			_, t, _, err := readToken(c, args)
			if err != nil {
				return err
			}
			chosen := profile.Detect(t)
			if name != "" {
				if chosen, err = profileNamed(name); err != nil {
					return err
				}
			}
			r := newReading(t, chosen, wall())
			return show(c.OutOrStdout(), asJSON, r)
		},
	}
	c.Flags().StringVar(&name, "profile", "", "whose rules to hold it against, by `name`: "+strings.Join(profile.Names(), ", ")+" or none (default: as the token looks)")
	jsonFlag(c, &asJSON)
	return c
}

// readToken reads and decodes the token in the file, or on standard input; name
// says which. No error shows the token, not even one given as the file's name.
func readToken(c *cobra.Command, args []string) (text agent.Secret, t profile.Token, name string, err error) {
	if text, name, err = readTokenText(c, args); err != nil {
		return text, t, name, err
	}
	if t, err = profile.Decode(text.Reveal()); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return text, t, name, err
}

func readTokenText(c *cobra.Command, args []string) (text agent.Secret, name string, err error) {
	from, name := c.InOrStdin(), "standard input"
	if len(args) == 1 && args[0] != "-" {
		if args[0] == "" {
			return text, "", usage(`FILE is ""; name the token's file, or - for standard input`)
		}
		if looksLikeToken(args[0]) {
			return text, "", usage("a token is read from a file or standard input, never from an argument, which others can see; treat this one as known to them")
		}
		f, err := os.Open(args[0])
		if err != nil {
			return text, "", err
		}
		defer f.Close()
		from, name = f, args[0]
	}
	if isTerminal(from) {
		fmt.Fprintln(c.ErrOrStderr(), "tokenagent: reading the token from the terminal; Ctrl-D ends it")
	}
	read, err := readAll(from, name, 4*agent.MaxText)
	if err != nil {
		return text, "", err
	}
	return agent.NewSecret(unwrap(string(read))), name, nil
}

func looksLikeToken(arg string) bool {
	return strings.HasPrefix(arg, "eyJ") && strings.Count(arg, ".") == 2 && !strings.Contains(arg, "/")
}

// unwrap takes a token out of the file sink's formats json and env, without the end of
// the line.
func unwrap(text string) string {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal([]byte(text), &answer) == nil && answer.AccessToken != "" {
		return answer.AccessToken
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "BEARER_TOKEN="))
}

// A reading is what inspect shows of a token.
type reading struct {
	Profile  string         `json:"profile"` // "" for none
	Header   map[string]any `json:"header"`
	Claims   map[string]any `json:"claims"`
	Issued   time.Time      `json:"issued,omitzero"`
	Expires  time.Time      `json:"expires,omitzero"`
	Problems []problem      `json:"problems"`
	now      time.Time
}

type problem struct {
	Claim   string `json:"claim,omitempty"`
	Text    string `json:"text"`
	Warning bool   `json:"warning"`
}

func newReading(t profile.Token, name string, now time.Time) reading {
	r := reading{Profile: name, Header: t.Header, Claims: t.Claims, Problems: []problem{}, now: now}
	r.Issued, _ = profile.Instant(t.Claims["iat"])
	r.Expires, _ = profile.Instant(t.Claims["exp"])
	r.add(profile.Check(name, t))
	r.add(profile.Times(t, now))
	return r
}

func (r *reading) add(problems []profile.Problem) {
	for _, p := range problems {
		r.Problems = append(r.Problems, problem{p.Claim, p.Text, p.Warning})
	}
}

// print writes the reading for people.
func (r reading) print(w io.Writer) {
	fmt.Fprintf(w, "%s; its signature was not verified\n", r.title())
	section(w, "header", r.Header, r.explainHeader)
	section(w, "claims", r.Claims, r.explainClaim)
	r.printProblems(w)
}

func (r reading) title() string {
	kind := "a JWT of no known profile"
	if r.Profile != "" {
		kind = "a token of the profile " + r.Profile
	}
	if _, there := r.Claims["exp"]; !there {
		return kind + " without expiry"
	}
	if r.Expires.IsZero() {
		return kind + " with an unusable expiry"
	}
	if !r.now.Before(r.Expires) {
		return kind + ", expired " + away(r.Expires, r.now)
	}
	return kind + ", expires " + away(r.Expires, r.now)
}

func (r reading) printProblems(w io.Writer) {
	name := r.Profile
	if name == "" {
		name = "JWT"
	}
	fmt.Fprintf(w, "\nby the rules of %s\n", name)
	if len(r.Problems) == 0 {
		fmt.Fprintln(w, "  no faults")
	}
	for _, p := range r.Problems {
		severity := "error"
		if p.Warning {
			severity = "warning"
		}
		fmt.Fprintf(w, "  %s: %s\n", severity, plain(profile.Problem{Claim: p.Claim, Text: p.Text}.String()))
	}
}

// section writes the value of each name, and below it what it means.
func section(w io.Writer, title string, values map[string]any, explain func(name string, value any) []string) {
	fmt.Fprintf(w, "\n%s\n", title)
	names := make([]string, 0, len(values))
	width := 0
	for name := range values {
		names = append(names, name)
		width = max(width, len(plain(name)))
	}
	slices.SortFunc(names, byCustom)
	for _, name := range names {
		fmt.Fprintf(w, "  %-*s  %s\n", width, plain(name), shown(values[name]))
		for _, line := range explain(name, values[name]) {
			fmt.Fprintf(w, "  %-*s    %s\n", width, "", line)
		}
	}
}

// custom is the order in which people expect the names.
var custom = []string{"alg", "typ", "kid", "iss", "sub", "aud", "scope", "wlcg.groups", "iat", "nbf", "exp", "jti", "ver", "wlcg.ver"}

func byCustom(a, b string) int {
	i, j := slices.Index(custom, a), slices.Index(custom, b)
	switch {
	case i >= 0 && j >= 0:
		return i - j
	case i >= 0:
		return -1
	case j >= 0:
		return 1
	}
	return strings.Compare(a, b)
}

// shown is a value on one line: a string as it is, anything else as JSON.
func shown(value any) string {
	if text, ok := value.(string); ok {
		return plain(text)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return plain(string(text))
}
