package profile

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// How long tokens are to live: the WLCG profile, section on lifetimes, and what is
// usual for SciTokens.
var (
	wlcgLife      = lifespan{15 * time.Minute, 6 * time.Hour, "recommended"}
	sciTokensLife = lifespan{20 * time.Minute, 2 * time.Hour, "usual"}
)

// checkWLCG holds the WLCG Common JWT Profiles 1.x.
func checkWLCG(c *checker) {
	c.signedHeader()
	c.issuerURL()
	c.subject()
	c.neededAudience(anyWLCG, anySciTokens)
	c.neededTimes("exp", "iat", "nbf")
	c.expiry(c.fault)
	c.lifetime(wlcgLife)
	c.text("jti")
	words, ok := c.scopeWords()
	if ok {
		c.grants(words, wlcgWords)
	}
	groups := c.groups()
	if !ok && !groups && !c.faulty("scope") && !c.faulty("wlcg.groups") {
		c.fault("scope", "it is missing; a WLCG token has a scope (storage.read:/PATH, compute.read …) or the claim wlcg.groups")
	}
}

// groups checks wlcg.groups, and reports whether it names any.
func (c *checker) groups() bool {
	v, there := c.Claims["wlcg.groups"]
	if !there {
		return false
	}
	groups, ok := texts(v)
	if _, isText := v.(string); isText || !ok {
		c.fault("wlcg.groups", "it is %s; it must be an array of strings such as [\"/cms/Role=pilot\", \"/cms\"]", show(v))
		return false
	}
	for i, group := range groups {
		if !strings.HasPrefix(group, "/") || strings.HasSuffix(group, "/") || strings.Contains(group, ",") {
			c.fault("wlcg.groups", "%q is not a group; it is written /cms or /cms/Role=pilot, one an entry", group)
			continue
		}
		if slices.Contains(groups[:i], group) {
			c.warn("wlcg.groups", "%q is there twice; once is enough", group)
		} else if j := slices.IndexFunc(groups[:i], func(g string) bool { return strings.HasPrefix(group, g+"/") }); j >= 0 {
			c.warn("wlcg.groups", "%q stands behind %q; the most specific group comes first", group, groups[j])
		}
	}
	return len(groups) > 0
}

// checkSciTokens holds the SciTokens claims 2.0.
func checkSciTokens(c *checker) {
	c.signedHeader()
	c.issuerURL()
	c.subject()
	c.neededAudience(anySciTokens, anyWLCG)
	c.neededTimes("exp", "iat", "nbf")
	c.expiry(c.fault)
	c.lifetime(sciTokensLife)
	if _, there := c.Claims["jti"]; !there {
		c.warn("jti", "it is missing; without it no log can tell two tokens apart")
	} else {
		c.text("jti")
	}
	if words, ok := c.scopeWords(); ok {
		c.grants(words, sciTokensWords)
	} else if !c.faulty("scope") {
		c.fault("scope", "it is missing; a SciToken says what it allows: read:/PATH, write:/PATH, condor:/READ, condor:/WRITE")
	}
}

// farthest is the latest exp that HTCondor can hold: the seconds of an int64 of
// nanoseconds.
const farthest = 9223372036

// checkHTCondor holds what HTCondor's IDTOKENS method demands.
func checkHTCondor(c *checker) {
	c.condorKey()
	if iss, ok := c.text("iss"); ok {
		c.trustDomain(iss)
	}
	if sub, ok := c.subject(); ok && !isUserAtDomain(sub) {
		c.warn("sub", "%q is not of the form user@domain; HTCondor takes it as it is, and its ALLOW rules must name it so", sub)
	}
	if _, there := c.Claims["aud"]; there {
		c.fault("aud", "an IDTOKEN has no audience; leave it out")
	}
	c.neededTimes("iat")
	exp, whole := integer(c.Claims["exp"])
	if _, there := c.Claims["exp"]; !there {
		c.warn("exp", "it is missing, so the token never expires; give it a lifetime")
	} else if whole && exp > farthest {
		c.fault("exp", "%d is later than HTCondor can hold; at most %d is allowed", exp, farthest)
	}
	if jti, ok := c.text("jti"); ok && !isLowerHex(jti, 32) {
		c.warn("jti", "HTCondor writes 32 lower-case hexadecimal digits; this is another form")
	}
	c.condorScope()
}

// condorKey checks kid, which names a file in the server's folder of keys and
// stands in the list of keys that the server tells its clients.
func (c *checker) condorKey() {
	kid, _ := c.Header["kid"].(string)
	if kid == "" {
		c.fault("kid", "it is missing; it is POOL, or the name of the key's file on the server")
	} else if kid == "." || strings.Contains(kid, "..") || !utf8.ValidString(kid) || strings.ContainsFunc(kid, unfitForKey) {
		c.fault("kid", `%q is not the name of a key; it has no / and no .., no blank, comma or control character, and is not "."`, kid)
	}
}

// unfitForKey reports whether r cannot stand in the name of a key of HTCondor's.
func unfitForKey(r rune) bool {
	return r == '/' || r == ',' || r == ' ' || !unicode.IsPrint(r)
}

func (c *checker) trustDomain(iss string) {
	if strings.ContainsAny(iss, ", \t") {
		c.fault("iss", "%q has a comma, blank or tab, which HTCondor refuses; it is the server's TRUST_DOMAIN", iss)
	} else if strings.Contains(iss, "://") {
		c.warn("iss", "%q is a URL; it is to be the server's TRUST_DOMAIN, byte for byte (condor_config_val TRUST_DOMAIN)", iss)
	}
}

// condorScope checks the limits of an IDTOKEN. One without any word that begins
// with exactly condor:/ has no limit at all, so that a typo gives full power.
// Leaving all words out may be meant: see Matches.
func (c *checker) condorScope() {
	words, ok := c.scopeWords()
	if !ok {
		if !c.faulty("scope") {
			c.warn("scope", "it is missing, so the token has no limit at all; write what it may do, such as condor:/READ")
		}
		return
	}
	for _, word := range words {
		c.condorWord(word, c.fault)
	}
	if !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "condor:/") }) {
		c.fault("scope", "no word begins with condor:/, so the token has no limit at all; write what it may do, such as condor:/READ")
	}
}

func isUserAtDomain(sub string) bool {
	user, domain, ok := strings.Cut(sub, "@")
	return ok && user != "" && domain != "" && !strings.ContainsAny(sub, " ,\t") && !strings.Contains(domain, "@")
}

func isLowerHex(text string, digits int) bool {
	return len(text) == digits && strings.Trim(text, "0123456789abcdef") == ""
}

// roles are those that ClusterCockpit's cc-backend knows.
var roles = []string{"api", "user", "manager", "support", "admin", "anonymous"}

// checkClusterCockpit holds what cc-backend and cc-metric-store demand.
func checkClusterCockpit(c *checker) {
	c.subject()
	c.neededTimes("iat", "exp")
	c.expiry(c.fault)
	v, there := c.Claims["roles"]
	list, ok := texts(v)
	_, isText := v.(string)
	switch {
	case !there:
		c.fault("roles", "it is missing; it is an array out of %s", strings.Join(roles, ", "))
		return
	case !ok || isText || len(list) == 0:
		c.fault("roles", "it is %s; it must be an array out of %s", show(v), strings.Join(roles, ", "))
		return
	}
	for _, role := range list {
		if !slices.Contains(roles, role) {
			c.fault("roles", "there is no role %q%s", role, orNearest(role, roles))
		}
	}
	if !slices.Contains(list, "api") {
		c.warn("roles", "the REST API needs the role api; add it, unless the token is for the pages alone")
	}
}
