package tokendir

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// blanks are what HTCondor takes off both ends of a line: isspace(3).
const blanks = " \t\n\v\f\r"

const byteOrderMark = "\ufeff"

// entriesIn are the entries of a file that HTCondor reads: one for each token, or one
// for the whole file when it has none.
func (f folder) entriesIn(e Entry, content []byte) []Entry {
	content, _, spins := bytes.Cut(content, []byte{0})
	var found []Entry
	var others []string // what the other lines are
	for i, raw := range strings.Split(string(content), "\n") {
		line := strings.Trim(raw, blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		one, err := f.line(e, line)
		if err != nil {
			others = append(others, fmt.Sprintf("line %d: %s", i+1, whyNotToken(line, err)))
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
		found[0].Remarks = append(slices.Clip(found[0].Remarks), "it has other lines than the token: "+some(others))
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
	e.Verdict, e.Reason = Spins, "it has a NUL byte, on which an HTCondor client loops without end; a crash leaves such files where the writer does not sync"
	return e
}

// without is the entry of a file that holds no token at all.
func without(e Entry, content string, others []string) Entry {
	e.Verdict = NoToken
	switch {
	case content == "":
		e.Reason = "it is empty"
	case len(others) == 0:
		e.Reason = "it has only blanks and comments"
	case broken(content):
		e.Reason = fmt.Sprintf("its token is broken over %d lines; write it on one", len(others))
	case len(others) == 1:
		_, e.Reason, _ = strings.Cut(others[0], ": ")
	default:
		e.Reason = some(others)
	}
	return e
}

// broken reports whether the content would be a token on one line.
func broken(content string) bool {
	_, err := profile.Decode(strings.Join(strings.Fields(content), ""))
	return err == nil
}

// whyNotToken says what a line is that is not a token.
func whyNotToken(line string, err error) string {
	switch {
	case strings.HasPrefix(line, byteOrderMark):
		return "it begins with a byte order mark; write it without"
	case line == "null":
		return "it says null: some script wrote that, and got no token"
	case strings.ContainsRune("{[}]", rune(line[0])):
		return "it is JSON; HTCondor wants the bare token"
	case line[0] == '"' || line[0] == '\'':
		return "it is in quotes; HTCondor wants the bare token"
	case line[0] == '<':
		return "it is HTML or XML, as the error page of a server is"
	case strings.HasPrefix(line, "-----BEGIN "):
		return "it is a key or certificate; neither belongs here"
	case len(line) > 7 && strings.EqualFold(line[:7], "bearer "):
		return "it begins with Bearer; HTCondor wants the bare token"
	case strings.Contains(line, "=eyJ"):
		return "it is an assignment; HTCondor wants the bare token"
	case strings.ContainsAny(line, blanks):
		return "it has blanks or a CR within; a token has none"
	}
	return err.Error()
}

// line is the entry of a line that HTCondor takes for a token, as one that is sent; for
// any other line it is an error.
func (f folder) line(e Entry, line string) (Entry, error) {
	strict, err := profile.Decode(line)
	lenient, ok := decodeLenient(line)
	if !ok {
		return Entry{}, cmp.Or(err, errNotJSON)
	}
	e = f.token(e, sent{lenient, line})
	if err != nil {
		e.Token.Remarks = append(e.Token.Remarks, "HTCondor takes it for a token, other readers do not: "+err.Error())
		return e, nil
	}
	e.Token.Remarks = append(e.Token.Remarks, shortcomings(strict, *e.Token)...)
	return e, nil
}

// token is the entry of a token. It is sent unless it lacks something that HTCondor
// chooses by.
func (f folder) token(e Entry, t sent) Entry {
	e.Remarks = slices.Clip(e.Remarks)
	e.Token = f.describe(t)
	e.Verdict, e.Reason = Sent, ""
	switch {
	case text(t.Header["kid"]) == "":
		e.Verdict, e.Reason = Incomplete, "its token has no kid, so no server knows the key"
	case text(t.Claims["iss"]) == "":
		e.Verdict, e.Reason = Incomplete, "its token has no iss, so it belongs to no trust domain"
	case f.withoutSubject(t):
		e.Verdict, e.Reason = Incomplete, "its token has no sub, so it names no user"
	}
	return e
}

// withoutSubject reports whether HTCondor skips the token for its sub. HTCondor 25 sends
// one without a sub if it has a jti.
func (f folder) withoutSubject(t sent) bool {
	sub, there := t.Claims["sub"]
	if _, isText := sub.(string); there {
		return !isText
	}
	return f.reader.Version.before(version25) || text(t.Claims["jti"]) == ""
}

// describe is what can be read in a token.
func (f folder) describe(t sent) *Token {
	s := server{f.reader.Version, f.now, f.reader.Genuine}
	d := &Token{
		Issuer:  text(t.Claims["iss"]),
		KeyID:   text(t.Header["kid"]),
		Subject: text(t.Claims["sub"]),
		Scope:   strings.Fields(text(t.Claims["scope"])),
		Issued:  instant(t.Claims["iat"]),
		Expires: instant(t.Claims["exp"]),
		Remarks: s.remarks(t),
	}
	d.Allows = allows(d.Scope)
	d.State, d.claim, d.Why = s.verdict(t)
	_, mac := macSizes[text(t.Header["alg"])]
	d.foreign = !mac && text(t.Header["alg"]) != ""
	return d
}

// shortcomings are what the profile finds, without what the state says already.
func shortcomings(t profile.Token, d Token) []string {
	var texts []string
	for _, p := range profile.Check("htcondor", t) {
		if p.Claim != d.claim || d.State == Valid {
			texts = append(texts, p.String())
		}
	}
	return texts
}

// allows puts the words of a scope plainly. HTCondor reads only those that begin with
// exactly condor:/, and sets no limit where there are none.
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

// instant is the time in a claim; zero where it is not a time of this era.
func instant(claim any) time.Time {
	const latest = 9_999_999_999 // as profile.Distant
	seconds, ok := claim.(float64)
	if !ok || seconds < 0 || seconds > latest {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
