package profile

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// Matches returns what a finished token lacks of what was asked for, because issuers narrow
// silently. It must have the subject and the further claims of req, and at least its audience
// and scope; [Exceeds] finds what is too much. Its lifetime is not compared: a shorter one is
// renewed sooner. An IDTOKEN of HTCondor's has no limit exactly when req wants none.
func Matches(t Token, req agent.Request) []Problem {
	c := &checker{Token: t}
	if req.Subject != "" && t.Claims["sub"] != req.Subject {
		c.fault("sub", "it is %s; %q was asked for", shown(t.Claims, "sub"), req.Subject)
	}
	got, _ := texts(t.Claims["aud"])
	if miss := CompareAudience(req.Audience, got).Missing; len(miss) > 0 {
		c.fault("aud", "it is %s; %s was asked for too", shown(t.Claims, "aud"), strings.Join(miss, ", "))
	}
	if miss := CompareScope(req.Scope, Scope(req.Profile, t)).Missing; len(miss) > 0 {
		c.fault("scope", "%s; %s was asked for too", c.scopeShown(req.Profile), strings.Join(miss, " "))
	}
	c.groupsAsked(req)
	if req.Profile == "htcondor" {
		c.limit(req.Unlimited)
	}
	for _, name := range slices.Sorted(maps.Keys(req.Claims)) {
		if !Same(name, t.Claims[name], req.Claims[name]) {
			c.fault(name, "it is %s; %s was asked for", shown(t.Claims, name), show(req.Claims[name]))
		}
	}
	return c.problems
}

// Scope are the words of a token's scope as its readers take them: under a profile those
// of the one string that the profile wants, else also those of an array, and of the claim
// scp, a string or an array (Microsoft, Okta).
func Scope(profile string, t Token) []string {
	if profile != "" {
		text, _ := t.Claims["scope"].(string)
		return strings.Fields(text)
	}
	return slices.Concat(words(t.Claims["scope"]), words(t.Claims["scp"]))
}

// scopeShown says what the scope is.
func (c *checker) scopeShown(profile string) string {
	_, there := c.Claims["scope"]
	scp, instead := c.Claims["scp"]
	switch {
	case instead && profile != "":
		return fmt.Sprintf("it is %s, and readers of the profile %s do not look into scp", shown(c.Claims, "scope"), profile)
	case instead && !there:
		return "it is missing, and scp is " + show(scp)
	}
	return "it is " + shown(c.Claims, "scope")
}

// groupsAsked compares the groups that the scope asks for by name with the claim that an
// issuer turns them into (WLCG profile 1.3, section 3.1). A token of no profile may name
// its groups elsewhere.
func (c *checker) groupsAsked(req agent.Request) {
	claim, there := c.Claims["wlcg.groups"]
	got, _ := texts(claim)
	var miss []string
	for _, word := range req.Scope {
		group, named := strings.CutPrefix(word, "wlcg.groups:")
		group = strings.TrimSuffix(group, "/")
		if named && group != "" && !slices.Contains(got, group) && (there || req.Profile == "wlcg") {
			miss = append(miss, group)
		}
	}
	if len(miss) > 0 {
		c.fault("wlcg.groups", "it is %s; %s was asked for too", shown(c.Claims, "wlcg.groups"), strings.Join(miss, ", "))
	}
}

// An Excess is what a token has beyond what was asked for.
type Excess struct {
	Wider  []Problem // what lets its bearer do more
	Beside []string  // what grants nothing that is known, in words: "the scope openid"
}

// Exceeds returns what t has beyond the scope and audience of req. said are further words of its
// scope, which its issuer told beside it; a token that cannot be read has only these. The words
// of an array and of the claim scp count too, because some reader may take them.
func Exceeds(t Token, said []string, req agent.Request) Excess {
	var e Excess
	got := slices.Concat(said, anyWords(t.Claims["scope"]), anyWords(t.Claims["scp"]))
	scope := CompareScope(req.Scope, got)
	if len(scope.Wider) > 0 {
		e.Wider = append(e.Wider, Problem{Claim: "scope", Text: fmt.Sprintf("%s allows more than %s, which was asked for", some(scope.Wider), some(req.Scope))})
	}
	if len(scope.Beside) > 0 {
		e.Beside = append(e.Beside, "the scope "+some(scope.Beside))
	}
	entries, _ := texts(t.Claims["aud"])
	aud := CompareAudience(req.Audience, entries)
	if len(aud.Wider) > 0 {
		e.Wider = append(e.Wider, Problem{Claim: "aud", Text: fmt.Sprintf("%s means every service, and %s was asked for", some(aud.Wider), some(req.Audience))})
	}
	if len(aud.Beside) > 0 {
		e.Beside = append(e.Beside, "the audience "+some(aud.Beside))
	}
	return e
}

// words are those of a scope that is one string, or an array of them.
func words(v any) []string {
	list, _ := texts(v)
	return strings.Fields(strings.Join(list, " "))
}

// anyWords are those of a list too that has more than strings: some reader may pass over
// the rest.
func anyWords(v any) (found []string) {
	list, isList := v.([]any)
	if !isList {
		return words(v)
	}
	for _, element := range list {
		found = append(found, anyWords(element)...)
	}
	return found
}

// some shows words, but not thousands of them.
func some(list []string) string {
	const most, longest = 6, 80
	text := ""
	for i, w := range list {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(list)-most)
		}
		end := ""
		if len(w) > longest {
			w, end = w[:longest], "…"
		}
		if strings.ContainsFunc(w, notScope) {
			w = strconv.QuoteToASCII(w)
		}
		text += strings.Repeat(" ", min(i, 1)) + w + end
	}
	return text
}

// limit compares whether an IDTOKEN has limits with whether it is to have none.
func (c *checker) limit(unlimited bool) {
	scope := c.Claims["scope"]
	none := scope == nil || scope == ""
	if none && !unlimited {
		c.fault("scope", "it is missing, so the token has no limit at all; write what it may do, such as condor:/READ, or ask for that by unlimited = true")
	}
	if !none && unlimited {
		c.fault("scope", "it is %s, but a token without limit was asked for; leave out the scope or unlimited", show(scope))
	}
}

// Audience returns why a service that goes by that name refuses t: of the claim aud
// no entry is that name, nor the one by which the profile means every service.
func Audience(profile string, t Token, service string) []Problem {
	c := &checker{Token: t}
	got, _ := texts(t.Claims["aud"])
	everybody := map[string]string{"wlcg": anyWLCG, "scitokens": anySciTokens}[profile]
	if !slices.Contains(got, service) && (everybody == "" || !slices.Contains(got, everybody)) {
		c.fault("aud", "it is %s, so %q refuses the token; ask its issuer for that audience", shown(t.Claims, "aud"), service)
	}
	return c.problems
}

// Times returns why t is not valid at the time now: not yet, or no longer. It gives no leeway,
// because verifiers of these systems give none.
func Times(t Token, now time.Time) []Problem {
	c := &checker{Token: t}
	if iat, ok := c.until("iat", now); ok && iat > 0 {
		c.fault("iat", "it is %s in the future; set the clock of whoever issued it", seconds(math.Ceil(iat)))
	}
	if nbf, ok := c.until("nbf", now); ok && nbf > 0 {
		c.fault("nbf", "the token becomes valid in %s", seconds(math.Ceil(nbf)))
	}
	if exp, ok := c.until("exp", now); ok && exp <= 0 {
		c.fault("exp", "the token expired %s ago", seconds(math.Floor(-exp)))
	}
	return c.problems
}

// until is how many seconds after now the time in the claim is; false where there is none. A
// claim that is not a number is a fault.
func (c *checker) until(claim string, now time.Time) (float64, bool) {
	v, there := c.Claims[claim]
	if !there {
		return 0, false
	}
	at, ok := float(v)
	if !ok {
		c.fault(claim, "it is %s, not a number, so verifiers refuse the token", show(v))
	}
	return at - float64(now.UnixMicro())/1e6, ok
}

// missing returns the words of wanted that are not in got.
func missing(wanted, got []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(w string) bool { return slices.Contains(got, w) })
}

// Same reports whether two values of the claim, of which either may have been
// decoded, say the same: 1, 1.0 and json.Number("1") do, and of aud a string and
// an array with just that string (RFC 7519 section 4.1.3), and of ver both spellings of
// SciTokens 2.0.
func Same(claim string, a, b any) bool {
	if claim == "ver" {
		a, b = sameVersion(a), sameVersion(b)
	}
	x, okX := texts(a)
	y, okY := texts(b)
	if claim == "aud" && okX && okY {
		return slices.Equal(x, y)
	}
	return same(a, b)
}

func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, same)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, same)
	}
	if m, ok := integer(a); ok {
		if n, ok := integer(b); ok {
			return m == n
		}
	}
	if x, ok := float(a); ok && !math.IsInf(x, 0) {
		y, ok := float(b)
		return ok && x == y
	}
	return reflect.DeepEqual(a, b)
}
