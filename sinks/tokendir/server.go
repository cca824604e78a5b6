package tokendir

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// A server says what servers of one version make of a token that a client sends.
type server struct {
	version Version
	now     time.Time
	genuine func(token, issuer, keyID string) (known, ok bool) // see Reader.Genuine; nil: nothing is known
}

// A refusal is a rule by which a token is of no use though it is sent. Each was
// seen on 23.9.6 and 25.13.2, or on one of them alone.
type refusal struct {
	claim       string // or header parameter that it is about
	state       State
	from, until Version // the versions that go by the rule; zero: all
	why         func(server, sent) string
}

// sent is a token as it is sent.
type sent struct {
	profile.Token
	text string
}

// refusals are the rules in the order in which they count.
var refusals = []refusal{
	{"scope", Hangs, Version{}, version25, when(hasScopeList, "its scope is a list, and a client hangs on that for 20 s")},
	{"alg", Refused, Version{}, Version{}, when(func(t sent) bool { return text(t.Header["alg"]) == "" }, "its header has no alg")},
	{"alg", Refused, Version{}, Version{}, server.signature},
	{"sub", Refused, Version{}, Version{}, server.subject},
	{"exp", Malformed, Version{}, Version{}, server.malformed},
	{"exp", Expired, Version{}, Version{}, server.expired},
	{"exp", Expired, version25, Version{}, server.wrapped},
	{"scope", Refused, version25, Version{}, when(hasScopeList, "its scope is a list; servers want one string")},
	{"cap", Refused, version25, Version{}, when(isCapability, "cap is true, so servers look the token up in their database of capabilities")},
	{"sub", Refused, version25, Version{}, when(cutsSubject, "its sub has a NUL")},
	{"jti", Refused, version2561, Version{}, when(func(t sent) bool { return text(t.Claims["jti"]) == "" }, "it has no jti, which servers need")},
}

// when is a rule with one text.
func when(refused func(sent) bool, why string) func(server, sent) string {
	return func(_ server, t sent) string {
		if refused(t) {
			return why
		}
		return ""
	}
}

func hasScopeList(t sent) bool { _, list := t.Claims["scope"].([]any); return list }

func isCapability(t sent) bool { held, _ := t.Claims["cap"].(bool); return held }

// cutsSubject reports whether sub has a NUL. Older servers cut the identity there.
func cutsSubject(t sent) bool { return strings.Contains(text(t.Claims["sub"]), "\x00") }

// verdict is what becomes of the token, and which claim decides. For an unknown version
// every rule counts, and why names the versions that have it.
func (s server) verdict(t sent) (state State, claim, why string) {
	for _, r := range refusals {
		if !s.version.within(r.from, r.until) {
			continue
		}
		why := r.why(s, t)
		switch {
		case why == "":
			continue
		case s.version == (Version{}) && r.from != (Version{}):
			why += fmt.Sprintf(" (from HTCondor %v on; before, the token is accepted)", r.from)
		case s.version == (Version{}) && r.until != (Version{}):
			why += fmt.Sprintf(" (before HTCondor %v; later ones refuse the token)", r.until)
		}
		return r.state, r.claim, why
	}
	return Valid, "", ""
}

// macSizes are how many characters of base64url the signature of an algorithm
// has. HTCondor goes by the name in the header, none included.
var macSizes = map[string]int{"HS256": 43, "HS384": 64, "HS512": 86, "none": 0}

// signature finds one that is cut short or was made with another key.
func (s server) signature(t sent) string {
	alg := text(t.Header["alg"])
	size, known := macSizes[alg]
	if !known {
		size = macSizes["HS256"]
	}
	has := len(t.text) - strings.LastIndexByte(t.text, '.') - 1
	switch {
	case has != size && !known:
		return fmt.Sprintf("it is signed with %q; a server of IDTOKENs makes and takes HS256", alg)
	case has != size:
		return fmt.Sprintf("its signature has %d characters; one of %s has %d", has, alg, size)
	case s.genuine == nil:
		return ""
	}
	if known, ok := s.genuine(t.text, text(t.Claims["iss"]), text(t.Header["kid"])); known && !ok {
		return fmt.Sprintf("it is not signed with this host's key %q, or was changed", text(t.Header["kid"]))
	}
	return ""
}

func (s server) subject(t sent) string {
	sub, there := t.Claims["sub"]
	switch {
	case !there && s.version == (Version{}):
		return "it has no sub, so it names no user (HTCondor 23 passes it over, 25 sends it)"
	case !there:
		return "it has no sub, so it names no user"
	case sub == "":
		return "its sub is empty, so it names no user"
	}
	return ""
}

func (s server) malformed(t sent) string {
	for _, claim := range []string{"exp", "iat"} {
		v, there := t.Claims[claim]
		if _, number := v.(float64); there && !number {
			return claim + ": it is not a number"
		}
	}
	return ""
}

func (s server) expired(t sent) string {
	if _, number := t.Claims["exp"].(float64); number {
		return s.time(t, "exp")
	}
	return ""
}

// time is what is wrong with the claim at this time.
func (s server) time(t sent, claim string) string {
	for _, p := range profile.Times(t.Token, s.now) {
		if p.Claim == claim {
			return p.Text
		}
	}
	return ""
}

// wrapped finds an exp that overflows an int64 of nanoseconds into a time that has
// passed.
func (s server) wrapped(t sent) string {
	const most = math.MaxInt64 / int64(time.Second)
	exp, there := t.Claims["exp"].(float64)
	if !there || exp <= float64(most) || exp > 1<<62 {
		return ""
	}
	if int64(exp)*int64(time.Second) > s.now.UnixNano() { // int64 wraps as theirs does
		return ""
	}
	return fmt.Sprintf("exp: %.0f is too late for HTCondor, which takes it for a time that has passed; at most %d is allowed", exp, most)
}

// remarks are what HTCondor accepts and a person may not.
func (s server) remarks(t sent) []string {
	var found []string
	for _, claim := range []string{"nbf", "iat"} {
		if why := s.time(t, claim); why != "" {
			found = append(found, claim+": "+why+"; HTCondor does not look at it")
		}
	}
	if text(t.Header["alg"]) == "none" {
		found = append(found, "alg: it is not signed")
	}
	return found
}
