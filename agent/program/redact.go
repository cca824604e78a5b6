package program

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	covered    = "[secret]"
	mostLines  = 3   // that an error quotes
	mostQuoted = 400 // characters
)

// A tail keeps the last MaxOutput bytes of what is written to it.
type tail struct {
	hide agent.Secret // the zero Secret: nothing in particular
	kept []byte
	cut  bool // there was more before
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-MaxOutput):]
	if over := len(t.kept) + len(p) - MaxOutput; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
		t.cut = true
	}
	t.cut = t.cut || len(p) < n
	t.kept = append(t.kept, p...)
	return n, nil
}

// words are the last lines as an error can quote them: on one line, without
// anything that a terminal would obey, and with all that may be a secret covered.
func (t *tail) words() string {
	kept := t.kept
	if hide := t.hide.Reveal(); hide != "" {
		kept = bytes.ReplaceAll(kept, []byte(hide), []byte(covered))
	}
	text := redact(printable(kept), t.cut)
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	text = strings.Join(lines[max(0, len(lines)-mostLines):], " / ")
	if over := utf8.RuneCountInString(text) - mostQuoted; over > 0 {
		text = "…" + string([]rune(text)[over:])
	}
	return text
}

// printable replaces all but letters, signs and the ends of lines.
func printable(text []byte) string {
	return host.Printable(strings.NewReplacer("\t", " ", "\r", " ").Replace(string(text)), "\n", '?')
}

// unbroken text is of the characters that tokens, keys and their encodings
// are made of (RFC 6750, base64, percent-encoding), and may go on from line to
// line, as a token that is folded does. The padding "=" is left out: it divides
// a name from its value.
var unbroken = regexp.MustCompile(`[A-Za-z0-9._~+/%-]+(?: *\n *[A-Za-z0-9._~+/%-]+)*`)

// remainder is how a text begins that was cut: the rest of a run, or of a value.
var remainder = regexp.MustCompile(`^[^ \n]+(?: *\n *[A-Za-z0-9._~+/%-]+)*`)

// named is what a text itself calls a secret, such as password=… or "token": "…".
// Fewer than four characters are rather the status of a server, and a path is
// where a secret lies.
var named = regexp.MustCompile(`(?i)((?:passw(?:or)?d|secret|token|key)["']? *[=:] *["']?)[^ \n"'/][^ \n]{2,}[^ \n;,"'})&]`)

// condorCode is how HTCondor's tools begin what went wrong, as "Failed to request a
// session token: DAEMON:2:Server did not …": a part of it, a number and words.
var condorCode = regexp.MustCompile(`^[A-Z]+:[0-9]{1,4}:[A-Za-z]*$`)

const (
	leastSecret = 20 // characters: what is shorter is no token
	mostWord    = 22
)

// redact covers every run that may be a secret, and what is named as one. In a
// text that was cut, the first run may be the rest of one, however short.
func redact(text string, cut bool) string {
	if cut { // the cut may be at the end of a line
		text = strings.TrimLeft(text, " \n")
	}
	if first := remainder.FindString(text); cut && first != "" {
		if line, rest, _ := strings.Cut(first, "\n"); !slices.ContainsFunc(strings.Fields(rest), isOdd) {
			first = line
		}
		return covered + redact(text[len(first):], false)
	}
	var spans [][]int // both are looked for in what was printed: covering one could hide the other's name
	for _, at := range unbroken.FindAllStringIndex(text, -1) {
		if lines := strings.Fields(text[at[0]:at[1]]); isSecret(strings.Join(lines, "")) && slices.ContainsFunc(lines, isOdd) {
			spans = append(spans, at) // lines of mere words are lines, and no part of anything
		}
	}
	for _, at := range named.FindAllStringSubmatchIndex(text, -1) {
		if condorCode.MatchString(text[at[3]:at[1]]) {
			continue
		}
		spans = append(spans, []int{at[3], at[1]})
	}
	return cover(text, spans)
}

// cover replaces the spans, each from one byte to before another, and each stretch
// of spans that meet as one.
func cover(text string, spans [][]int) string {
	slices.SortFunc(spans, slices.Compare)
	var out strings.Builder
	shown := 0
	for _, at := range spans {
		if at[0] > shown || shown == 0 {
			out.WriteString(text[shown:at[0]] + covered)
		}
		shown = max(shown, at[1])
	}
	return out.String() + text[shown:]
}

// isOdd reports whether the run is a JWT, or not made of words as paths and the
// names of hosts are.
func isOdd(run string) bool {
	if jwtStart.MatchString(run) {
		return true
	}
	for part := range strings.FieldsFuncSeq(run, func(r rune) bool { return strings.ContainsRune("._~+/%-", r) }) {
		if len(part) > mostWord || !word.MatchString(part) {
			return true
		}
	}
	return false
}

// isSecret reports whether the run is a JWT, or odd and long.
func isSecret(run string) bool {
	return jwtStart.MatchString(run) || len(run) >= leastSecret && isOdd(run)
}

// jwtStart is {" in base64, and no part of a word such as keyJob.
var jwtStart = regexp.MustCompile(`(^|[^A-Za-z])eyJ`)

// words that people and programs make: apple, Apple, APPLE, appleTree, x86, 2026.
var word = regexp.MustCompile(`^(([a-z]+|[A-Z]+|[A-Z]?[a-z]+([A-Z][a-z]{2,})*)?[0-9]{0,4}|[0-9]+)$`)
