package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// explainHeader says what one parameter of the header means.
func (r reading) explainHeader(name string, value any) []string {
	switch name {
	case "alg":
		return []string{"what it is signed with: " + algorithmInWords(fmt.Sprint(value))}
	case "kid":
		if r.Profile == "htcondor" {
			return []string{"the name of the signing key; the servers need one of that name"}
		}
		return []string{"the name of the signing key in what the issuer publishes"}
	case "typ":
		return []string{"what kind of object it is"}
	}
	return nil
}

// algorithms say by the beginning of alg what a token is signed with.
var algorithms = []struct{ prefix, meaning string }{
	{"none", "nothing at all; anybody can make such a token"},
	{"HS", "a secret that issuer and verifiers share"},
	{"RS", "an RSA key"},
	{"PS", "an RSA key"},
	{"ES", "a key on an elliptic curve"},
	{"EdDSA", "an Ed25519 key"},
	{"", "something unknown"},
}

func algorithmInWords(alg string) string {
	i := slices.IndexFunc(algorithms, func(a struct{ prefix, meaning string }) bool { return strings.HasPrefix(alg, a.prefix) })
	return algorithms[i].meaning
}

// explainClaim says what one claim means.
func (r reading) explainClaim(name string, value any) []string {
	if wanted := misshapen(name, value); wanted != "" {
		return []string{"not usable: it must be " + wanted}
	}
	switch name {
	case "iss":
		return []string{r.explainIssuer()}
	case "aud":
		return []string{audienceInWords(value)}
	case "scope":
		return r.explainScope(value)
	case "iat", "nbf", "exp":
		return []string{r.explainTime(name, value)}
	}
	if meaning := claims[name]; meaning != "" {
		return []string{meaning}
	}
	return nil
}

// claims are those that mean the same in every token.
var claims = map[string]string{
	"sub":         "whom the token stands for",
	"jti":         "the unique ID of this token",
	"ver":         "the version of the profile that it follows",
	"wlcg.ver":    "the version of the profile that it follows",
	"wlcg.groups": "the groups of the bearer; the first counts most",
	"roles":       "what the bearer may do in ClusterCockpit",
}

// misshapen is the kind of value that the claim must have; "" where it has it.
func misshapen(name string, value any) string {
	text, isText := value.(string)
	switch name {
	case "iss", "sub", "jti", "ver", "wlcg.ver", "scope":
		if !isText || text == "" {
			return "a string that is not empty"
		}
	case "aud":
		if text == "" && !isTexts(value) {
			return "a string, or an array of strings"
		}
	case "wlcg.groups", "roles":
		if !isTexts(value) {
			return "an array of strings"
		}
	}
	return ""
}

// isTexts reports whether the value is an array of strings with one at least.
func isTexts(value any) bool {
	list, _ := value.([]any)
	return len(list) > 0 && !slices.ContainsFunc(list, func(entry any) bool { _, isText := entry.(string); return !isText })
}

// explainIssuer says what verifiers do with the issuer.
func (r reading) explainIssuer() string {
	switch r.Profile {
	case "htcondor":
		return "the trust domain of the servers that it is for, byte for byte"
	case "clustercockpit":
		return "the issuer; the service has the key to verify it"
	}
	return "the issuer; verifiers look there for its keys, and compare it to the last slash"
}

func audienceInWords(value any) string {
	if value == "ANY" || value == "https://wlcg.cern.ch/jwt/v1/any" {
		return "for every service that trusts the issuer"
	}
	if _, several := value.([]any); several {
		return "the only services that may accept it"
	}
	return "the only service that may accept it"
}

// explainScope says what each word allows.
func (r reading) explainScope(value any) []string {
	text, ok := value.(string)
	if !ok {
		return nil
	}
	var lines []string
	for _, word := range strings.Fields(text) {
		meaning := profile.Meaning(word)
		if meaning == "" {
			meaning = "a word with no meaning known here"
		}
		lines = append(lines, plain(word)+": "+plain(meaning))
	}
	return lines
}

// explainTime says when it is, and how far from now.
func (r reading) explainTime(name string, value any) string {
	if profile.Distant(value) {
		return profile.FarAhead + "; it must be in seconds since 1970 (NumericDate of RFC 7519)"
	}
	at, ok := profile.Instant(value)
	if !ok {
		return "not a time: it must be in whole seconds since 1970 (NumericDate of RFC 7519)"
	}
	when := at.Local().Format("Mon 2 Jan 2006 15:04:05 MST") + ", " + away(at, r.now)
	switch {
	case name == "iat":
		return "issued " + when
	case name == "nbf":
		return "valid from " + when
	case !r.now.Before(at):
		return "expired " + when
	case r.Issued.IsZero():
		return "expires " + when
	}
	return fmt.Sprintf("expires %s; it lives %s in all", when, config.Spoken(at.Sub(r.Issued).Round(time.Second)))
}
