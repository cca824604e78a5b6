package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// token reads a token response (RFC 6749 section 5.1, RFC 8693 section 2.2.1) to
// a request for that grant.
func (r *reply) token(grant string) (Answer, error) {
	m := reader{object: r.object}
	access := m.access("access_token")
	refresh := m.visible("refresh_token")
	a := Answer{
		Access:          agent.NewSecret(access),
		Sent:            r.sent,
		ExpiresIn:       m.seconds("expires_in"),
		Scope:           m.words("scope"),
		ScopeSaid:       r.object["scope"] != nil,
		IssuedTokenType: m.text("issued_token_type"),
		Skew:            r.skew(),
	}
	if refresh != "" {
		a.Refresh = agent.NewSecret(refresh)
	}
	a.RefreshExpires = r.refreshExpires()
	kind := m.text("token_type")
	switch {
	case m.err != nil:
		return Answer{}, transient("its answer is not a token response: %w", m.err)
	case access == "":
		return Answer{}, transient("its answer is not a token response: it has no access_token")
	}
	if len(m.odd) > 0 {
		a.Odd = "in the issuer's answer " + strings.Join(m.odd, ", and ") + "; RFC 6749 section 5.1 has them otherwise, and they are understood"
	}
	if f := checkType(kind, grant); f != nil {
		return Answer{}, f
	}
	return a, nil
}

// refreshExpires is when the refresh token ends, as Keycloak and others say it. A value that
// cannot be read is no reason to refuse the answer.
func (r *reply) refreshExpires() time.Time {
	for _, name := range []string{"refresh_expires_in", "refresh_token_expires_in"} {
		m := reader{object: r.object}
		if life := m.seconds(name); m.err == nil && life > 0 {
			return r.sent.Add(life)
		}
	}
	return time.Time{}
}

// checkType is a fault unless the reader of a file can use the token: its token_type is
// Bearer (RFC 6750), or N_A for what an exchange gives for somebody else (RFC 8693 section
// 2.2.1). A token that is bound to a key is useless in a file.
func checkType(name, grant string) *agent.Fault {
	switch {
	case strings.EqualFold(name, "bearer"):
		return nil
	case strings.EqualFold(name, "N_A") && grant == GrantTokenExchange:
		return nil
	case strings.EqualFold(name, "DPoP"):
		return misconfigured("token_type: the issuer binds its tokens to a key (DPoP), so no reader of a file can use them; have it give the client Bearer tokens")
	case name == "":
		return transient("its answer is not a token response: it has no token_type, which must be Bearer")
	}
	return misconfigured("token_type: it is not Bearer, and a reader of a file can use no other; see the client's settings at the issuer")
}

// A reader takes members of an object that somebody else wrote. err is the first member that
// cannot be used; odd names those that can, and are not as the RFC has them.
type reader struct {
	object map[string]any
	err    error
	odd    []string
}

func (m *reader) fault(name string, err error) {
	if m.err == nil && err != nil {
		m.err = at(name, err)
	}
}

// text is a string; "" where it is null or not there.
func (m *reader) text(name string) string {
	value := m.object[name]
	text, ok := value.(string)
	if !ok && value != nil {
		m.fault(name, errors.New("it is not a string"))
	}
	return text
}

// words are those of a string, or, as some issuers have it, of a list of strings.
func (m *reader) words(name string) []string {
	if _, isList := m.object[name].([]any); isList {
		m.odd = append(m.odd, name+" is an array")
		return strings.Fields(strings.Join(m.texts(name), " "))
	}
	return strings.Fields(m.text(name))
}

// mostAddress is more characters than any real address has.
const mostAddress = 2000

// address is the text of a URL, which consists of visible ASCII characters (RFC
// 3986 section 2) and so can be shown to anybody; "" where it is null or not there.
func (m *reader) address(name string) string {
	text := m.text(name)
	if len(text) > mostAddress || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		m.fault(name, fmt.Errorf("it is not a URL of at most %d visible ASCII characters (RFC 3986)", mostAddress))
	}
	return text
}

// texts are the strings of a list; nil where it is null or not there.
func (m *reader) texts(name string) []string {
	value := m.object[name]
	list, ok := value.([]any)
	if !ok && value != nil {
		m.fault(name, errors.New("it is not a list of strings"))
	}
	var texts []string
	for _, element := range list {
		text, ok := element.(string)
		if !ok {
			m.fault(name, errors.New("it is not a list of strings"))
		}
		texts = append(texts, text)
	}
	return texts
}

// access is the text of a token; "" where it is null or not there.
func (m *reader) access(name string) string {
	text := m.text(name)
	if text != "" {
		m.fault(name, agent.CheckText(text))
	}
	return text
}

// visible is a secret that is only sent back, as a refresh token: visible ASCII (RFC
// 6749 appendix A.17), of a length that is kept; "" where it is null or not there.
func (m *reader) visible(name string) string {
	text := m.text(name)
	switch {
	case len(text) > agent.MaxText:
		m.fault(name, fmt.Errorf("it has %d bytes; at most %d are kept", len(text), agent.MaxText))
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		m.fault(name, errors.New("it holds a line end, a blank or another character that no token may have"))
	}
	return text
}

// jsonNumber is what JSON takes for one (RFC 8259 section 6).
var jsonNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// seconds is a time: a number, or, as some issuers have it, a string that is one; 0
// where it is 0 or not there.
func (m *reader) seconds(name string) time.Duration {
	var digits string
	switch value := m.object[name].(type) {
	case nil:
		return 0
	case json.Number:
		digits = value.String()
	case string:
		digits = strings.TrimSpace(value)
		if !jsonNumber.MatchString(digits) {
			m.fault(name, errors.New("it is a text, not a number of seconds"))
			return 0
		}
		m.odd = append(m.odd, name+" is a text")
	default:
		m.fault(name, errors.New("it is not a number of seconds"))
		return 0
	}
	if strings.Trim(digits, "-0123456789") != "" {
		m.odd = append(m.odd, name+" is not written as a whole number")
	}
	life, err := parseSeconds(digits)
	if err != nil {
		m.fault(name, err)
	}
	return life
}

func parseSeconds(digits string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(digits, 64)
	switch {
	case seconds < 0:
		return 0, errors.New("it is negative, so it is over before it came")
	case err != nil || seconds > agent.MaxLife.Seconds():
		return 0, errors.New("it is more than ten years; is it in milliseconds? It must be in seconds")
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
