package sources

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// pilot is what a token block for a CE asks for.
var pilot = agent.Request{
	Profile: "wlcg", Subject: "pilot", Audience: []string{"ce1.example.org:9619"},
	Scope: []string{"compute.read", "compute.modify", "compute.create", "compute.cancel"}, Lifetime: time.Hour,
}

func generated(t testing.TB, algorithm string) keys.Key {
	t.Helper()
	key, err := keys.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key.WithID("2026-11")
}

func newSource(t testing.TB, key keys.Key) *localKey {
	t.Helper()
	s, err := newLocalKey(key, "https://issuer.example.org")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func issue(t testing.TB, s agent.Source, req agent.Request) agent.Token {
	t.Helper()
	token, err := s.Issue(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func decoded(t testing.TB, token agent.Token) profile.Token {
	t.Helper()
	d, err := profile.Decode(token.Secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestIssuedTokensVerify(t *testing.T) {
	for _, algorithm := range keys.Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			key := generated(t, algorithm)
			text := issue(t, newSource(t, key), pilot).Secret.Reveal()
			published, err := keys.JWKS(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifyByJWKS(text, published, algorithm); err != nil {
				t.Errorf("go-jose: %v", err)
			}
			if !verifyByHand(text, algorithm, key.Public()) {
				t.Error("the standard library refuses the signature")
			}
			forged := strings.Replace(text, ".", ".e", 1)
			if verifyByHand(forged, algorithm, key.Public()) {
				t.Error("other claims verify too")
			}
		})
	}
}

// verifyByJWKS verifies as a reader does that finds the key by its kid.
func verifyByJWKS(text string, published []byte, algorithm string) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(published, &set); err != nil {
		return err
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
	if err != nil {
		return err
	}
	found := set.Key(jws.Signatures[0].Header.KeyID)
	if len(found) != 1 {
		return fmt.Errorf("%d keys of that kid", len(found))
	}
	_, err = jws.Verify(found[0])
	return err
}

// verifyByHand is RFC 7515 section 5.2 on the standard library alone.
func verifyByHand(text, algorithm string, public crypto.PublicKey) bool {
	dot := strings.LastIndex(text, ".")
	input := []byte(text[:dot])
	signature, err := base64.RawURLEncoding.DecodeString(text[dot+1:])
	if err != nil {
		return false
	}
	hash, digest := digestOf(algorithm, input)
	switch public := public.(type) {
	case *rsa.PublicKey:
		if algorithm == "PS256" {
			return rsa.VerifyPSS(public, hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(public, hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		half := (public.Curve.Params().BitSize + 7) / 8 // RFC 7518 section 3.4: r and s, each of full length
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		return len(signature) == 2*half && ecdsa.Verify(public, digest, r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(public, input, signature)
	}
	return false
}

func TestIssueWritesEveryClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(700 * time.Millisecond) // within a second: all times are cut to whole ones
		now := time.Now()
		req := pilot
		req.Lifetime = 90*time.Minute + 900*time.Millisecond
		token := issue(t, newSource(t, generated(t, "ES256")), req)
		got := decoded(t, token)
		number := func(d time.Duration) json.Number {
			return json.Number(fmt.Sprint(now.Add(d).Unix()))
		}
		want := map[string]any{
			"iss": "https://issuer.example.org", "sub": "pilot", "aud": "ce1.example.org:9619",
			"scope":    "compute.read compute.modify compute.create compute.cancel",
			"wlcg.ver": "1.0", "iat": number(0), "nbf": number(-time.Minute), "exp": number(90 * time.Minute),
			"jti": got.Claims["jti"],
		}
		if diff := cmp.Diff(want, got.Claims); diff != "" {
			t.Error(diff)
		}
		if want := map[string]any{"alg": "ES256", "kid": "2026-11", "typ": "JWT"}; !cmp.Equal(want, got.Header) {
			t.Errorf("got %v", got.Header)
		}
		if !token.Issued.Equal(now) || json.Number(fmt.Sprint(token.Expires.Unix())) != got.Claims["exp"] || token.Expires.Nanosecond() != 0 {
			t.Errorf("issued %v, expires %v", token.Issued, token.Expires)
		}
	})
}

func TestEachTokenHasItsOwnID(t *testing.T) {
	s, form := newSource(t, generated(t, "ES256")), regexp.MustCompile(`^[0-9a-f]{32}$`)
	seen := map[any]bool{}
	for range 100 {
		id := decoded(t, issue(t, s, pilot)).Claims["jti"]
		if seen[id] || !form.MatchString(fmt.Sprint(id)) {
			t.Fatalf("got %v", id)
		}
		seen[id] = true
	}
}

func TestProfilesSetTheirVersion(t *testing.T) {
	key := generated(t, "ES256")
	cases := map[string]map[string]any{
		"wlcg":      {"wlcg.ver": "1.0"},
		"scitokens": {"ver": "scitoken:2.0"},
		"":          {},
	}
	for name, want := range cases {
		req := pilot
		req.Profile = name
		got := decoded(t, issue(t, newSource(t, key), req)).Claims
		maps.DeleteFunc(got, func(claim string, _ any) bool { return !strings.HasSuffix(claim, "ver") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	}
}

func TestFurtherClaimsKeepTheirTypes(t *testing.T) {
	req := pilot
	req.Claims = map[string]any{
		"text": "x", "whole": int64(1) << 53, "fraction": 1.5, "yes": true,
		"list": []any{"a", int64(2), []any{}}, "object": map[string]any{"k": map[string]any{"n": int64(1)}},
		"wlcg.groups": []any{"/cms/Role=pilot", "/cms"}, "wlcg.ver": "1.0", "sub": "pilot",
	}
	got := decoded(t, issue(t, newSource(t, generated(t, "ES256")), req)).Claims
	want := map[string]any{
		"text": "x", "whole": json.Number("9007199254740992"), "fraction": json.Number("1.5"), "yes": true,
		"list": []any{"a", json.Number("2"), []any{}}, "object": map[string]any{"k": map[string]any{"n": json.Number("1")}},
		"wlcg.groups": []any{"/cms/Role=pilot", "/cms"}, "wlcg.ver": "1.0", "sub": "pilot",
	}
	for name, v := range want {
		if diff := cmp.Diff(v, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAudienceIsTextForOneAndArrayForSeveral(t *testing.T) {
	s := newSource(t, generated(t, "ES256"))
	for _, c := range []struct {
		audience []string
		want     any
	}{
		{[]string{"a"}, "a"},
		{[]string{"a", "b"}, []any{"a", "b"}},
		{nil, nil},
	} {
		req := agent.Request{Audience: c.audience, Lifetime: time.Hour}
		claims := decoded(t, issue(t, s, req)).Claims
		if _, there := claims["aud"]; !cmp.Equal(claims["aud"], c.want) || there != (c.want != nil) {
			t.Errorf("%v: got %v", c.audience, claims["aud"])
		}
	}
}

// faults are the problems that are no warnings, one a line.
func faults(problems []profile.Problem) string {
	var texts []string
	for _, p := range problems {
		if !p.Warning {
			texts = append(texts, p.String())
		}
	}
	return strings.Join(texts, "\n")
}

func TestCheckSeesWhatIssueWouldSign(t *testing.T) {
	cases := map[string]struct {
		algorithm string
		change    func(*agent.Request)
		want      string
	}{
		"as it should be":         {"ES256", func(*agent.Request) {}, ""},
		"RSA":                     {"RS256", func(*agent.Request) {}, ""},
		"wrong curve":             {"ES384", func(*agent.Request) {}, `alg: "ES384" is not allowed here; allowed are RS256, ES256`},
		"Ed25519":                 {"EdDSA", func(*agent.Request) {}, `alg: "EdDSA" is not allowed here; allowed are RS256, ES256`},
		"curve without profile":   {"ES384", func(r *agent.Request) { r.Profile = "" }, ""},
		"wrong key":               {"ES256", func(r *agent.Request) { r.Profile = "clustercockpit"; r.Claims = map[string]any{"roles": []any{"api"}} }, `alg: "ES256" is not allowed here; allowed is EdDSA`},
		"no audience":             {"ES256", func(r *agent.Request) { r.Audience = nil }, "aud: it is missing"},
		"no subject":              {"ES256", func(r *agent.Request) { r.Subject = "" }, "sub: it is missing"},
		"words with blanks":       {"ES256", func(r *agent.Request) { r.Scope = []string{"compute.read", ""} }, "has blanks too many"},
		"own version":             {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"wlcg.ver": "1.0"} }, ""},
		"another version":         {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"wlcg.ver": "1.1"} }, "wlcg.ver: a further claim says 1.1, but it is set to 1.0; leave it out"},
		"another issuer":          {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"iss": "x"} }, "iss: a further claim says x, but it is set to https://issuer.example.org"},
		"a time":                  {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"exp": int64(1)} }, "exp: it is new in each token; leave it out of the further claims"},
		"own audience as text":    {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"aud": "ce1.example.org:9619"} }, ""},
		"own audience as array":   {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"aud": []any{"ce1.example.org:9619"}} }, ""},
		"another audience":        {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"aud": []any{"x"}} }, "aud: a further claim says [x], but it is set to ce1.example.org:9619"},
		"an id":                   {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"jti": "1"} }, "jti: it is new in each token"},
		"no lifetime":             {"ES256", func(r *agent.Request) { r.Lifetime = 0 }, "exp: the token is never valid; exp must be later than iat"},
		"subject of another form": {"ES256", func(r *agent.Request) { r.Subject = ""; r.Claims = map[string]any{"sub": int64(7)} }, "sub: it is 7; a string is allowed"},
		"claims without end":      {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"x": strings.Repeat("x", 16000)} }, "readers take at most 16382"},
		"no JSON":                 {"ES256", func(r *agent.Request) { r.Claims = map[string]any{"x": func() {}} }, "the claims cannot be written as JSON"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			req := pilot
			c.change(&req)
			got := faults(newSource(t, generated(t, c.algorithm)).check(req))
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestIssuerMayBeAbsentWithoutProfile(t *testing.T) {
	s, err := newLocalKey(generated(t, "ES256"), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := faults(s.check(agent.Request{Lifetime: time.Hour})); got != "" {
		t.Error(got)
	}
	if got := faults(s.check(pilot)); !strings.HasPrefix(got, "iss: it is missing") {
		t.Errorf("got %q", got)
	}
}

func TestWhatCheckPassesIsIssuedWithoutFault(t *testing.T) {
	for _, name := range []string{"wlcg", "scitokens", ""} {
		req := pilot
		req.Profile = name
		s := newSource(t, generated(t, "RS256"))
		if got := faults(s.check(req)); got != "" {
			t.Errorf("%q: before: %s", name, got)
		}
		d := decoded(t, issue(t, s, req))
		problems := slices.Concat(profile.Check(name, d), profile.Matches(d, req), profile.Times(d, time.Now()))
		if got := faults(problems); got != "" {
			t.Errorf("%q: after: %s", name, got)
		}
		if diff := cmp.Diff(s.header.parameters(name), d.Header); diff != "" {
			t.Errorf("%q: Check saw another header: %s", name, diff)
		}
	}
}

// The largest token that Check passes is the largest that readers take.
func TestCheckCountsEveryByteOfTheToken(t *testing.T) {
	type checked interface {
		agent.Source
		check(agent.Request) []profile.Problem
	}
	all := map[string]checked{"HS256": newPool(t, "hello", "POOL")}
	for _, algorithm := range []string{"RS256", "ES256", "ES512", "EdDSA"} {
		all[algorithm] = newSource(t, generated(t, algorithm))
	}
	for name, s := range all {
		padded := func(n int) agent.Request {
			req := schedd
			req.Profile, req.Claims = "", map[string]any{"x": strings.Repeat("x", n)}
			return req
		}
		tooMuch := sort.Search(agent.MaxText, func(n int) bool { return faults(s.check(padded(n))) != "" })
		text := issue(t, s, padded(tooMuch-1)).Secret.Reveal()
		if len(text) != agent.MaxText && len(text) != agent.MaxText-1 { // a byte of text makes one or two
			t.Errorf("%s: the largest has %d bytes, not %d", name, len(text), agent.MaxText)
		}
		if got := faults(s.check(padded(tooMuch))); !strings.Contains(got, "readers take at most 16382") {
			t.Errorf("%s: one more: %s", name, got)
		}
	}
}

func TestAClaimEqualToTheOneThatIsSetIsAccepted(t *testing.T) {
	s := newSource(t, generated(t, "ES256"))
	req := pilot
	req.Claims = map[string]any{"aud": []any{pilot.Audience[0]}, "iss": "https://issuer.example.org", "scope": strings.Join(pilot.Scope, " ")}
	if got := faults(s.check(req)); got != "" {
		t.Error(got)
	}
	if got := faults(profile.Matches(decoded(t, issue(t, s, req)), req)); got != "" {
		t.Error(got)
	}
}

func TestAKeyWhoseNameCannotBeShownSignsNothing(t *testing.T) {
	if _, err := NewLocalKey(generated(t, "ES256").WithID("a\nb"), ""); err == nil || !strings.Contains(err.Error(), "cannot be printed") {
		t.Errorf("got %v", err)
	}
}

func TestClusterCockpitTakesWhatIsIssued(t *testing.T) {
	s, err := newLocalKey(generated(t, "EdDSA"), "")
	if err != nil {
		t.Fatal(err)
	}
	req := agent.Request{
		Profile: "clustercockpit", Subject: "collector", Lifetime: 24 * time.Hour,
		Claims: map[string]any{"roles": []any{"api"}},
	}
	d := decoded(t, issue(t, s, req))
	if problems := slices.Concat(s.check(req), profile.Check("clustercockpit", d), profile.Matches(d, req)); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestIssueRefusesAContradictionAsConfiguration(t *testing.T) {
	req := pilot
	req.Claims = map[string]any{"iss": "x"}
	_, err := newSource(t, generated(t, "ES256")).Issue(context.Background(), req)
	fault, ok := errors.AsType[*agent.Fault](err)
	if !ok || fault.Kind != agent.Configuration {
		t.Errorf("got %v", err)
	}
}

func TestIssueStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newSource(t, generated(t, "ES256")).Issue(ctx, pilot); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAnotherKeyIsAnotherDefinition(t *testing.T) {
	key := generated(t, "RS256")
	other, err := key.WithAlgorithm("RS512")
	if err != nil {
		t.Fatal(err)
	}
	written := func(k keys.Key) string { return newSource(t, k).facts().Key.Mark.Reveal() }
	first := written(key)
	if again := written(key); first == "" || again != first {
		t.Error("the same key is not the same")
	}
	for _, k := range []keys.Key{generated(t, "RS256"), key.WithID("next"), other} {
		if written(k) == first {
			t.Errorf("%v and %v are the same", k, key)
		}
	}
}

func TestNothingPrintsTheKey(t *testing.T) {
	key := generated(t, "EdDSA")
	s := newSource(t, key)
	private := []byte(key.Private().(ed25519.PrivateKey))[:8]
	forms := []string{
		strings.Trim(fmt.Sprint(private), "[]"), hex.EncodeToString(private), string(private),
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", private), "[]byte{"), "}"),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{s, *s, []any{s}, struct{ s localKey }{*s}} {
			shown := fmt.Sprintf(verb, v)
			if slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(shown, form) }) {
				t.Errorf("%s of %T shows the key", verb, v)
			}
		}
	}
}

// FuzzIssue holds that any claims that are JSON come back as they were, or are
// refused, and that what is issued always verifies.
func FuzzIssue(f *testing.F) {
	f.Add("pilot", "a", "storage.read:/", `{"x":[1,{"y":null}],"wlcg.ver":"1.0"}`)
	f.Add("", "", "", `{"exp":1}`)
	f.Add("\xff", "\x00", " ", `{"iss":"<&>\u2028"}`)
	key := generated(f, "EdDSA")
	s := newSource(f, key)
	f.Fuzz(func(t *testing.T, subject, audience, scope, claims string) {
		req := agent.Request{Profile: "wlcg", Subject: subject, Audience: []string{audience}, Scope: []string{scope}, Lifetime: time.Hour}
		if json.Unmarshal([]byte(claims), &req.Claims) != nil {
			return
		}
		problems := s.check(req)
		token, err := s.Issue(context.Background(), req)
		if err != nil {
			if faults(problems) == "" {
				t.Errorf("Check found nothing, but Issue says %v", err)
			}
			return
		}
		if !verifyByHand(token.Secret.Reveal(), "EdDSA", key.Public()) {
			t.Error("the signature does not verify")
		}
		if faults(problems) == "" {
			if got := faults(profile.Check("wlcg", decoded(t, token))); got != "" {
				t.Errorf("Check found nothing before, but now %s", got)
			}
		}
	})
}
