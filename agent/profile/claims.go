package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// maxSubject is how many bytes sub may have (OpenID Connect Core section 2).
const maxSubject = 255

const (
	anySciTokens = "ANY"                             // every audience, under scitokens
	anyWLCG      = "https://wlcg.cern.ch/jwt/v1/any" // every audience, under wlcg
)

// signedHeader checks the header of a token that is verified with its issuer's
// published keys.
func (c *checker) signedHeader() {
	if kid, _ := c.Header["kid"].(string); kid == "" {
		c.fault("kid", "it is missing; without it no verifier finds the key in the issuer's JWKS")
	}
	if typ, _ := c.Header["typ"].(string); typ != "JWT" {
		c.warn("typ", "it is %s; most readers expect \"JWT\"", shown(c.Header, "typ"))
	}
}

// meanings say what is to be in a claim that must be there.
var meanings = map[string]string{
	"iss": "it names the issuer",
	"sub": "it names whom the token speaks for",
	"jti": "it is a random name, new in each token",
}

// text returns a claim that must be a string that is not empty.
func (c *checker) text(name string) (string, bool) {
	v, there := c.Claims[name]
	s, isText := v.(string)
	switch {
	case !there:
		c.fault(name, "it is missing; %s", meanings[name])
	case !isText:
		c.fault(name, "it is %s; a string is allowed", show(v))
	case s == "":
		c.fault(name, "it is empty; leave it out or say something")
	}
	return s, isText && s != ""
}

// optionalText checks a claim that must be a string where it is there.
func (c *checker) optionalText(name string) (string, bool) {
	if _, there := c.Claims[name]; !there {
		return "", false
	}
	return c.text(name)
}

// issuerURL checks iss as RFC 8414 section 2 wants it.
func (c *checker) issuerURL() {
	iss, ok := c.text("iss")
	if !ok {
		return
	}
	u, err := url.Parse(iss)
	if err != nil || !strings.HasPrefix(iss, "https://") || u.Hostname() == "" || u.User != nil || strings.IndexFunc(iss, notIssuer) >= 0 {
		c.fault("iss", "%q is not an issuer; it must be a URL that begins with https://, without query or fragment, byte for byte as in the issuer's metadata", iss)
	}
}

// notIssuer reports whether no issuer has the character: it is none of those that
// RFC 3986 section 2 allows, or begins a query or fragment.
func notIssuer(r rune) bool {
	return notPrintableASCII(r) || strings.ContainsRune(" \"<>\\^`{|}?#", r)
}

// subject checks sub, and returns it when it is usable.
func (c *checker) subject() (string, bool) {
	sub, ok := c.text("sub")
	if !ok {
		return "", false
	}
	if len(sub) > maxSubject {
		c.fault("sub", "it has %d bytes; at most %d are allowed", len(sub), maxSubject)
	}
	if i := strings.IndexFunc(sub, notPrintableASCII); i >= 0 {
		c.fault("sub", "%q has a character that is not allowed; printable ASCII is", sub)
		return "", false
	}
	return sub, true
}

func notPrintableASCII(r rune) bool { return r < ' ' || r > '~' }

// audience checks the form of aud (RFC 7519 section 4.1.3) and returns its entries.
func (c *checker) audience() []string {
	v, there := c.Claims["aud"]
	if !there {
		return nil
	}
	entries, ok := texts(v)
	if !ok {
		c.fault("aud", "it is %s; it must be a string, or an array of strings", show(v))
		return nil
	}
	_, single := v.(string)
	if len(entries) == 0 {
		c.fault("aud", "it has no entries, so that nobody may accept the token; name one, or leave it out")
	}
	if len(entries) == 1 && !single {
		c.warn("aud", "one entry is written as a string, not as an array; some readers take only that")
	}
	for i, entry := range entries {
		if entry == "" || strings.IndexFunc(entry, notPrintableASCII) >= 0 || strings.Contains(entry, " ") {
			c.fault("aud", "%q is not an audience; it is printable ASCII without blanks", entry)
		} else if slices.Contains(entries[:i], entry) {
			c.warn("aud", "%q is there twice; once is enough", entry)
		}
	}
	return entries
}

// neededAudience checks the aud of the profiles that demand one; wildcard is
// the profile's own word for every audience, foreign that of the other.
func (c *checker) neededAudience(wildcard, foreign string) {
	entries := c.audience()
	if len(entries) == 0 && !c.faulty("aud") {
		c.fault("aud", "it is missing; name who is to accept the token (a CE as host:9619, a storage as its URL), or %s for everybody", wildcard)
	}
	for _, entry := range entries {
		if entry == foreign {
			c.warn("aud", "%s means everybody in another profile; here that is %s", foreign, wildcard)
		}
		if host, isURL := strings.CutPrefix(entry, "https://"); isURL && strings.HasSuffix(host, ":9619") {
			c.warn("aud", "%q is a URL; an HTCondor-CE expects %q", entry, host)
		}
	}
}

// times checks that exp, iat and nbf, where they are there, are whole numbers
// in a sensible order. RFC 7519 allows fractions, which most verifiers of these
// systems refuse: say is how grave one is.
func (c *checker) times(say func(claim, format string, args ...any)) {
	for _, name := range []string{"exp", "iat", "nbf"} {
		if v, there := c.Claims[name]; there {
			c.time(name, v, say)
		}
	}
	exp, hasExp := float(c.Claims["exp"])
	iat, hasIat := float(c.Claims["iat"])
	nbf, hasNbf := float(c.Claims["nbf"])
	if hasExp && hasIat && exp <= iat {
		c.fault("exp", "the token is never valid; exp must be later than iat")
	}
	if hasNbf && hasExp && nbf >= exp {
		c.fault("nbf", "the token is never valid; nbf must be earlier than exp")
	}
}

// time checks one claim of times.
func (c *checker) time(name string, v any, say func(claim, format string, args ...any)) {
	n, number := float(v)
	_, whole := integer(v)
	switch {
	case whole:
	case !number:
		c.fault(name, "it is %s; it must be a whole number of seconds since 1970", show(v))
	case math.Abs(n) >= 1<<63:
		c.fault(name, "it is %s, which is too large; it must be a whole number of seconds since 1970", show(v))
	default:
		say(name, "it is %s; it must be a whole number of seconds", show(v))
	}
}

// neededTimes is times for profiles whose verifiers demand the named claims.
func (c *checker) neededTimes(names ...string) {
	for _, name := range names {
		if _, there := c.Claims[name]; !there {
			c.fault(name, "it is missing; verifiers refuse the token without it")
		}
	}
	c.times(c.fault)
}

// FarAhead says of a time that it is of no use.
const FarAhead = "more than ten years ahead (milliseconds?)"

// expiry checks that exp is no absurdity. A token that lives for more than ten
// years may be meant under no profile: say is how grave that is. One that is
// [Distant] is always an error.
func (c *checker) expiry(say func(claim, format string, args ...any)) {
	exp, hasExp := float(c.Claims["exp"])
	iat, hasIat := float(c.Claims["iat"])
	switch {
	case !hasExp || c.faulty("exp"):
	case Distant(c.Claims["exp"]):
		c.fault("exp", "it is %s; seconds since 1970 are wanted", FarAhead)
	case hasIat && exp-iat > agent.MaxLife.Seconds():
		say("exp", "it is %s; seconds since 1970 are wanted", FarAhead)
	}
}

// A lifespan is how long the tokens of a profile are to live.
type lifespan struct {
	least, most time.Duration
	custom      string // "recommended" or "usual"
}

// lifetime warns of a life outside the span.
func (c *checker) lifetime(span lifespan) {
	exp, hasExp := float(c.Claims["exp"])
	iat, hasIat := float(c.Claims["iat"])
	life := exp - iat
	switch {
	case !hasExp || !hasIat || life <= 0 || c.faulty("exp"):
	case life < span.least.Seconds():
		c.warn("exp", "the token lives %s; at least %s is %s", seconds(life), seconds(span.least.Seconds()), span.custom)
	case life > span.most.Seconds():
		c.warn("exp", "the token lives %s; at most %s is %s, since nobody can take it back", seconds(life), seconds(span.most.Seconds()), span.custom)
	}
}

// seconds writes a number of seconds as a duration, or as it is when that is too long.
func seconds(n float64) string {
	const longest = float64(math.MaxInt64 / int64(time.Second))
	if n > longest {
		return fmt.Sprintf("%.0f s", n)
	}
	text := (time.Duration(n) * time.Second).String()
	if short, whole := strings.CutSuffix(text, "m0s"); whole {
		text = short + "m"
	}
	if short, whole := strings.CutSuffix(text, "h0m"); whole {
		text = short + "h"
	}
	return text
}

// integer returns v when it is a whole number, also as json.Number in plain digits.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		return n, err == nil
	case int64:
		return v, true
	case int:
		return int64(v), true
	default:
		return 0, false
	}
}

// float returns v when it is a number of any kind; an infinity for one that no
// float64 holds.
func float(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil || errors.Is(err, strconv.ErrRange)
	default:
		n, ok := integer(v)
		return float64(n), ok
	}
}

// texts returns the strings of a string, or of an array that holds nothing else.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []string:
		return v, true
	case []any:
		list := make([]string, len(v))
		for i, entry := range v {
			text, ok := entry.(string)
			if !ok {
				return nil, false
			}
			list[i] = text
		}
		return list, true
	default:
		return nil, false
	}
}

// shown writes what is under the name, or that it is missing.
func shown(claims map[string]any, name string) string {
	v, there := claims[name]
	if !there {
		return "missing"
	}
	return show(v)
}

// show writes a claim's value as JSON has it, cut short.
func show(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("a %T", v)
	}
	const most = 60
	if len(data) > most {
		return strings.ToValidUTF8(string(data[:most]), "") + "…"
	}
	return string(data)
}
