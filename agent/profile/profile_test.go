package profile

import (
	"encoding/json"
	"maps"
	"math"
	"strings"
	"testing"
)

// good returns a token in which the profile finds nothing to say.
func good(profile string) Token {
	header := map[string]any{"alg": "ES256", "typ": "JWT", "kid": "2026-11"}
	claims := map[string]any{
		"iss": "https://issuer.example.org", "sub": "pilot", "aud": "ce1.example.org:9619",
		"iat": int64(1_800_000_000), "nbf": int64(1_799_999_940), "exp": int64(1_800_003_600),
		"jti": "0123456789abcdef0123456789abcdef",
	}
	switch profile {
	case "wlcg":
		claims["wlcg.ver"], claims["scope"] = "1.0", "storage.read:/data"
	case "scitokens":
		claims["ver"], claims["scope"] = "scitoken:2.0", "condor:/READ condor:/WRITE"
	case "htcondor":
		header = map[string]any{"alg": "HS256", "kid": "POOL"}
		claims["iss"], claims["sub"], claims["scope"] = "cm.example.org", "schedd@example.org", "condor:/READ"
		delete(claims, "aud")
	case "clustercockpit":
		header["alg"] = "EdDSA"
		claims["roles"] = []any{"api"}
	}
	return Token{Header: header, Claims: claims}
}

// absent, as a value in a table, takes the claim away.
type absent struct{}

// with returns t with some header parameters ("header alg") or claims changed.
func with(t Token, changes map[string]any) Token {
	t = Token{Header: maps.Clone(t.Header), Claims: maps.Clone(t.Claims)}
	for name, v := range changes {
		into := t.Claims
		if parameter, isHeader := strings.CutPrefix(name, "header "); isHeader {
			into, name = t.Header, parameter
		}
		if into[name] = v; v == (any)(absent{}) {
			delete(into, name)
		}
	}
	return t
}

func TestGoodTokensHaveNoProblems(t *testing.T) {
	for _, name := range append(Names(), "") {
		if problems := Check(name, good(name)); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

type row struct {
	name    string
	profile string // several, separated by blanks
	change  map[string]any
	want    string // of the one problem, "WARNING " before a warning; "" for none; else what it contains
}

var headerRows = []row{
	{"no algorithm", "wlcg", map[string]any{"header alg": absent{}}, "alg: it is missing; allowed are RS256, ES256"},
	{"not signed", "wlcg", map[string]any{"header alg": "none"}, "alg: the token is not signed; allowed are RS256, ES256"},
	{"not signed", "plain", map[string]any{"header alg": "None"}, "alg: the token is not signed; any of RFC 7518 is allowed, but none"},
	{"RS256", "wlcg scitokens", map[string]any{"header alg": "RS256"}, ""},
	{"ES384", "wlcg scitokens", map[string]any{"header alg": "ES384"}, `alg: "ES384" is not allowed here; allowed are RS256, ES256`},
	{"EdDSA", "wlcg scitokens", map[string]any{"header alg": "EdDSA"}, `alg: "EdDSA" is not allowed here`},
	{"ES256", "htcondor", map[string]any{"header alg": "ES256"}, `alg: "ES256" is not allowed here; allowed is HS256`},
	{"ES256", "clustercockpit", map[string]any{"header alg": "ES256"}, `alg: "ES256" is not allowed here; allowed is EdDSA`},
	{"any algorithm", "plain", map[string]any{"header alg": "PS512"}, ""},
	{"no kid", "wlcg scitokens", map[string]any{"header kid": absent{}}, "kid: it is missing; without it no verifier finds the key"},
	{"no kid", "htcondor", map[string]any{"header kid": absent{}}, "kid: it is missing; it is POOL, or the name"},
	{"no kid", "clustercockpit plain", map[string]any{"header kid": absent{}}, ""},
	{"kid with a slash", "htcondor", map[string]any{"header kid": "a/b"}, `kid: "a/b" is not the name of a key`},
	{"kid that climbs", "htcondor", map[string]any{"header kid": ".."}, `kid: ".." is not the name of a key`},
	{"kid that is the folder", "htcondor", map[string]any{"header kid": "."}, `kid: "." is not the name of a key`},
	{"kid with a blank", "htcondor", map[string]any{"header kid": "a b"}, `kid: "a b" is not the name of a key`},
	{"kid with a comma", "htcondor", map[string]any{"header kid": "a,b"}, `kid: "a,b" is not the name of a key`},
	{"kid with a line end", "htcondor", map[string]any{"header kid": "a\n"}, `kid: "a\n" is not the name of a key`},
	{"kid that is no UTF-8", "htcondor", map[string]any{"header kid": "a\xff"}, `kid: "a\xff" is not the name of a key`},
	{"kid with a dot", "htcondor", map[string]any{"header kid": ".site-1.key"}, ""},
	{"no typ", "wlcg scitokens", map[string]any{"header typ": absent{}}, `WARNING typ: it is missing; most readers expect "JWT"`},
	{"typ of RFC 9068", "wlcg scitokens", map[string]any{"header typ": "at+jwt"}, `WARNING typ: it is "at+jwt"`},
}

var versionRows = []row{
	{"no version", "wlcg", map[string]any{"wlcg.ver": absent{}}, `wlcg.ver: it is missing; it must be "1.0"`},
	{"version as a number", "wlcg", map[string]any{"wlcg.ver": json.Number("1.0")}, `wlcg.ver: it is 1.0; it must be the string "1.0"`},
	{"later version", "wlcg", map[string]any{"wlcg.ver": "1.2"}, `wlcg.ver: it is "1.2"; it must be the string "1.0"`},
	{"the other's version", "wlcg", map[string]any{"ver": "scitoken:2.0"}, "ver: it belongs to another profile; leave it out"},
	{"no version", "scitokens", map[string]any{"ver": absent{}}, `ver: it is missing; it must be "scitoken:2.0"`},
	{"misspelt version", "scitokens", map[string]any{"ver": "scitokens:2.0"}, `WARNING ver: it is "scitokens:2.0", which not every verifier takes; scitokens-cpp and Pelican do`},
	{"version of old", "scitokens", map[string]any{"ver": "scitoken:1.0"}, `ver: it is "scitoken:1.0"; it must be the string "scitoken:2.0", spelt so`},
	{"the other's version", "scitokens", map[string]any{"wlcg.ver": "1.0"}, "wlcg.ver: it belongs to another profile; leave it out"},
	{"any version", "plain", map[string]any{"ver": "7"}, ""},
}

var nameRows = []row{
	{"no issuer", "wlcg scitokens htcondor", map[string]any{"iss": absent{}}, "iss: it is missing; it names the issuer"},
	{"no issuer", "clustercockpit plain", map[string]any{"iss": absent{}}, ""},
	{"issuer that is empty", "wlcg plain", map[string]any{"iss": ""}, "iss: it is empty"},
	{"issuer that is a number", "wlcg plain", map[string]any{"iss": json.Number("1")}, "iss: it is 1; a string is allowed"},
	{"issuer over http", "wlcg scitokens", map[string]any{"iss": "http://issuer.example.org"}, `iss: "http://issuer.example.org" is not an issuer; it must be a URL that begins with https://`},
	{"issuer in capitals", "wlcg scitokens", map[string]any{"iss": "HTTPS://issuer.example.org"}, "is not an issuer"},
	{"issuer beyond ASCII", "wlcg scitokens", map[string]any{"iss": "https://é.example"}, "is not an issuer"},
	{"issuer with a backslash", "wlcg scitokens", map[string]any{"iss": `https://i.example.org/a\b`}, "is not an issuer"},
	{"issuer with a bad escape", "wlcg scitokens", map[string]any{"iss": "https://i.example.org/%zz"}, "is not an issuer"},
	{"issuer with every character", "wlcg scitokens", map[string]any{"iss": "https://[::1]:8443/A-z0.9_~!$&'()*+,;=:@%20/"}, ""},
	{"issuer without host", "wlcg scitokens", map[string]any{"iss": "https:///x"}, "is not an issuer"},
	{"issuer with a query", "wlcg scitokens", map[string]any{"iss": "https://i.example.org/?a"}, "is not an issuer"},
	{"issuer with a fragment", "wlcg scitokens", map[string]any{"iss": "https://i.example.org/#"}, "is not an issuer"},
	{"issuer with a password", "wlcg scitokens", map[string]any{"iss": "https://u:p@i.example.org/"}, "is not an issuer"},
	{"issuer with a blank", "wlcg scitokens", map[string]any{"iss": "https://i.example.org/a b"}, "is not an issuer"},
	{"issuer with a slash at its end", "wlcg scitokens", map[string]any{"iss": "https://i.example.org/"}, ""},
	{"trust domain with a comma", "htcondor", map[string]any{"iss": "a,b"}, `iss: "a,b" has a comma, blank or tab`},
	{"trust domain with a blank", "htcondor", map[string]any{"iss": "a b"}, "has a comma, blank or tab"},
	{"trust domain with a tab", "htcondor", map[string]any{"iss": "a\tb"}, "has a comma, blank or tab"},
	{"trust domain that is a URL", "htcondor", map[string]any{"iss": "https://cm.example.org"}, "WARNING iss: \"https://cm.example.org\" is a URL"},
	{"no subject", "wlcg scitokens htcondor clustercockpit", map[string]any{"sub": absent{}}, "sub: it is missing; it names whom the token speaks for"},
	{"no subject", "plain", map[string]any{"sub": absent{}}, ""},
	{"subject that is empty", "wlcg scitokens htcondor clustercockpit plain", map[string]any{"sub": ""}, "sub: it is empty"},
	{"subject of 255 bytes", "wlcg scitokens clustercockpit", map[string]any{"sub": strings.Repeat("a", 255)}, ""},
	{"subject of 256 bytes", "wlcg scitokens clustercockpit", map[string]any{"sub": strings.Repeat("a", 256)}, "sub: it has 256 bytes; at most 255 are allowed"},
	{"subject beyond ASCII", "wlcg scitokens htcondor clustercockpit", map[string]any{"sub": "mül@ler"}, `sub: "mül@ler" has a character that is not allowed`},
	{"subject with a line end", "wlcg scitokens", map[string]any{"sub": "a\nb"}, "has a character that is not allowed"},
	{"subject without domain", "htcondor", map[string]any{"sub": "schedd"}, `WARNING sub: "schedd" is not of the form user@domain`},
	{"subject without user", "htcondor", map[string]any{"sub": "@example.org"}, "WARNING sub: "},
	{"subject with an empty domain", "htcondor", map[string]any{"sub": "schedd@"}, "WARNING sub: "},
	{"subject with two domains", "htcondor", map[string]any{"sub": "a@b@c"}, "WARNING sub: "},
	{"no jti", "wlcg htcondor", map[string]any{"jti": absent{}}, "jti: it is missing; it is a random name"},
	{"no jti", "scitokens", map[string]any{"jti": absent{}}, "WARNING jti: it is missing"},
	{"no jti", "clustercockpit plain", map[string]any{"jti": absent{}}, ""},
	{"jti that is a number", "wlcg scitokens htcondor", map[string]any{"jti": json.Number("7")}, "jti: it is 7; a string is allowed"},
	{"jti of another form", "wlcg scitokens", map[string]any{"jti": "x-1"}, ""},
	{"jti in capitals", "htcondor", map[string]any{"jti": strings.Repeat("AB", 16)}, "WARNING jti: HTCondor writes 32 lower-case"},
	{"jti that is short", "htcondor", map[string]any{"jti": "ab"}, "WARNING jti: HTCondor writes 32 lower-case"},
}

var audienceRows = []row{
	{"no audience", "wlcg", map[string]any{"aud": absent{}}, "aud: it is missing; name who is to accept the token (a CE as host:9619, a storage as its URL), or https://wlcg.cern.ch/jwt/v1/any"},
	{"no audience", "scitokens", map[string]any{"aud": absent{}}, "or ANY for everybody"},
	{"no audience", "plain clustercockpit", map[string]any{"aud": absent{}}, ""},
	{"an audience", "htcondor", map[string]any{"aud": "x"}, "aud: an IDTOKEN has no audience; leave it out"},
	{"audience that is empty", "wlcg scitokens plain", map[string]any{"aud": ""}, `aud: "" is not an audience`},
	{"audience without entries", "wlcg scitokens plain", map[string]any{"aud": []any{}}, "aud: it has no entries, so that nobody may accept the token; name one"},
	{"audience that is a number", "wlcg scitokens plain", map[string]any{"aud": json.Number("1")}, "aud: it is 1; it must be a string, or an array of strings"},
	{"audience that is null", "wlcg scitokens plain", map[string]any{"aud": nil}, "aud: it is null; it must be a string"},
	{"array with a number", "wlcg scitokens plain", map[string]any{"aud": []any{"a", json.Number("1")}}, `aud: it is ["a",1]; it must be`},
	{"array of one", "wlcg scitokens plain", map[string]any{"aud": []any{"a"}}, "WARNING aud: one entry is written as a string"},
	{"array of several", "wlcg scitokens plain", map[string]any{"aud": []any{"a", "b"}}, ""},
	{"array of several, by hand", "wlcg scitokens plain", map[string]any{"aud": []string{"a", "b"}}, ""},
	{"entry with a blank", "wlcg scitokens plain", map[string]any{"aud": "a b"}, `aud: "a b" is not an audience; it is printable ASCII without blanks`},
	{"entry twice", "wlcg scitokens plain", map[string]any{"aud": []any{"a", "a"}}, `WARNING aud: "a" is there twice`},
	{"the other's wildcard", "wlcg", map[string]any{"aud": "ANY"}, "WARNING aud: ANY means everybody in another profile; here that is https://wlcg.cern.ch/jwt/v1/any"},
	{"the other's wildcard", "scitokens", map[string]any{"aud": anyWLCG}, "WARNING aud: https://wlcg.cern.ch/jwt/v1/any means everybody in another profile; here that is ANY"},
	{"own wildcard", "wlcg", map[string]any{"aud": anyWLCG}, ""},
	{"own wildcard", "scitokens", map[string]any{"aud": "ANY"}, ""},
	{"CE as a URL", "wlcg scitokens", map[string]any{"aud": "https://ce1.example.org:9619"}, `WARNING aud: "https://ce1.example.org:9619" is a URL; an HTCondor-CE expects "ce1.example.org:9619"`},
}

var timeRows = []row{
	{"no expiry", "wlcg scitokens clustercockpit", map[string]any{"exp": absent{}}, "exp: it is missing; verifiers refuse"},
	{"no expiry", "htcondor plain", map[string]any{"exp": absent{}}, "WARNING exp: it is missing, so the token never expires"},
	{"no iat", "wlcg scitokens htcondor clustercockpit", map[string]any{"iat": absent{}}, "iat: it is missing; verifiers refuse"},
	{"no nbf", "wlcg scitokens", map[string]any{"nbf": absent{}}, "nbf: it is missing; verifiers refuse"},
	{"no nbf", "htcondor clustercockpit plain", map[string]any{"nbf": absent{}}, ""},
	{"expiry as text", "wlcg scitokens htcondor clustercockpit plain", map[string]any{"exp": "1800003600"}, `exp: it is "1800003600"; it must be a whole number of seconds since 1970`},
	{"expiry with a fraction", "wlcg scitokens htcondor clustercockpit", map[string]any{"exp": json.Number("1800003600.5")}, "exp: it is 1800003600.5; it must be a whole number of seconds"},
	{"whole number with a point", "wlcg scitokens", map[string]any{"exp": json.Number("1800003600.0")}, "exp: it is 1800003600.0; it must be a whole number"},
	{"expiry with a fraction", "plain", map[string]any{"exp": json.Number("1800003600.5")}, "WARNING exp: it is 1800003600.5"},
	{"expiry not after iat", "wlcg scitokens htcondor clustercockpit plain", map[string]any{"exp": int64(1_800_000_000)}, "exp: the token is never valid; exp must be later than iat"},
	{"nbf not before expiry", "wlcg scitokens htcondor clustercockpit plain", map[string]any{"nbf": int64(1_800_003_600)}, "nbf: the token is never valid; nbf must be earlier than exp"},
	{"15 minutes", "wlcg", map[string]any{"exp": int64(1_800_000_900)}, ""},
	{"less than 15 minutes", "wlcg", map[string]any{"exp": int64(1_800_000_899)}, "WARNING exp: the token lives 14m59s; at least 15m is recommended"},
	{"20 minutes", "scitokens", map[string]any{"exp": int64(1_800_001_200)}, ""},
	{"less than 20 minutes", "scitokens", map[string]any{"exp": int64(1_800_001_199)}, "WARNING exp: the token lives 19m59s; at least 20m is usual"},
	{"2 hours", "scitokens", map[string]any{"exp": int64(1_800_007_200)}, ""},
	{"more than 2 hours", "scitokens", map[string]any{"exp": int64(1_800_021_600)}, "WARNING exp: the token lives 6h; at most 2h is usual"},
	{"6 hours", "wlcg", map[string]any{"exp": int64(1_800_021_600)}, ""},
	{"more than 6 hours", "wlcg", map[string]any{"exp": int64(1_800_086_400)}, "WARNING exp: the token lives 24h; at most 6h is recommended"},
	{"absurdly long", "wlcg scitokens clustercockpit plain", map[string]any{"exp": int64(math.MaxInt64 / 2)}, "exp: it is more than ten years ahead (milliseconds?); seconds since 1970 are wanted"},
	{"milliseconds", "wlcg scitokens clustercockpit plain", map[string]any{"exp": json.Number("1800003600000")}, "exp: it is more than ten years ahead (milliseconds?)"},
	{"every time in milliseconds", "wlcg scitokens clustercockpit plain", map[string]any{"iat": json.Number("1800000000000"), "nbf": json.Number("1800000000000"), "exp": json.Number("1800003600000")}, "exp: it is more than ten years ahead"},
	{"milliseconds without iat", "plain", map[string]any{"iat": absent{}, "exp": json.Number("1800003600000")}, "exp: it is more than ten years ahead"},
	{"milliseconds", "htcondor", map[string]any{"exp": json.Number("1800003600000")}, "exp: 1800003600000 is later than HTCondor can hold"},
	{"ten years", "clustercockpit plain", map[string]any{"exp": int64(1_800_000_000 + 3653*86400)}, ""},
	{"more than ten years", "wlcg scitokens clustercockpit", map[string]any{"exp": int64(1_800_000_001 + 3653*86400)}, "exp: it is more than ten years ahead"},
	{"more than ten years", "plain", map[string]any{"exp": int64(1_800_000_001 + 3653*86400)}, "WARNING exp: it is more than ten years ahead"},
	{"larger than an integer holds", "wlcg scitokens htcondor clustercockpit plain", map[string]any{"exp": json.Number("99999999999999999999")}, "exp: it is 99999999999999999999, which is too large; it must be"},
	{"larger than a float holds", "plain", map[string]any{"nbf": json.Number("-1e400")}, "nbf: it is -1e400, which is too large; it must be"},
	{"a day", "htcondor clustercockpit plain", map[string]any{"exp": int64(1_800_086_400)}, ""},
	{"as late as HTCondor can", "htcondor", map[string]any{"exp": int64(9223372036)}, ""},
	{"later than HTCondor can", "htcondor", map[string]any{"exp": int64(9223372037)}, "exp: 9223372037 is later than HTCondor can hold; at most 9223372036 is allowed"},
}

var scopeRows = []row{
	{"no scope", "wlcg", map[string]any{"scope": absent{}}, "scope: it is missing; a WLCG token has a scope (storage.read:/PATH, compute.read …) or the claim wlcg.groups"},
	{"groups instead", "wlcg", map[string]any{"scope": absent{}, "wlcg.groups": []any{"/cms"}}, ""},
	{"no scope", "scitokens", map[string]any{"scope": absent{}}, "scope: it is missing; a SciToken says what it allows"},
	{"no scope", "htcondor", map[string]any{"scope": absent{}}, "WARNING scope: it is missing, so the token has no limit at all"},
	{"no scope", "clustercockpit plain", map[string]any{"scope": absent{}}, ""},
	{"scope that is empty", "htcondor", map[string]any{"scope": ""}, "WARNING scope: it is missing, so the token has no limit at all"},
	{"scope as a list", "plain", map[string]any{"scope": []any{"condor:/READ"}}, "WARNING scope: it is an array; RFC 9068 has one string"},
	{"scope of numbers", "plain", map[string]any{"scope": []any{json.Number("1")}}, "scope: it is [1]; a string is allowed"},
	{"words of requests", "wlcg scitokens", map[string]any{"scope": "openid address wlcg:1.0 wlcg.groups:/cms wlcg.capabilityset:/x eduperson_entitlement org.cilogon.userinfo"}, ""},
	{"scope as a list", "wlcg scitokens htcondor", map[string]any{"scope": []any{"condor:/READ"}}, `scope: it is ["condor:/READ"]; it must be one string of words`},
	{"two blanks", "wlcg scitokens htcondor", map[string]any{"scope": "condor:/READ  condor:/WRITE"}, "has blanks too many"},
	{"blank at the end", "wlcg scitokens htcondor", map[string]any{"scope": "condor:/READ "}, "has blanks too many"},
	{"tab between words", "wlcg scitokens htcondor", map[string]any{"scope": "condor:/READ\tcondor:/WRITE"}, "has a character that is not allowed"},
	{"quote in a word", "wlcg scitokens htcondor", map[string]any{"scope": `condor:/"READ"`}, "has a character that is not allowed"},
	{"a word twice", "wlcg scitokens htcondor", map[string]any{"scope": "condor:/READ condor:/READ"}, `scope: "condor:/READ" is there twice`},
	{"every word", "wlcg", map[string]any{"scope": "storage.read:/ storage.create:/a storage.modify:/a/b storage.stage:/c storage.poll:/d compute.read compute.modify compute.create compute.cancel condor:/READ offline_access"}, ""},
	{"every word", "scitokens", map[string]any{"scope": "read:/ write:/a queue:/ execute:/ condor:/READ"}, ""},
	{"unknown word", "wlcg", map[string]any{"scope": "storage.raed:/data"}, `WARNING scope: "storage.raed:/data" is not a word of this profile; did you mean storage.read:/PATH?`},
	{"word like none", "scitokens", map[string]any{"scope": "zzzzzzzzzzzz"}, "WARNING scope: \"zzzzzzzzzzzz\" is not a word of this profile; allowed are read:/PATH, write:/PATH"},
	{"the other's word", "scitokens", map[string]any{"scope": "storage.read:/data"}, `WARNING scope: "storage.read:/data" belongs to the profile wlcg; here it is read:/data`},
	{"the other's word", "wlcg", map[string]any{"scope": "read:/data"}, `WARNING scope: "read:/data" belongs to the profile scitokens; here it is storage.read:/data`},
	{"a CE's words", "scitokens", map[string]any{"scope": "compute.read compute.modify compute.create compute.cancel"}, ""},
	{"path behind a word without", "wlcg", map[string]any{"scope": "compute.read:/x"}, `WARNING scope: "compute.read:/x" is not a word`},
	{"no path", "wlcg", map[string]any{"scope": "storage.read"}, "scope: storage.read names no path; write storage.read:/ for all of the storage"},
	{"no path", "scitokens", map[string]any{"scope": "read"}, "scope: read names no path"},
	{"relative path", "wlcg", map[string]any{"scope": "storage.read:data"}, "scope: storage.read:data: the path is not absolute; it must begin with /"},
	{"path that climbs", "wlcg", map[string]any{"scope": "storage.read:/a/../b"}, "the path climbs; .. is not allowed"},
	{"path that climbs, escaped", "wlcg", map[string]any{"scope": "storage.read:/a/%2e%2E/b"}, "the path climbs; .. is not allowed"},
	{"path with a dot", "wlcg", map[string]any{"scope": "storage.read:/a/./b"}, "the path is not normalised; write it without . and //"},
	{"path with two slashes", "wlcg", map[string]any{"scope": "storage.read:/a//b"}, "the path is not normalised; write it without . and //"},
	{"two slashes at the end", "wlcg", map[string]any{"scope": "storage.read:/a//"}, "the path is not normalised; write it without . and //"},
	{"slash at the end", "wlcg", map[string]any{"scope": "storage.read:/a/"}, "WARNING scope: storage.read:/a/: not every reader takes a path that ends in /"},
	{"escaped slash", "wlcg", map[string]any{"scope": "storage.read:/a%2fb"}, "%2F is read as / by some"},
	{"bad escape", "wlcg", map[string]any{"scope": "storage.read:/a%zz"}, "a % is followed by two hexadecimal digits"},
	{"escape cut short", "wlcg", map[string]any{"scope": "storage.read:/a%2"}, "a % is followed by two hexadecimal digits"},
	{"escaped NUL", "wlcg", map[string]any{"scope": "storage.read:/a%00"}, "the path has a control character in it; leave out %00 to %1F and %7F"},
	{"escaped line end", "wlcg", map[string]any{"scope": "storage.read:/a%0Ab"}, "the path has a control character in it"},
	{"escaped backslash", "scitokens", map[string]any{"scope": "read:/a%5C..%5cb"}, "scope: read:/a%5C..%5cb: %5C is read as / by some and not by others"},
	{"nothing but slashes", "scitokens", map[string]any{"scope": "read://"}, "scope: read://: the path is not normalised"},
	{"good escape", "wlcg", map[string]any{"scope": "storage.read:/a%20b"}, ""},
	{"name with dots", "wlcg", map[string]any{"scope": "storage.read:/a..b/...c"}, ""},
	{"not all of compute", "wlcg", map[string]any{"scope": "compute.read compute.create compute.cancel"}, "WARNING scope: an HTCondor-CE lets a token submit only with all of compute.read compute.modify compute.create compute.cancel; compute.modify is missing"},
	{"all of compute but read", "wlcg scitokens", map[string]any{"scope": "compute.modify compute.create compute.cancel"}, "WARNING scope: an HTCondor-CE lets a token submit only with all of compute.read compute.modify compute.create compute.cancel; compute.read is missing"},
	{"write but not read", "wlcg scitokens", map[string]any{"scope": "condor:/WRITE"}, "WARNING scope: an HTCondor-CE lets a token submit only with all of condor:/READ condor:/WRITE; condor:/READ is missing"},
	{"write but not read", "htcondor", map[string]any{"scope": "condor:/WRITE"}, ""},
	{"some of compute beside what is enough", "wlcg scitokens", map[string]any{"scope": "condor:/READ condor:/WRITE compute.create"}, ""},
	{"compute.read alone", "wlcg", map[string]any{"scope": "compute.read"}, ""},
	{"unknown level", "wlcg scitokens", map[string]any{"scope": "condor:/REDA"}, `WARNING scope: HTCondor knows no level "REDA" and permits nothing for it; did you mean READ?`},
	{"level without slash", "wlcg scitokens", map[string]any{"scope": "condor:READ"}, `WARNING scope: "condor:READ" begins wrongly; write condor:/LEVEL`},
	{"unknown level", "htcondor", map[string]any{"scope": "condor:/ADVERTISE_STARTED"}, `scope: HTCondor knows no level "ADVERTISE_STARTED" and permits nothing for it; did you mean ADVERTISE_STARTD?`},
	{"level in small letters", "htcondor", map[string]any{"scope": "condor:/read"}, `HTCondor knows no level "read" and permits nothing for it; did you mean READ?`},
	{"every level", "htcondor", map[string]any{"scope": "condor:/" + strings.Join(levels, " condor:/")}, ""},
	{"one good word, one wrong", "htcondor", map[string]any{"scope": "condor:/READ condor:WRITE"}, `scope: "condor:WRITE" begins wrongly; write condor:/LEVEL`},
}

var groupRows = []row{
	{"most specific first", "wlcg", map[string]any{"wlcg.groups": []any{"/cms/Role=pilot", "/cms"}}, ""},
	{"most specific last", "wlcg", map[string]any{"wlcg.groups": []any{"/cms", "/cms/Role=pilot"}}, `WARNING wlcg.groups: "/cms/Role=pilot" stands behind "/cms"; the most specific group comes first`},
	{"groups as text", "wlcg", map[string]any{"wlcg.groups": "/cms,/atlas"}, `wlcg.groups: it is "/cms,/atlas"; it must be an array of strings`},
	{"group that is a number", "wlcg", map[string]any{"wlcg.groups": []any{json.Number("1")}}, "wlcg.groups: it is [1]; it must be an array of strings"},
	{"group with a comma", "wlcg", map[string]any{"wlcg.groups": []any{"/cms,/atlas"}}, `wlcg.groups: "/cms,/atlas" is not a group`},
	{"group without slash", "wlcg", map[string]any{"wlcg.groups": []any{"cms"}}, `wlcg.groups: "cms" is not a group`},
	{"group twice", "wlcg", map[string]any{"wlcg.groups": []any{"/cms", "/cms"}}, `WARNING wlcg.groups: "/cms" is there twice`},
	{"names that only begin alike", "wlcg", map[string]any{"wlcg.groups": []any{"/cms", "/cmsx"}}, ""},
	{"no roles", "clustercockpit", map[string]any{"roles": absent{}}, "roles: it is missing; it is an array out of api, user, manager, support, admin, anonymous"},
	{"roles as text", "clustercockpit", map[string]any{"roles": "api"}, `roles: it is "api"; it must be an array`},
	{"roles without entries", "clustercockpit", map[string]any{"roles": []any{}}, "roles: it is []; it must be an array"},
	{"unknown role", "clustercockpit", map[string]any{"roles": []any{"api", "amdin"}}, `roles: there is no role "amdin"; did you mean admin?`},
	{"role without api", "clustercockpit", map[string]any{"roles": []any{"user"}}, "WARNING roles: the REST API needs the role api"},
}

func TestRules(t *testing.T) {
	for _, rows := range [][]row{headerRows, versionRows, nameRows, audienceRows, timeRows, scopeRows, groupRows} {
		for _, r := range rows {
			for name := range strings.FieldsSeq(r.profile) {
				t.Run(name+"/"+r.name, func(t *testing.T) { r.check(t, strings.TrimPrefix(name, "plain")) })
			}
		}
	}
}

func (r row) check(t *testing.T, profile string) {
	problems := Check(profile, with(good(profile), r.change))
	if r.want == "" {
		if len(problems) > 0 {
			t.Errorf("got %v, want none", problems)
		}
		return
	}
	want, warning := strings.CutPrefix(r.want, "WARNING ")
	if len(problems) != 1 || problems[0].Warning != warning || !strings.Contains(problems[0].String(), want) {
		t.Fatalf("got %+v, want one, warning %v: %s", problems, warning, want)
	}
	if !strings.Contains(problems[0].Text, "; ") {
		t.Errorf("%q does not say what is allowed", problems[0].Text)
	}
}

func TestPathsOfTheOtherProfileAreCheckedToo(t *testing.T) {
	for scope, want := range map[string]string{
		"storage.read:/../x":  "the path climbs",
		"storage.read:/%2F":   "%2F is read as /",
		"storage.stage:/../x": "the path climbs",
	} {
		problems := Check("scitokens", with(good("scitokens"), map[string]any{"scope": scope}))
		if len(problems) != 2 || problems[0].Warning || !strings.Contains(problems[0].Text, want) || !problems[1].Warning {
			t.Errorf("%s: got %v", scope, problems)
		}
	}
}

func TestScopeWithoutCondorWordIsNoLimit(t *testing.T) {
	problems := Check("htcondor", with(good("htcondor"), map[string]any{"scope": "condor-READ"}))
	if last := problems[len(problems)-1].String(); !strings.Contains(last, "no limit at all") || problems[len(problems)-1].Warning {
		t.Errorf("got %v", problems)
	}
}

func TestEveryProblemIsFoundInOneRun(t *testing.T) {
	problems := Check("wlcg", Token{})
	var claims []string
	for _, p := range problems {
		claims = append(claims, p.Claim)
	}
	want := "alg wlcg.ver kid typ iss sub aud exp iat nbf jti scope"
	if got := strings.Join(claims, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnknownProfileOffersTheNearest(t *testing.T) {
	problems := Check("scitoken", good("scitokens"))
	if want := `there is no profile "scitoken"; did you mean scitokens?`; len(problems) != 1 || problems[0].String() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
}

func TestDetectGuessesTheProfile(t *testing.T) {
	for _, name := range append(Names(), "") {
		if got := Detect(good(name)); got != name {
			t.Errorf("got %q, want %q", got, name)
		}
	}
	misspelt := with(good("scitokens"), map[string]any{"ver": "SciTokens:2.0"})
	if got := Detect(misspelt); got != "scitokens" {
		t.Errorf("got %q for a version that is misspelt", got)
	}
}

func TestCallersCannotChangeTheRules(t *testing.T) {
	Claims("wlcg")["wlcg.ver"] = "9"
	Algorithms("wlcg")[0] = "none"
	if problems := Check("wlcg", good("wlcg")); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestMeaningKnowsEveryWord(t *testing.T) {
	var words []string
	for _, v := range []vocabulary{wlcgWords, sciTokensWords} {
		for _, w := range v.paths {
			words = append(words, w+":/data")
		}
		words = append(words, v.plain...)
	}
	for _, level := range levels {
		words = append(words, "condor:/"+level)
	}
	for _, w := range words {
		if Meaning(w) == "" {
			t.Errorf("%s means nothing", w)
		}
	}
	for word, want := range map[string]string{
		"storage.read:/data": "read below /data", "storage.read": "", "compute.read:/x": "", "condor:/NONE": "", "": "",
	} {
		if got := Meaning(word); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
