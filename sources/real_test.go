package sources

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// Two issuers that we did not write say whether we ask as others understand, and
// understand what they answer.

// forStorage is what a token block asks for; OIDCProvider grants it.
const forStorage = `  profile  = "wlcg"
  audience = ["https://storage.example.org"]
  scope    = ["storage.read:/", "compute.read"]
`

func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	p := issuertest.StartOIDCProvider(t, "testdata")
	for name, test := range map[string]func(*testing.T, *issuertest.OIDCProvider){
		"knows its clients":                       knowsItsClients,
		"knows its clients by what others signed": knowsAClientByAFile,
		"knows a key by its name alone":           knowsAKeyByItsName,
		"refuses a wrong secret until mended":     refusesAWrongSecret,
		"gives opaque tokens without a resource":  givesOpaqueTokens,
		"narrows in silence":                      narrowsInSilence,
		"says no lifetime":                        saysNoLifetime,
		"is busy":                                 isBusy,
		"is slow":                                 isSlow,
		"rotates its key":                         rotatesItsKey,
		"exchanges tokens":                        exchangesTokens,
		"rotates refresh tokens":                  rotatesRefreshTokens,
		"revokes refresh tokens":                  revokesRefreshTokens,
	} {
		t.Run(name, func(t *testing.T) {
			p.Act(t, issuertest.Ways{})
			test(t, p)
		})
	}
}

func knowsItsClients(t *testing.T, p *issuertest.OIDCProvider) {
	for auth, subject := range map[string]string{
		"client_secret_basic": "robot basic:1", "client_secret_post": "robot-post", "private_key_jwt": "robot-key", "tls_client_auth": "robot-cert",
	} {
		r := definition(t, "client_credentials", askingFor("resource", p.Client(auth)), forStorage)
		for range 2 { // also with what the first request has left behind, such as a jti
			token, err := ask(t, r)
			if err != nil {
				t.Errorf("%s: %v", auth, err)
				continue
			}
			claims := decoded(t, token).Claims
			if claims["sub"] != subject || claims["aud"] != "https://storage.example.org" || claims["scope"] != "storage.read:/ compute.read" {
				t.Errorf("%s: got %v", auth, claims)
			}
			if life := token.Lifetime(); life < 598*time.Second || life > 600*time.Second {
				t.Errorf("%s: it lives %v", auth, life)
			}
		}
	}
}

// A file with a client assertion is all that the client needs, as in a pod.
func knowsAClientByAFile(t *testing.T, p *issuertest.OIDCProvider) {
	file := filepath.Join(t.TempDir(), "assertion")
	keep := func(aud string) {
		assertion := issuer.Assertion{KeyFile: p.KeyFile, Issuer: "robot-key", Subject: "robot-key", Audience: aud}
		text, err := assertion.Sign(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, text.Reveal()+"\n", 0o600)
	}
	where := fmt.Sprintf("  issuer = %q\n  ca_file = %q\n  client_assertion_file = %q\n", p.URL, p.CA.File, file)
	for _, block := range []string{where, where + "  client_id = \"robot-key\"\n"} {
		r := definition(t, "client_credentials", askingFor("resource", block), forStorage)
		for range 2 { // it is read again: an assertion is good once
			keep(p.URL)
			token, err := ask(t, r)
			if err != nil {
				t.Fatal(err)
			}
			if claims := decoded(t, token).Claims; claims["sub"] != "robot-key" {
				t.Errorf("got %v", claims)
			}
		}
		_, err := ask(t, r)
		refused(t, err, agent.Configuration, "check that the token in client_assertion_file is for this issuer")
		keep("https://other.example.org")
		_, err = ask(t, r)
		refused(t, err, agent.Configuration, "invalid_client")
	}
}

func knowsAKeyByItsName(t *testing.T, p *issuertest.OIDCProvider) {
	block := askingFor("resource", p.Client("private_key_jwt"))
	key, err := keys.Read(p.KeyFile, "")
	if err != nil {
		t.Fatal(err)
	}
	for id, aud := range map[string]string{key.ID(): p.URL, "another": ""} {
		lines := block + fmt.Sprintf("  client_key_id = %q\n", id)
		if aud != "" {
			lines += fmt.Sprintf("  assertion_audience = %q\n", aud)
		}
		_, err := ask(t, definition(t, "client_credentials", lines, forStorage))
		if (err == nil) != (id == key.ID()) {
			t.Errorf("with the kid %s: %v", id, err)
		}
	}
	_, err = ask(t, definition(t, "client_credentials", block+"  assertion_audience = \"https://other.example.org\"\n", forStorage))
	refused(t, err, agent.Configuration, "invalid_client")
}

func refusesAWrongSecret(t *testing.T, p *issuertest.OIDCProvider) {
	for _, auth := range []string{"client_secret_basic", "client_secret_post"} {
		file := filepath.Join(t.TempDir(), auth)
		write(t, file, "wrong\n", 0o600)
		r := definition(t, "client_credentials", askingFor("resource", strings.ReplaceAll(p.Client(auth), p.SecretFile, file)), forStorage)
		_, err := ask(t, r)
		refused(t, err, agent.Configuration, "invalid_client")
		copyFile(t, p.SecretFile, file)
		if _, err := ask(t, r); err != nil {
			t.Errorf("%s: with the right secret: %v", auth, err)
		}
	}
}

func givesOpaqueTokens(t *testing.T, p *issuertest.OIDCProvider) {
	r := definition(t, "client_credentials", p.Client("client_secret_basic"), `  scope = ["openid"]`+"\n")
	token, err := ask(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := profile.Decode(token.Secret.Reveal()); !errors.Is(err, profile.ErrNoJWT) {
		t.Errorf("it is no opaque token: %v", err)
	}
	if life := token.Lifetime(); life != 600*time.Second {
		t.Errorf("it lives %v", life)
	}
}

func narrowsInSilence(t *testing.T, p *issuertest.OIDCProvider) {
	p.Act(t, issuertest.Ways{Scope: "storage.read:/ storage.modify:/"})
	block := askingFor("resource", p.Client("client_secret_basic"))
	_, err := ask(t, definition(t, "client_credentials", block, forStorage))
	refused(t, err, agent.Configuration, `"compute.read"`)
	p.Act(t, issuertest.Ways{Scope: "storage.read:/ storage.modify:/", Omit: []string{"scope"}}) // the token alone tells
	_, err = ask(t, definition(t, "client_credentials", block, forStorage))
	refused(t, err, agent.Configuration, "compute.read")

	token, err := ask(t, definition(t, "client_credentials", block+"  on_narrowed = \"warn\"\n", forStorage))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(token.Note, "compute.read") {
		t.Errorf("its note is %q", token.Note)
	}
}

func saysNoLifetime(t *testing.T, p *issuertest.OIDCProvider) {
	p.Act(t, issuertest.Ways{Lifetime: 90, Omit: []string{"expires_in"}})
	block := p.Client("client_secret_basic")
	token, err := ask(t, definition(t, "client_credentials", askingFor("resource", block), forStorage))
	if err != nil {
		t.Fatal(err)
	}
	if life := token.Lifetime(); life < 88*time.Second || life > 10*time.Minute {
		t.Errorf("by exp it lives %v", life)
	}
	_, err = ask(t, definition(t, "client_credentials", block, ""))
	refused(t, err, agent.Configuration, "assume_lifetime")
	token, err = ask(t, definition(t, "client_credentials", block+"  assume_lifetime = \"20m\"\n", ""))
	if err != nil || token.Lifetime() != 20*time.Minute {
		t.Errorf("it lives %v, %v", token.Lifetime(), err)
	}
}

func isBusy(t *testing.T, p *issuertest.OIDCProvider) {
	r := definition(t, "client_credentials", askingFor("resource", p.Client("client_secret_basic")), forStorage)
	before := len(p.Asked(t))
	p.Act(t, issuertest.Ways{Failures: 1, RetryAfter: "7"})
	_, err := ask(t, r)
	if fault := refused(t, err, agent.Transient, "503"); fault.RetryAfter != 7*time.Second {
		t.Errorf("it is to be asked again in %v", fault.RetryAfter)
	}
	if strings.Contains(err.Error(), "<") {
		t.Errorf("the page is in the error: %v", err)
	}
	p.Act(t, issuertest.Ways{Failures: 1, Status: 429, RetryAfter: time.Now().Add(time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")})
	_, err = ask(t, r)
	if fault := refused(t, err, agent.Transient, "429"); fault.RetryAfter < 50*time.Minute || fault.RetryAfter > time.Hour {
		t.Errorf("it is to be asked again in %v", fault.RetryAfter)
	}
	if _, err := ask(t, r); err != nil {
		t.Errorf("after that: %v", err)
	}
	if asked := len(p.Asked(t)) - before; asked != 3 {
		t.Errorf("it was asked %d times for 3 attempts", asked)
	}
}

func isSlow(t *testing.T, p *issuertest.OIDCProvider) {
	r := definition(t, "client_credentials", askingFor("resource", p.Client("client_secret_basic")), forStorage)
	if _, err := ask(t, r); err != nil { // the metadata and keys are known now
		t.Fatal(err)
	}
	p.Act(t, issuertest.Ways{Delay: 60_000})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := r.Source.Issue(ctx, r.Request)
	refused(t, err, agent.Transient, "")
	p.Act(t, issuertest.Ways{Delay: 300})
	if _, err := ask(t, r); err != nil {
		t.Errorf("of one that takes its time: %v", err)
	}
}

func rotatesItsKey(t *testing.T, p *issuertest.OIDCProvider) {
	r := definition(t, "client_credentials", askingFor("resource", p.Client("client_secret_basic")), forStorage)
	first, err := ask(t, r)
	if err != nil {
		t.Fatal(err)
	}
	kid := p.RotateKey(t)
	second, err := ask(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if was, is := decoded(t, first).Header["kid"], decoded(t, second).Header["kid"]; was == is || is != kid {
		t.Errorf("the tokens were signed with %v, then %v; the new key is %v", was, is, kid)
	}
}

func exchangesTokens(t *testing.T, p *issuertest.OIDCProvider) {
	subject, err := ask(t, definition(t, "client_credentials", askingFor("resource", p.Client("client_secret_basic")), forStorage))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "subject")
	write(t, file, "junk\n", 0o600)
	block := p.Client("private_key_jwt") + fmt.Sprintf("  subject_token_file = %q\n", file)
	r := definition(t, "token_exchange", block, `  audience = ["https://other.example.org"]`+"\n"+`  scope = ["storage.read:/"]`+"\n")
	_, err = ask(t, r)
	refused(t, err, agent.Configuration, "invalid_grant")

	write(t, file, subject.Secret.Reveal()+"\n", 0o600)
	token, err := ask(t, r)
	if err != nil {
		t.Fatal(err)
	}
	claims := decoded(t, token).Claims
	if claims["sub"] != "robot basic:1" || claims["client_id"] != "robot-key" || claims["aud"] != "https://other.example.org" || claims["scope"] != "storage.read:/" {
		t.Errorf("got %v", claims)
	}
}

func rotatesRefreshTokens(t *testing.T, p *issuertest.OIDCProvider) {
	file := filepath.Join(t.TempDir(), "refresh")
	first := p.Consent(t, "https://storage.example.org", "openid offline_access storage.read:/ compute.read")
	write(t, file, first+"\n", 0o600)
	block := askingFor("resource", p.Client("none")) + fmt.Sprintf("  refresh_token_file = %q\n", file)
	r := definition(t, "refresh_token", block, forStorage)
	for range 5 { // each time with the one that came the time before
		token, err := ask(t, r)
		if err != nil {
			t.Fatal(err)
		}
		if claims := decoded(t, token).Claims; claims["sub"] != "person" || claims["scope"] != "storage.read:/ compute.read" {
			t.Errorf("got %v", claims)
		}
	}

	thief := definition(t, "refresh_token", block, forStorage) // with a state folder of its own, so the first one again
	_, err := ask(t, thief)
	refused(t, err, agent.Configuration, "login")
	_, err = ask(t, r) // the family has ended
	refused(t, err, agent.Configuration, "login")
	if strings.Contains(err.Error(), first) {
		t.Error("the refresh token is in the error")
	}
}

func revokesRefreshTokens(t *testing.T, p *issuertest.OIDCProvider) {
	file := filepath.Join(t.TempDir(), "refresh")
	write(t, file, p.Consent(t, "https://storage.example.org", "openid offline_access storage.read:/ compute.read")+"\n", 0o600)
	block := askingFor("resource", p.Client("none")) + fmt.Sprintf("  refresh_token_file = %q\n", file)
	r := definition(t, "refresh_token", block, forStorage)
	logsOut(t, r, file)
}

// logsOut uses the source's refresh token once, and logs out: a copy is of no use then.
func logsOut(t *testing.T, r agent.Renewer, file string) {
	t.Helper()
	if _, err := ask(t, r); err != nil {
		t.Fatal(err)
	}
	stored := r.Source.(*refreshToken).store.Path()
	kept, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	done, err := LogOut(t.Context(), r.Source, false)
	if err != nil || !done.Revoked || done.Removed != stored || done.Left != file {
		t.Fatalf("%+v, %v", done, err)
	}
	write(t, stored, string(kept), 0o600) // somebody has a copy
	_, err = ask(t, r)
	refused(t, err, agent.Configuration, "login")
}

func TestZitadel(t *testing.T) {
	t.Parallel()
	z := issuertest.StartZitadel(t, "testdata")
	for name, test := range map[string]func(*testing.T, *issuertest.Real){
		"knows its client":                        zitadelKnowsItsClient,
		"says no scope in a token":                zitadelSaysNoScope,
		"exchanges tokens":                        zitadelExchangesTokens,
		"takes an assertion":                      zitadelTakesAnAssertion,
		"revokes refresh tokens":                  zitadelRevokesRefreshTokens,
		"knows a client by an assertion":          zitadelKnowsAClientByAnAssertion,
		"refuses an assertion for another issuer": zitadelRefusesAnotherAssertion,
	} {
		t.Run(name, func(t *testing.T) { test(t, z) })
	}
}

const zitadelAudience = `  audience = ["https://storage.example.org"]` + "\n"

func zitadelKnowsItsClient(t *testing.T, z *issuertest.Real) {
	for _, auth := range []string{"client_secret_basic", "client_secret_post"} {
		token, err := ask(t, definition(t, "client_credentials", z.Block("robot", auth), zitadelAudience))
		if err != nil {
			t.Errorf("%s: %v", auth, err)
			continue
		}
		if claims := decoded(t, token).Claims; claims["sub"] != "robot" {
			t.Errorf("%s: got %v", auth, claims)
		}
		if life := token.Lifetime(); life < 298*time.Second || life > 300*time.Second {
			t.Errorf("%s: it lives %v", auth, life)
		}
	}
}

// Only the answer says the scope. That is enough for a token of no profile; a
// reader of a WLCG token looks for it there.
func zitadelSaysNoScope(t *testing.T, z *issuertest.Real) {
	block, scope := z.Block("robot", "client_secret_basic"), `  scope = ["storage.read:/"]`+"\n"
	token, err := ask(t, definition(t, "client_credentials", block, scope))
	if err != nil || token.Note != "" {
		t.Errorf("got %v with the note %q", err, token.Note)
	}
	wlcg := scope + `  profile = "wlcg"` + "\n" + zitadelAudience
	_, err = ask(t, definition(t, "client_credentials", block, wlcg))
	refused(t, err, agent.Configuration, "scope")
	token, err = ask(t, definition(t, "client_credentials", block+"  on_narrowed = \"warn\"\n", wlcg))
	if err == nil {
		t.Errorf("a WLCG token without a scope is taken, with the note %q", token.Note)
	}
}

func zitadelExchangesTokens(t *testing.T, z *issuertest.Real) {
	block := z.Block("robot", "client_secret_basic") + fmt.Sprintf("  subject_token_file = %q\n", zitadelSubject(t, z))
	token, err := ask(t, definition(t, "token_exchange", block, `  audience = ["https://a.example.org", "https://b.example.org"]`+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	claims := decoded(t, token).Claims
	if aud, _ := claims["aud"].([]any); claims["sub"] != "robot" || !slices.Equal(aud, []any{"https://a.example.org", "https://b.example.org"}) {
		t.Errorf("got %v", claims)
	}
}

func zitadelRevokesRefreshTokens(t *testing.T, z *issuertest.Real) {
	file := filepath.Join(t.TempDir(), "refresh")
	secret := strings.TrimSpace(content(t, z.SecretFile))
	write(t, file, zitadelRefreshToken(t, z, url.Values{"client_id": {"robot"}, "client_secret": {secret}})+"\n", 0o600)
	block := z.Block("robot", "client_secret_basic") + fmt.Sprintf("  refresh_token_file = %q\n", file)
	logsOut(t, definition(t, "refresh_token", block, ""), file)
}

// zitadelAsserts are the source blocks of a client without a secret: it signs an assertion,
// or others keep one for aud in a file.
func zitadelAsserts(t *testing.T, z *issuertest.Real, aud string) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "assertion")
	write(t, file, zitadelAssertion(t, z, aud)+"\n", 0o600)
	where := fmt.Sprintf("  issuer = %q\n  ca_file = %q\n", z.URL, z.CA.File)
	kept := where + fmt.Sprintf("  client_assertion_file = %q\n", file)
	signed := where + fmt.Sprintf("  client_id = \"service\"\n  client_auth = \"private_key_jwt\"\n  client_key_file = %q\n", z.KeyFile)
	return map[string]string{
		"client_assertion_file":               kept,
		"client_assertion_file and client_id": kept + "  client_id = \"service\"\n",
		"client_key_file":                     signed + fmt.Sprintf("  client_key_id = \"service-2026\"\n  assertion_audience = %q\n", aud),
	}
}

// An assertion is enough for an exchange, to refresh, and to revoke at a logout.
func zitadelKnowsAClientByAnAssertion(t *testing.T, z *issuertest.Real) {
	subject := zitadelSubject(t, z)
	for name, block := range zitadelAsserts(t, z, z.URL) {
		t.Run(name, func(t *testing.T) {
			exchange := definition(t, "token_exchange", block+fmt.Sprintf("  subject_token_file = %q\n", subject), "")
			token, err := ask(t, exchange)
			if err != nil {
				t.Fatal(err)
			}
			if claims := decoded(t, token).Claims; claims["sub"] != "robot" || claims["client_id"] != "service" {
				t.Errorf("got %v", claims)
			}
			file := zitadelRefreshFile(t, z)
			logsOut(t, definition(t, "refresh_token", block+fmt.Sprintf("  refresh_token_file = %q\n", file), ""), file)
		})
	}
}

// Zitadel answers invalid_grant where RFC 7521 section 4.2.1 has invalid_client. The refresh
// token stays good, for the client with the right assertion.
func zitadelRefusesAnotherAssertion(t *testing.T, z *issuertest.Real) {
	right := zitadelAsserts(t, z, z.URL)
	for name, block := range zitadelAsserts(t, z, "https://other.example.org") {
		line := fmt.Sprintf("  refresh_token_file = %q\n", zitadelRefreshFile(t, z))
		r := definition(t, "refresh_token", block+line, "")
		_, err := ask(t, r)
		refused(t, err, agent.Configuration, "(it says: audience is not valid")
		refused(t, err, agent.Configuration, "some issuers also say this of a client assertion that they do not accept")
		if done, err := LogOut(t.Context(), r.Source, false); err == nil || done.Revoked {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		if _, err := ask(t, definition(t, "refresh_token", right[name]+line, "")); err != nil {
			t.Errorf("%s: with the right one: %v", name, err)
		}
	}
	unnamed := strings.ReplaceAll(right["client_key_file"], "client_key_id", "# client_key_id")
	_, err := ask(t, definition(t, "refresh_token", unnamed+fmt.Sprintf("  refresh_token_file = %q\n", zitadelRefreshFile(t, z)), ""))
	refused(t, err, agent.Configuration, "")
}

// zitadelRefreshFile holds a refresh token of the client that signs.
func zitadelRefreshFile(t *testing.T, z *issuertest.Real) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "refresh")
	write(t, file, zitadelRefreshToken(t, z, url.Values{"client_assertion": {zitadelAssertion(t, z, z.URL)},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}})+"\n", 0o600)
	return file
}

// zitadelAssertion is what the client that signs shows, for aud.
func zitadelAssertion(t *testing.T, z *issuertest.Real, aud string) string {
	t.Helper()
	text, err := issuer.Assertion{KeyFile: z.KeyFile, KeyID: "service-2026", Issuer: "service", Subject: "service", Audience: aud}.Sign(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text.Reveal()
}

// zitadelSubject is the path of a token of robot.
func zitadelSubject(t *testing.T, z *issuertest.Real) string {
	t.Helper()
	token, err := ask(t, definition(t, "client_credentials", z.Block("robot", "client_secret_basic"), ""))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "subject")
	write(t, file, token.Secret.Reveal()+"\n", 0o600)
	return file
}

// zitadelRefreshToken exchanges a token of robot for a refresh token, which is good for the
// client that asks. Its parameters are form; a source takes the access token alone.
func zitadelRefreshToken(t *testing.T, z *issuertest.Real, form url.Values) string {
	t.Helper()
	form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	form.Set("subject_token", strings.TrimSpace(content(t, zitadelSubject(t, z))))
	form.Set("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
	form.Set("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")
	form.Set("scope", "offline_access")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(content(t, z.CA.File)))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	q, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, z.URL+"/oauth/token", strings.NewReader(form.Encode()))
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.NewDecoder(a.Body).Decode(&answer); err != nil || answer.RefreshToken == "" {
		t.Fatalf("%s without a refresh token, %v", a.Status, err)
	}
	return answer.RefreshToken
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The same assertion is signed here, and read from a file.
func zitadelTakesAnAssertion(t *testing.T, z *issuertest.Real) {
	where := fmt.Sprintf("  issuer = %q\n  ca_file = %q\n", z.URL, z.CA.File)
	file := filepath.Join(t.TempDir(), "assertion")
	write(t, file, zitadelAssertion(t, z, z.URL)+"\n", 0o600)
	signed := where + fmt.Sprintf("  key_file = %q\n  assertion_issuer = \"service\"\n", z.KeyFile)
	for name, lines := range map[string]string{"signed": signed + "  key_id = \"service-2026\"\n", "in a file": where + fmt.Sprintf("  assertion_file = %q\n", file)} {
		token, err := ask(t, definition(t, "jwt_bearer", lines, ""))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if claims := decoded(t, token).Claims; claims["sub"] != "service" {
			t.Errorf("%s: got %v", name, claims)
		}
	}
	for name, line := range map[string]string{"another kid": "", "another audience": "  key_id = \"service-2026\"\n  assertion_audience = \"https://other.example.org\"\n"} {
		if _, err := ask(t, definition(t, "jwt_bearer", signed+line, "")); err == nil {
			t.Errorf("with %s it is taken", name)
		}
	}
}

// definition is a token with those lines in its block, of a source of that kind
// with those in its own, and with a state folder of its own.
func definition(t *testing.T, kind, lines, token string) agent.Renewer {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "tokenagent.hcl")
	text := fmt.Sprintf("source %q \"real\" {\n%s}\ntoken \"it\" {\n  source = source.%s.real\n%s}\n", kind, lines, kind, token)
	write(t, path, text, 0o600)
	c, faults := config.Load(t.Context(), []string{path}, config.Kinds{Sources: Kinds}, config.Environment{
		Machine: config.Machine{
			Seed:     "seed",
			Hostname: func() (string, error) { return "host", nil },
			FQDN:     func() (string, error) { return "host.example.org", nil },
		},
		State: func(config.Settings) config.State { return config.State{Dir: filepath.Join(dir, "state")} },
	})
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return c.Renewers[0]
}

// askingFor are the lines of a source block with the audience in that parameter.
func askingFor(parameter, lines string) string {
	return lines + fmt.Sprintf("  audience_parameter = %q\n", parameter)
}

// ask asks for the token and checks it, as the Agent does.
func ask(t *testing.T, r agent.Renewer) (agent.Token, error) {
	t.Helper()
	token, err := r.Source.Issue(t.Context(), r.Request)
	if err == nil {
		err = r.Accept(token)
	}
	return token, err
}

// refused is the fault that err must be.
func refused(t *testing.T, err error, kind agent.Kind, because string) *agent.Fault {
	t.Helper()
	fault, ok := errors.AsType[*agent.Fault](err)
	if !ok || fault.Kind != kind || !strings.Contains(err.Error(), because) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v, want a fault of the kind %v with %q", err, kind, because)
	}
	return fault
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, _, err := host.ReadFile(from, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(data), 0o600)
}
