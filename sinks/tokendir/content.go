package tokendir

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// blanks are what HTCondor takes off both ends of a line: isspace(3).
const blanks = " \t\n\v\f\r"

const byteOrderMark = "\ufeff"

// judge gives the entries of a file that HTCondor reads: one for each token, or
// one for the whole when there is none.
func (f folder) judge(e Entry, content []byte) []Entry {
	content, _, spins := bytes.Cut(content, []byte{0})
	var found []Entry
	var others []string // what the lines are that are no tokens
	for i, raw := range strings.Split(string(content), "\n") {
		line := strings.Trim(raw, blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		one, err := f.line(e, line)
		if err != nil {
			others = append(others, fmt.Sprintf("line %d: %s", i+1, whyNone(line, err)))
			continue
		}
		one.Line = i + 1
		if strings.HasSuffix(raw, "\r") {
			one.Remarks = append(one.Remarks, "its line ends in CR LF, which other readers than HTCondor refuse")
		}
		found = append(found, one)
	}
	switch {
	case spins:
		found = append(found, spinning(e))
	case len(found) == 0:
		return []Entry{without(e, string(content), others)}
	}
	if len(others) > 0 {
		found[0].Remarks = append(slices.Clip(found[0].Remarks), "beside the token there are lines that are none: "+some(others))
	}
	return found
}

// some is a list for people, cut short.
func some(list []string) string {
	const most = 3
	if len(list) > most {
		return strings.Join(list[:most], "; ") + fmt.Sprintf("; and %d more", len(list)-most)
	}
	return strings.Join(list, "; ")
}

func spinning(e Entry) Entry {
	e.Verdict, e.Reason = Spins, "there is a NUL byte in it, at which an HTCondor client spins for ever; a crash leaves such files behind writers that do not sync"
	return e
}

// without is the entry of a file that holds no token at all.
func without(e Entry, content string, others []string) Entry {
	e.Verdict = NoToken
	switch {
	case content == "":
		e.Reason = "it is empty"
	case len(others) == 0:
		e.Reason = "there is nothing in it but blanks and comments"
	case broken(content):
		e.Reason = fmt.Sprintf("its token is broken over %d lines; write it on one", len(others))
	case len(others) == 1:
		_, e.Reason, _ = strings.Cut(others[0], ": ")
	default:
		e.Reason = some(others)
	}
	return e
}

// broken reports whether the content would be a token if it were on one line.
func broken(content string) bool {
	_, err := profile.Decode(strings.Join(strings.Fields(content), ""))
	return err == nil
}

// whyNone says what a line is that is no token.
func whyNone(line string, err error) string {
	switch {
	case strings.HasPrefix(line, byteOrderMark):
		return "it begins with a byte order mark; write it without"
	case line == "null":
		return "it says null, as a script writes for a token that it did not get"
	case strings.ContainsRune("{[}]", rune(line[0])):
		return "it is JSON; HTCondor wants the bare token"
	case line[0] == '"' || line[0] == '\'':
		return "it is in quotes; HTCondor wants the bare token"
	case line[0] == '<':
		return "it is HTML or XML, as the error page of a server is"
	case strings.HasPrefix(line, "-----BEGIN "):
		return "it is a key or certificate, which has no place here"
	case len(line) > 7 && strings.EqualFold(line[:7], "bearer "):
		return "it begins with Bearer; HTCondor wants the bare token"
	case strings.Contains(line, "=eyJ"):
		return "it is an assignment; HTCondor wants the bare token"
	case strings.ContainsAny(line, blanks):
		return "there are blanks or a CR within it; a token has none"
	}
	return err.Error()
}

// line is the entry of a line that HTCondor takes for a token, as one that is
// used; an error for any other.
func (f folder) line(e Entry, text string) (Entry, error) {
	strict, err := profile.Decode(text)
	if err == nil {
		e = f.token(e, strict)
		e.Token.Remarks = append(e.Token.Remarks, shortcomings(strict, e.Token.State)...)
		return e, nil
	}
	lax, ok := decodeLax(text)
	if !ok {
		return Entry{}, err
	}
	e = f.token(e, lax)
	e.Token.Remarks = append(e.Token.Remarks, "HTCondor takes it for a token, other readers do not: "+err.Error())
	return e, nil
}

// decodeLax reads a token as HTCondor's own parser does: of two members of a name
// the last counts, texts may be no UTF-8, bits may be left over in base64url, and
// something may follow an object. No token is too large for it.
func decodeLax(text string) (profile.Token, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || strings.ContainsAny(text, "\r\n") { // which package base64 skips
		return profile.Token{}, false
	}
	header, isHeader := laxObject(parts[0])
	claims, isClaims := laxObject(parts[1])
	_, err := base64.RawURLEncoding.DecodeString(parts[2])
	return profile.Token{Header: header, Claims: claims}, isHeader && isClaims && err == nil
}

func laxObject(part string) (map[string]any, bool) {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var object map[string]any
	err = dec.Decode(&object)
	return object, err == nil && object != nil
}

// token is the entry of a decoded token, as one that is used.
func (f folder) token(e Entry, t profile.Token) Entry {
	e.Remarks = slices.Clip(e.Remarks)
	e.Token = describe(t, f.now)
	e.Verdict = Used
	for _, needed := range []struct {
		name string
		in   map[string]any
		more string
	}{
		{"kid", t.Header, "so no server knows the key"},
		{"iss", t.Claims, "so it belongs to no trust domain"},
		{"sub", t.Claims, "so it names nobody"},
	} {
		text, isText := needed.in[needed.name].(string)
		if !isText || text == "" && needed.name != "sub" {
			e.Verdict, e.Reason = Incomplete, fmt.Sprintf("its token has no %s, %s", needed.name, needed.more)
			break
		}
	}
	return e
}

// describe tells what can be told of a token.
func describe(t profile.Token, now time.Time) *Token {
	d := &Token{
		Issuer:  text(t.Claims["iss"]),
		KeyID:   text(t.Header["kid"]),
		Subject: text(t.Claims["sub"]),
		Scope:   strings.Fields(text(t.Claims["scope"])),
		Issued:  instant(t.Claims["iat"]),
		Expires: instant(t.Claims["exp"]),
	}
	d.Allows = allows(d.Scope)
	d.State, d.Why = state(t, now)
	if _, list := t.Claims["scope"].([]any); list {
		d.Remarks = append(d.Remarks, "scope: a list makes an HTCondor client hang for 20 s")
	}
	return d
}

// shortcomings are what the profile says of a token in that state, and the state
// does not.
func shortcomings(t profile.Token, state State) []string {
	var texts []string
	for _, p := range profile.Check("htcondor", t) {
		if (p.Claim != "alg" || state != Foreign) && (!isTime(p.Claim) || state != Malformed) {
			texts = append(texts, p.String())
		}
	}
	return texts
}

func isTime(claim string) bool { return claim == "iat" || claim == "nbf" || claim == "exp" }

// state is what a server would say, and why.
func state(t profile.Token, now time.Time) (State, string) {
	alg := text(t.Header["alg"])
	if !slices.Contains(profile.Algorithms("htcondor"), alg) {
		return Foreign, fmt.Sprintf("it is signed with %q; HTCondor's IDTOKENs are signed with HS256, and a server accepts nothing else", alg)
	}
	problems := profile.Times(t, now)
	if len(problems) == 0 {
		return Valid, ""
	}
	for _, p := range problems {
		if _, number := t.Claims[p.Claim].(json.Number); !number {
			return Malformed, p.String()
		}
	}
	last := problems[len(problems)-1]
	if last.Claim == "exp" {
		return Expired, last.Text
	}
	return NotYet, last.String()
}

// allows says the words of a scope in plain ones. HTCondor heeds only those that
// begin with exactly condor:/, and where there is none sets no limit.
func allows(scope []string) []string {
	var allowed []string
	for _, word := range scope {
		if !strings.HasPrefix(word, "condor:/") {
			continue
		}
		meaning := profile.Meaning(word)
		if meaning == "" {
			meaning = fmt.Sprintf("do nothing by %q, a level that HTCondor does not know", word)
		}
		allowed = append(allowed, meaning)
	}
	if allowed == nil {
		return []string{"do everything that its identity may do"}
	}
	return allowed
}

func text(claim any) string {
	s, _ := claim.(string)
	return s
}

// instant is the time in a claim; zero for what is none of this era.
func instant(claim any) time.Time {
	at, _ := profile.Instant(claim)
	return at.UTC()
}
