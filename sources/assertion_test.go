package sources

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// bare is the Renewer of a token of a source with just those lines, beside where the
// issuer is. DIR in them is a folder with a key.
func bare(t *testing.T, i *issuertest.Issuer, kind string, lines ...string) (r agent.Renewer, dir string) {
	t.Helper()
	dir = t.TempDir()
	writeKey(t, dir, "ES256")
	write(t, filepath.Join(dir, "secret"), "s3cret\n", 0o600)
	lines = append([]string{`issuer = "` + i.URL + `"`, `ca_file = "` + i.CAFile + `"`}, lines...)
	text := strings.Replace(fetched(kind, lines...), "token \"t\" {\n", "token \"t\" {\n scope = [\"storage.read:/\"]\n", 1)
	c, faults := load(t, dir, text, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return c.Renewers[0], dir
}

// askedWith is the form of the last token request.
func askedWith(t *testing.T, i *issuertest.Issuer) url.Values {
	t.Helper()
	all := i.Requests(issuertest.TokenPath)
	if len(all) == 0 {
		t.Fatal("nobody asked for a token")
	}
	return all[len(all)-1].Form
}

func decodedText(t *testing.T, text string) profile.Token {
	t.Helper()
	decoded, err := profile.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestAClientAssertionGoesUnderTheRegisteredKeyIDAndAudience(t *testing.T) {
	i := issuertest.Start(t)
	key := `client_key_file = "DIR/key.pem"`
	way := `client_auth = "private_key_jwt"`
	for name, c := range map[string]struct {
		lines    []string
		kid, aud string // kid "": the thumbprint
	}{
		"by default":             {nil, "", i.URL},
		"as the block says":      {[]string{`client_key_id = "2026-11"`, `assertion_audience = "https://iam.example.org/token"`}, "2026-11", "https://iam.example.org/token"},
		"whatever metadata says": {[]string{`token_endpoint = "` + i.URL + issuertest.TokenPath + `"`}, "", i.URL},
	} {
		r, _ := bare(t, i, "client_credentials", append(c.lines, theClient, way, key)...)
		issue(t, r.Source, r.Request)
		form := askedWith(t, i)
		shown := decodedText(t, form.Get("client_assertion"))
		kid, _ := shown.Header["kid"].(string)
		if kid != c.kid && (c.kid != "" || len(kid) != 43) || shown.Claims["aud"] != c.aud || shown.Claims["iss"] != "robot" {
			t.Errorf("%s: got the kid %q and %v", name, kid, shown.Claims)
		}
		if got := form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("%s: its type is %s", name, got)
		}
	}
}

func TestAJWKOfAClientKeepsItsOwnKeyID(t *testing.T) {
	i := issuertest.Start(t)
	jwk, err := generated(t, "ES256").WithID("own").MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "client.jwk")
	write(t, file, string(jwk), 0o600)
	for id, line := range map[string]string{"own": "", "other": `client_key_id = "other"`} {
		r, _ := bare(t, i, "client_credentials", theClient, `client_auth = "private_key_jwt"`, `client_key_file = "`+file+`"`, line)
		issue(t, r.Source, r.Request)
		if got := decodedText(t, askedWith(t, i).Get("client_assertion")).Header["kid"]; got != id {
			t.Errorf("got the kid %v, want %s", got, id)
		}
	}
}

func TestAClientAssertionFileIsReadForEachRequest(t *testing.T) {
	i := issuertest.Start(t)
	file := filepath.Join(t.TempDir(), "token")
	r, _ := bare(t, i, "client_credentials", `client_assertion_file = "`+file+`"`)
	if path, copied := r.Source.(agent.Follower).Follows(); path != file || copied {
		t.Errorf("it follows %q, copied %v", path, copied)
	}
	_, err := r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "issuer "+i.URL+": client assertion "+file+": no such file or directory")
	write(t, file, signed(t, map[string]any{"sub": "x", "exp": time.Now().Add(-time.Minute).Unix()}), 0o600)
	_, err = r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "client assertion "+file+": it expired at ", "see to what keeps the file")
	write(t, file, "pending", 0o600)
	_, err = r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "client assertion "+file+": it is not a JWT (RFC 7523); see to what keeps the file")
	if n := len(i.Requests(issuertest.TokenPath)); n != 0 {
		t.Errorf("it was asked %d times", n)
	}
	const kinds = "urn:ietf:params:oauth:client-assertion-type:"
	for sub, kind := range map[string]string{"system:serviceaccount:data:mover": "jwt-bearer", "spiffe://example.org/mover": "jwt-spiffe"} {
		shown := signed(t, map[string]any{"sub": sub, "exp": time.Now().Add(time.Minute).Unix()})
		write(t, file, shown+"\n", 0o600)
		issue(t, r.Source, r.Request)
		form := askedWith(t, i)
		if form.Get("client_assertion") != shown || form.Get("client_assertion_type") != kinds+kind || form.Has("client_id") || form.Has("client_secret") {
			t.Errorf("%s: got %v", sub, form)
		}
	}
	r, _ = bare(t, i, "client_credentials", theClient, `client_assertion_file = "`+file+`"`, `client_assertion_type = "`+kinds+`jwt-bearer"`)
	issue(t, r.Source, r.Request)
	if form := askedWith(t, i); form.Get("client_id") != "robot" || form.Get("client_assertion_type") != kinds+"jwt-bearer" {
		t.Errorf("got %v", form)
	}
}

func TestAJWTBearerShowsTheAssertionOfAFile(t *testing.T) {
	i := issuertest.Start(t)
	file := filepath.Join(t.TempDir(), "assertion")
	r, _ := bare(t, i, "jwt_bearer", `assertion_file = "`+file+`"`)
	_, err := r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "assertion "+file+": no such file or directory")
	write(t, file, "pending", 0o600)
	_, err = r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "assertion "+file+": it is not a JWT (RFC 7523)")
	for _, sub := range []string{"first", "second"} {
		shown := signed(t, map[string]any{"sub": sub})
		write(t, file, shown, 0o600)
		issue(t, r.Source, r.Request)
		form := askedWith(t, i)
		if form.Get("assertion") != shown || form.Get("grant_type") != issuer.GrantJWTBearer || form.Get("scope") != "storage.read:/" || form.Has("client_id") {
			t.Errorf("got %v", form)
		}
	}
	if path, copied := r.Source.(agent.Follower).Follows(); path != file || copied {
		t.Errorf("it follows %q, copied %v", path, copied)
	}
}

func TestAJWTBearerSignsItsAssertion(t *testing.T) {
	i := issuertest.Start(t)
	key := `key_file = "DIR/key.pem"`
	for name, c := range map[string]struct {
		lines []string
		want  map[string]any
		kid   string
	}{
		"for the client":    {[]string{theClient}, map[string]any{"iss": "robot", "sub": "robot", "aud": i.URL}, ""},
		"for itself":        {[]string{`assertion_issuer = "svc"`}, map[string]any{"iss": "svc", "sub": "svc", "aud": i.URL}, ""},
		"for somebody else": {[]string{theClient, `assertion_issuer = "svc"`, `assertion_subject = "anna"`, `assertion_audience = "https://x/token"`, `key_id = "7"`, `assertion_claims = { scope = "a b" }`}, map[string]any{"iss": "svc", "sub": "anna", "aud": "https://x/token", "scope": "a b"}, "7"},
	} {
		r, dir := bare(t, i, "jwt_bearer", append(c.lines, key)...)
		issue(t, r.Source, r.Request)
		issue(t, r.Source, r.Request)
		all := i.Requests(issuertest.TokenPath)
		shown, before := decodedText(t, all[len(all)-1].Form.Get("assertion")), decodedText(t, all[len(all)-2].Form.Get("assertion"))
		for claim, want := range c.want {
			if shown.Claims[claim] != want {
				t.Errorf("%s: %s is %v, want %v", name, claim, shown.Claims[claim], want)
			}
		}
		if c.kid != "" && shown.Header["kid"] != c.kid {
			t.Errorf("%s: its kid is %v", name, shown.Header["kid"])
		}
		exp, _ := profile.Instant(shown.Claims["exp"])
		if left := time.Until(exp); shown.Claims["jti"] == before.Claims["jti"] || left < time.Minute || left > 2*time.Minute {
			t.Errorf("%s: it lives %v, with the jti %v", name, left, shown.Claims["jti"])
		}
		if path, _ := r.Source.(agent.Follower).Follows(); path != "" {
			t.Errorf("%s: it follows %s", name, path)
		}
		write(t, filepath.Join(dir, "key.pem"), "broken", 0o600)
		_, err := r.Source.Issue(t.Context(), r.Request)
		wantFault(t, err, agent.Configuration, "key "+dir+"/key.pem: ")
	}
}

func TestTokenExchangeShowsWhoActs(t *testing.T) {
	i := issuertest.Start(t)
	dir := t.TempDir()
	subject, actor := filepath.Join(dir, "subject"), filepath.Join(dir, "actor")
	write(t, subject, "subject", 0o600)
	r := asking(t, i, "token_exchange", []string{`subject_token_file = "` + subject + `"`, `actor_token_file = "` + actor + `"`}, "")
	_, err := r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "actor token "+actor+": no such file or directory")
	for _, text := range []string{"first", "second"} {
		write(t, actor, text, 0o600)
		issue(t, r.Source, r.Request)
		if form := askedWith(t, i); form.Get("actor_token") != text || form.Get("actor_token_type") != accessTokenType || form.Get("subject_token") != "subject" {
			t.Errorf("got %v", form)
		}
	}
}

func TestFaultsOfAJWTBearer(t *testing.T) {
	dir := secrets(t)
	file, key := `assertion_file = "DIR/subject"`, `key_file = "DIR/client.pem"`
	for name, c := range map[string]struct {
		lines []string
		want  []string
	}{
		"a file":                  {[]string{file}, nil},
		"a file to come":          {[]string{`assertion_file = "DIR/later"`}, nil},
		"a file and a secret":     {[]string{file, theClient, theSecret, `client_auth = "client_secret_basic"`}, nil},
		"a key":                   {[]string{key, theClient}, nil},
		"nothing":                 {nil, []string{`1: missing attribute assertion_file; write assertion_file, whose JWT something else keeps fresh, or key_file, with which one is signed here`}},
		"both":                    {[]string{file, key}, []string{`4: key_file is not used; assertion_file holds the assertion; leave one of both out`}},
		"nobody's key":            {[]string{key}, []string{`1: missing attribute assertion_issuer; write assertion_issuer`}},
		"a key that is not there": {[]string{theClient, `key_file = "DIR/gone"`}, []string{`4: no usable key; key DIR/gone: no such file or directory`}},
		"a kid of a file":         {[]string{file, `key_id = "x"`}, []string{`4: key_id is not used; it is for an assertion that is signed here`}},
		"a subject of a file":     {[]string{file, `assertion_subject = "x"`, `assertion_issuer = "x"`, `assertion_claims = {}`}, []string{`4: assertion_subject is not used`, `5: assertion_issuer is not used`, `6: assertion_claims is not used`}},
		"an audience of a file":   {[]string{file, `assertion_audience = "x"`}, []string{`4: assertion_audience is not used; client_auth "none" has no use for it; it is for client_auth "private_key_jwt"`}},
		"its own audience":        {[]string{theClient, key, `assertion_audience = "x"`}, nil},
		"claims that are set":     {[]string{theClient, key, `assertion_claims = { aud = "x" }`}, []string{`5: the claim aud is set elsewhere; iss, sub and aud are`}},
		"a secret for nobody":     {[]string{file, theSecret}, []string{`4: client_secret_file is not used; client_auth "none" has no use for it`}},
		"the assertion itself":    {[]string{file, `parameters = { assertion = "x" }`}, []string{`4: the parameter assertion is set elsewhere; source "jwt_bearer" reads it from assertion_file, or signs it`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, dir, fetched("jwt_bearer", append([]string{theIssuer}, c.lines...)...), false)
			compare(t, dir, faults.Errors(), c.want)
		})
	}
}
