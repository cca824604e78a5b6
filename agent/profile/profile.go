// Package profile knows what WLCG, SciTokens, HTCondor and ClusterCockpit demand
// of a token: pure functions over its header and claims. It verifies no
// signature, and knows no file, clock or network.
//
// Its sources are the WLCG Common JWT Profiles 1.x, the SciTokens claims 2.0, the
// HTCondor manual on IDTOKENS, ClusterCockpit's cc-backend, RFC 7515 and RFC
// 7519, and what scitokens-cpp, XRootD and HTCondor were seen to refuse.
package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Token is the readable part of a JWT. Of one made by [Decode] nothing has
// been verified. One built by hand, to check claims before they are signed, may
// hold string, bool, int64, float64, []string, []any and map[string]any.
type Token struct {
	Header map[string]any // alg, typ, kid …
	Claims map[string]any // numbers as json.Number, exactly as they were written
}

// A Problem is one way in which a token falls short.
type Problem struct {
	Claim   string // the claim or header parameter, such as "aud", "wlcg.ver" or "kid"; "" for the token as a whole
	Text    string // what is wrong, and what is allowed
	Warning bool   // false: verifiers refuse the token, or it means something else than was asked for
}

// String is the text behind the claim's name: "aud: it is missing; …".
func (p Problem) String() string {
	if p.Claim == "" {
		return p.Text
	}
	return p.Claim + ": " + p.Text
}

// rules are what one profile demands.
type rules struct {
	algorithms []string       // nil: any but none
	claims     map[string]any // what the profile itself sets
	check      func(*checker)
}

var profiles = map[string]rules{
	"": {check: checkPlain},
	"wlcg": {
		algorithms: []string{"RS256", "ES256"},
		claims:     map[string]any{"wlcg.ver": "1.0"},
		check:      checkWLCG,
	},
	"scitokens": {
		algorithms: []string{"RS256", "ES256"},
		claims:     map[string]any{"ver": "scitoken:2.0"},
		check:      checkSciTokens,
	},
	"htcondor":       {algorithms: []string{"HS256"}, check: checkHTCondor},
	"clustercockpit": {algorithms: []string{"EdDSA"}, check: checkClusterCockpit},
}

// Names returns the names of the profiles, as a token block's profile takes them.
func Names() []string {
	return []string{"wlcg", "scitokens", "htcondor", "clustercockpit"}
}

// Algorithms returns the values of the header parameter alg (RFC 7518) that the
// profile allows; nil for any.
func Algorithms(profile string) []string { return slices.Clone(profiles[profile].algorithms) }

// Claims returns the claims that the profile itself sets: its version; nil when
// it sets none.
func Claims(profile string) map[string]any { return maps.Clone(profiles[profile].claims) }

// Check returns what is wrong with t under the profile, header first, in a fixed
// order; nil when nothing is. It depends on no clock: see [Times] for that.
func Check(profile string, t Token) []Problem {
	p, known := profiles[profile]
	if !known {
		text := fmt.Sprintf("there is no profile %q%s", profile, orNearest(profile, Names()))
		return []Problem{{Text: text}}
	}
	c := &checker{Token: t}
	c.algorithm(p.algorithms)
	c.version(p.claims)
	p.check(c)
	return c.problems
}

// Detect guesses the profile of a token that somebody else made; "" when it
// resembles none.
func Detect(t Token) string {
	version, _ := t.Claims["ver"].(string)
	_, roles := t.Claims["roles"]
	switch {
	case t.Claims["wlcg.ver"] != nil:
		return "wlcg"
	case strings.HasPrefix(strings.ToLower(version), "scitoken"):
		return "scitokens"
	case t.Header["alg"] == "HS256":
		return "htcondor"
	case t.Header["alg"] == "EdDSA" && roles:
		return "clustercockpit"
	default:
		return ""
	}
}

// checkPlain holds what RFC 7519 says of any JWT.
func checkPlain(c *checker) {
	c.times(c.warn)
	c.expiry(c.warn)
	if _, there := c.Claims["exp"]; !there {
		c.warn("exp", "it is missing, so the token never expires; give it a lifetime")
	}
	for _, name := range []string{"iss", "sub", "jti"} {
		c.optionalText(name)
	}
	_, single := c.Claims["scope"].(string)
	if _, ok := texts(c.Claims["scope"]); ok && !single {
		c.warn("scope", "it is an array; RFC 9068 has one string of words, and some readers take nothing else")
	} else {
		c.optionalText("scope")
	}
	c.audience()
}

// A checker gathers the problems of one token.
type checker struct {
	Token
	problems []Problem
}

func (c *checker) fault(claim, format string, args ...any) {
	c.problems = append(c.problems, Problem{Claim: claim, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) warn(claim, format string, args ...any) {
	c.problems = append(c.problems, Problem{Claim: claim, Text: fmt.Sprintf(format, args...), Warning: true})
}

// faulty reports whether an error, not just a warning, was found at the claim.
func (c *checker) faulty(claim string) bool {
	return slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Claim == claim && !p.Warning })
}

// algorithm checks the header parameter alg.
func (c *checker) algorithm(allowed []string) {
	alg, _ := c.Header["alg"].(string)
	switch {
	case alg == "":
		c.fault("alg", "it is missing%s", allowedAre(allowed))
	case strings.EqualFold(alg, "none"):
		c.fault("alg", "the token is not signed%s", allowedAre(allowed))
	case allowed != nil && !slices.Contains(allowed, alg):
		c.fault("alg", "%q is not allowed here%s", alg, allowedAre(allowed))
	}
}

// version checks the version claims: the profile's own is there, no other is.
// With none, a verifier takes the token for SciTokens 1.0, where any claim that
// it does not know is fatal.
func (c *checker) version(own map[string]any) {
	for _, name := range []string{"ver", "wlcg.ver"} {
		wanted, mine := own[name]
		got, there := c.Claims[name]
		switch {
		case mine && !there:
			c.fault(name, "it is missing; it must be %q, else the token is taken for SciTokens 1.0", wanted)
		case mine && got != wanted && name == "ver" && sameVersion(got) == wanted:
			c.warn(name, "it is %s, which not every verifier takes; scitokens-cpp and Pelican do, the Python library of SciTokens wants %q", show(got), wanted)
		case mine && got != wanted:
			c.fault(name, "it is %s; it must be the string %q, spelt so", show(got), wanted)
		case !mine && there && own != nil:
			c.fault(name, "it belongs to another profile; leave it out")
		}
	}
}

// sameVersion is the version of SciTokens as this package spells it. Some issuers write a
// letter more, and most verifiers take both.
func sameVersion(ver any) any {
	if ver == "scitokens:2.0" {
		return "scitoken:2.0"
	}
	return ver
}

func allowedAre(words []string) string {
	switch len(words) {
	case 0:
		return "; any of RFC 7518 is allowed, but none"
	case 1:
		return "; allowed is " + words[0]
	default:
		return "; allowed are " + strings.Join(words, ", ")
	}
}
