package sources

import (
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// opaqueTexts are tokens that large issuers give and that are not JWTs. The first three
// could be anything else where they are a line of a file.
var opaqueTexts = map[string]string{
	"Facebook":    "123456789|aBcDeF-g",
	"a query":     "https://as.example.org/token?id=5f%2F3c&v=1",
	"punctuation": "a!b$c&d*(e);f,g@h[0]",
	"Google":      "ya29.c.b0Aaekm1K-x_y",
	"CILogon":     "https://cilogon.example.org/oauth2/7bd4/1700000000000",
	"OA4MP":       "NB2HI4DTHIXS6Y3JNRXWO33OFZXXEZZP",
	"PASETO":      "v4.public.eyJzdWIiOiJhIn0",
	"with colons": "AQ:b:c",
	"three parts": "a.b.c",
	"Vault":       "hvs.CAESIJ",
	"base64":      "AQAAAAEAAAA+/w==",
	"a tilde":     "~a",
}

// opaqueToMany are texts that begin like a JWT.
var opaqueToMany = map[string]string{
	"itsdangerous": "eyJ1c2VyIjoxfQ.Z3VlcA.c2ln",
	"half a JWT":   "eyJh.b.c",
}

// A token that is not a JWT is taken with and without verify, whatever its characters.
func TestOpaqueTokensAreTakenAsTheyAre(t *testing.T) {
	i := issuertest.Start(t)
	for name, text := range opaqueTexts {
		for _, lines := range [][]string{nil, {"verify = false"}, {`token_format = "opaque"`}} {
			i.Change(opaque("access_token", text))
			r := asking(t, i, "client_credentials", lines, asksFor)
			got := issue(t, r.Source, r.Request)
			if err := r.Accept(got); err != nil || got.Secret.Reveal() != text || got.Lifetime() != time.Hour {
				t.Errorf("%s, %q: it lives for %s, %v", name, lines, got.Lifetime(), err)
			}
			if _, err := r.Decode(got.Secret); err != nil {
				t.Errorf("%s, %q: where it lies: %v", name, lines, err)
			}
		}
	}
}

func TestATokenThatBeginsLikeAJWTIsOpaqueIfItsSourceSaysSo(t *testing.T) {
	i := issuertest.Start(t)
	expired := unsigned(map[string]any{"exp": 1, "iss": "https://other.example.org", "aud": "x"})
	for name, text := range map[string]string{"itsdangerous": opaqueToMany["itsdangerous"], "half": opaqueToMany["half a JWT"], "a JWT for others": expired} {
		i.Change(opaque("access_token", text))
		if name != "a JWT for others" {
			r := asking(t, i, "client_credentials", nil, asksFor)
			_, err := r.Source.Issue(t.Context(), r.Request)
			wantFault(t, err, agent.Configuration, `the token that came back: `, `write token_format = "opaque" in the source`)
		}
		r := asking(t, i, "client_credentials", []string{`token_format = "opaque"`}, asksFor)
		got := issue(t, r.Source, r.Request)
		if err := r.Accept(got); err != nil || got.Lifetime() != time.Hour {
			t.Errorf("%s: it lives for %s, %v", name, got.Lifetime(), err)
		}
		if at, err := r.Decode(got.Secret); err != nil || !at.Expires.IsZero() {
			t.Errorf("%s: where it lies: %v, %v", name, at.Expires, err)
		}
	}
}

// Large issuers write scopes in ways of their own. What they mean is compared, and what is
// really less or more is refused without on_narrowed and on_widened.
func TestScopesOfLargeIssuersAreComparedByWhatTheyMean(t *testing.T) {
	const wlcg, scitokens = "profile = \"wlcg\"\nsubject = \"robot\"\n", "profile = \"scitokens\"\nsubject = \"robot\"\n"
	type claims = map[string]any
	for name, c := range map[string]struct {
		token, audience string // what is asked for
		claims          claims // of the token that comes
		answer          any    // its scope; nil: none
		refused         string
	}{
		"an array":                   {`scope = ["api", "read"]`, "", claims{"scope": []string{"api", "read"}}, nil, ""},
		"scp of Microsoft's":         {`scope = ["api://5f3c/Files.Read"]`, "", claims{"scp": "Files.Read"}, nil, ""},
		"all by default":             {`scope = ["https://graph.microsoft.com/.default"]`, "", claims{"roles": []string{"User.Read.All"}}, nil, ""},
		"scp of Okta's":              {`scope = ["api", "openid"]`, "", claims{"scp": []string{"api"}}, "api openid", ""},
		"scp says less":              {`scope = ["api"]`, "", claims{"scp": []string{"other"}}, nil, `it is missing, and scp is ["other"]; api was asked for too`},
		"Keycloak, one user":         {`scope = ["openid", "profile", "email", "address", "phone", "offline_access", "api"]`, "", claims{"scope": "email profile api"}, "email profile api", ""},
		"EGI Check-in":               {`scope = ["openid", "eduperson_entitlement:urn:mace:egi.eu:group:x", "voperson_id"]`, "", claims{}, "openid", ""},
		"CILogon":                    {`scope = ["org.cilogon.userinfo", "openid"]`, "", claims{}, nil, ""},
		"IAM with groups":            {wlcg + `scope = ["wlcg", "wlcg.groups:/cms/uscms", "openid"]`, "x", claims{"wlcg.ver": "1.0", "wlcg.groups": []string{"/cms/uscms", "/cms"}}, "openid wlcg", ""},
		"IAM with other groups":      {wlcg + `scope = ["wlcg.groups:/cms/uscms"]`, "x", claims{"wlcg.ver": "1.0", "wlcg.groups": []string{"/cms"}}, nil, `wlcg.groups: it is ["/cms"]; /cms/uscms was asked for too`},
		"a capability set":           {wlcg + `scope = ["wlcg.capabilityset:/dune", "openid"]`, "x", claims{"wlcg.ver": "1.0", "scope": "storage.read:/dune storage.create:/dune/out compute.create"}, nil, ""},
		"a set, answered otherwise":  {wlcg + `scope = ["wlcg.capabilityset:/dune"]`, "x", claims{"wlcg.ver": "1.0", "scope": "storage.read:/dune"}, "openid", ""},
		"a set of nothing":           {wlcg + `scope = ["wlcg.capabilityset:/dune"]`, "x", claims{"wlcg.ver": "1.0", "scope": "openid"}, nil, "wlcg.capabilityset:/dune was asked for too"},
		"a profile":                  {wlcg + `scope = ["wlcg:1.0", "storage.read:/"]`, "x", claims{"wlcg.ver": "1.0", "scope": "storage.read:/"}, nil, ""},
		"no path asked":              {wlcg + `scope = ["storage.read:", "storage.modify:out/"]`, "x", claims{"wlcg.ver": "1.0", "scope": "storage.read:/ storage.modify:/out"}, nil, ""},
		"no path came":               {wlcg + `scope = ["storage.read:/"]`, "x", claims{"wlcg.ver": "1.0", "scope": "storage.read:"}, nil, ""},
		"no path, but one came":      {wlcg + `scope = ["storage.read:"]`, "x", claims{"wlcg.ver": "1.0", "scope": "storage.read:/data"}, nil, `storage.read: was asked for too`},
		"an array under a profile":   {wlcg + `scope = ["storage.read:/"]`, "x", claims{"wlcg.ver": "1.0", "scope": []string{"storage.read:/"}}, nil, `scope: it is ["storage.read:/"]; storage.read:/ was asked for too`},
		"the longer version":         {scitokens + `scope = ["read:/"]`, "x", claims{"ver": "scitokens:2.0", "scope": "read:/"}, nil, ""},
		"the longer version, wanted": {scitokens + "claims = { ver = \"scitokens:2.0\" }\n" + `scope = ["read:/"]`, "x", claims{"ver": "scitoken:2.0", "scope": "read:/"}, nil, ""},
		"another version":            {scitokens + `scope = ["read:/"]`, "x", claims{"ver": "2.0", "scope": "read:/"}, nil, `ver: it is "2.0"; it must be the string "scitoken:2.0"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := issuertest.Start(t)
			i.Change(func(b *issuertest.Behaviour) {
				b.Claims = func(_ url.Values, all map[string]any) {
					delete(all, "scope")
					maps.Copy(all, c.claims)
					all["sub"] = "robot"
				}
				b.Answer = func(_ url.Values, answer map[string]any) { set(answer, "scope", c.answer) }
			})
			lines := c.token
			if c.audience != "" {
				lines += "\naudience = [\"" + c.audience + "\"]"
			}
			r := asking(t, i, "client_credentials", nil, lines)
			got, err := r.Source.Issue(t.Context(), r.Request)
			if err == nil {
				err = r.Accept(got)
			}
			switch {
			case c.refused == "" && err != nil, c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
				t.Errorf("got %v, want %q", err, c.refused)
			case strings.Contains(got.Note, "asked"):
				t.Error(got.Note)
			}
		})
	}
}

func TestAGroupLessPassesWithAWarningIfThatIsWished(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Claims = func(_ url.Values, all map[string]any) {
			delete(all, "scope")
			all["sub"], all["wlcg.ver"], all["wlcg.groups"] = "robot", "1.0", []string{"/cms"}
		}
	})
	r := asking(t, i, "client_credentials", []string{`on_narrowed = "warn"`}, "profile = \"wlcg\"\nscope = [\"wlcg.groups:/cms/uscms\"]\naudience = [\"x\"]")
	got := issue(t, r.Source, r.Request)
	if err := r.Accept(got); err != nil || got.Note != `the token's wlcg.groups: it is ["/cms"]; /cms/uscms was asked for too` {
		t.Errorf("%q, %v", got.Note, err)
	}
}

func TestAPathThatIsNotWrittenAsUsualIsAskedForWithAWarning(t *testing.T) {
	dir := secrets(t)
	block := fetched("client_credentials", theIssuer, theClient, theSecret)
	block = strings.Replace(block, "token \"t\" {\n", "token \"t\" {\n  profile = \"wlcg\"\n  audience = [\"x\"]\n  scope = [\"storage.read:\", \"storage.read:/../x\"]\n", 1)
	_, faults := load(t, dir, block, false)
	compare(t, dir, faults.Errors(), []string{`23: scope: storage.read:/../x: the path climbs`})
	warned := slices.ContainsFunc(faults.Warnings(), func(w config.Fault) bool {
		return w.Summary == `scope: "storage.read:" is asked for as it stands, and means storage.read:/` && w.Detail == "write that if the issuer knows it"
	})
	if !warned {
		t.Error(faults.Warnings())
	}
}

// What the answer says beside an opaque token is compared all the same.
func TestTheScopeOfAnOpaqueTokenIsThatOfTheAnswer(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(opaque("scope", "compute.read"))
	r := asking(t, i, "client_credentials", []string{`token_format = "opaque"`}, asksFor)
	_, err := r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Configuration, `the issuer gave the scope "compute.read", and "storage.read:/" was asked for too`)
}

func TestOpaqueTokensHaveNothingToCompare(t *testing.T) {
	dir := secrets(t)
	block := fetched("client_credentials", theIssuer, theClient, theSecret, `token_format = "opaque"`, `verify = true`, `jwks_uri = "https://iam.example.org/jwk"`)
	block = strings.Replace(block, "token \"t\" {\n", "token \"t\" {\n  profile = \"wlcg\"\n  subject = \"robot\"\n  claims = { a = 1 }\n", 1)
	_, faults := load(t, dir, block, false)
	compare(t, dir, faults.Errors(), []string{`21: the profile wlcg is for JWTs, and the source has token_format = "opaque"; leave out one of both`})
	var warnings []string
	for _, w := range faults.Warnings() {
		warnings = append(warnings, w.Summary)
	}
	for _, want := range []string{"sub: nothing compares it, since the source has token_format = \"opaque\"", "a: nothing compares it, since the source has token_format = \"opaque\"", "the keys are not used"} {
		if !slices.Contains(warnings, want) {
			t.Errorf("%q is missing in %q", want, warnings)
		}
	}
}

func TestAFileAndAProgramGiveOpaqueTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	doubtful := map[string]bool{"Facebook": true, "a query": true, "punctuation": true}
	for name, text := range opaqueTexts {
		write(t, path, text+"\n", 0o600)
		found, declared := fileCopy{Path: path, taking: takingDefaults()}, fileCopy{Path: path, taking: takingDefaults()}
		declared.TokenFormat = "opaque"
		if got := issue(t, declared, agent.Request{}); got.Secret.Reveal() != text {
			t.Errorf("%s: got %q", name, got.Secret.Reveal())
		}
		if _, err := found.Issue(t.Context(), agent.Request{}); (err != nil) != doubtful[name] {
			t.Errorf("%s, found out: %v", name, err)
		}
		write(t, path, `{"access_token":"`+text+`"}`, 0o600)
		if got := issue(t, found, agent.Request{}); got.Secret.Reveal() != text {
			t.Errorf("%s in JSON: got %q", name, got.Secret.Reveal())
		}
		s := commanded(t, "echo '"+text+"'", `token_format = "opaque"`, `assume_lifetime = "1h"`)
		if got := issue(t, s, agent.Request{}); got.Secret.Reveal() != text {
			t.Errorf("%s printed: got %q", name, got.Secret.Reveal())
		}
	}
	for name, text := range opaqueToMany {
		write(t, path, text+"\n", 0o600)
		_, err := fileCopy{Path: path, taking: takingDefaults()}.Issue(t.Context(), agent.Request{})
		wantFault(t, err, agent.Configuration, path+": the token in it: ", `write token_format = "opaque" in the source`)
		if got := issue(t, fileCopy{Path: path, taking: taking{TokenFormat: "opaque"}}, agent.Request{}); got.Secret.Reveal() != text {
			t.Errorf("%s: got %q", name, got.Secret.Reveal())
		}
	}
}

func TestAFileWhoseTokensAreJWTsHoldsNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "junkjunk\n", 0o600)
	_, err := fileCopy{Path: path, taking: taking{TokenFormat: "jwt"}}.Issue(t.Context(), agent.Request{})
	wantFault(t, err, agent.Configuration, path+": the token in it: it is not a JWT", `token_format = "jwt" in the source takes nothing else`)
}
