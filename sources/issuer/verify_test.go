package issuer_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// wantFault reports an error that is not the fault of that kind with that text, in
// which ISSUER stands for the test's.
func wantFault(t *testing.T, err error, i *issuertest.Issuer, kind agent.Kind, text string) {
	t.Helper()
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok {
		t.Fatalf("got %v, which is no fault", err)
	}
	text = strings.ReplaceAll(text, "ISSUER", i.URL)
	if f.Kind != kind || err.Error() != text {
		t.Errorf("got %s: %v\nwant %s: %s", f.Kind, err, kind, text)
	}
}

// signed is a JWT of the issuer, signed with a new key for the algorithm that is
// published under its id or not.
func signed(t *testing.T, i *issuertest.Issuer, algorithm, typ string, publish bool, claims map[string]any) string {
	t.Helper()
	key, err := keys.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	if publish {
		i.Publish(jose.JSONWebKey{Key: crypto.PublicKey(key.Public()), KeyID: key.ID(), Algorithm: algorithm, Use: "sig"})
	}
	header := map[jose.HeaderKey]any{}
	if typ != "" {
		header[jose.HeaderType] = typ
	}
	return issuertest.SignedBy(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: key.Private(), KeyID: key.ID()}}, header, claims)
}

func TestEveryAlgorithmIsVerified(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	for _, algorithm := range keys.Algorithms() {
		s := serverOf(i)
		text := signed(t, i, algorithm, "JWT", true, map[string]any{"iss": i.URL, "sub": "robot"})
		got, err := s.Verify(t.Context(), agent.NewSecret(text))
		if err != nil || got.Claims["sub"] != "robot" || got.Header["alg"] != algorithm {
			t.Errorf("%s: %v, %v", algorithm, got, err)
		}
		forged := signed(t, i, algorithm, "JWT", false, map[string]any{"iss": i.URL, "sub": "robot"})
		if _, err := s.Verify(t.Context(), agent.NewSecret(forged)); err == nil {
			t.Errorf("%s: a token of another key was accepted", algorithm)
		}
	}
}

func TestAKeyThatIsNotKnownHasThemReadAgain(t *testing.T) {
	i := issuertest.Start(t)
	s := serverOf(i)
	verify := func() error {
		_, err := s.Verify(t.Context(), agent.NewSecret(i.Sign(map[string]any{"iss": i.URL})))
		return err
	}
	read := func() int { return len(i.Requests(issuertest.KeysPath)) }
	for range 3 {
		if err := verify(); err != nil {
			t.Fatal(err)
		}
	}
	if read() != 1 {
		t.Errorf("the keys were read %d times for one key", read())
	}
	i.RotateKey(t, true)
	if err := verify(); err != nil || read() != 2 {
		t.Errorf("after a rotation: %v, the keys were read %d times", err, read())
	}
}

func TestAKeyThatIsNotPublishedYetMayCome(t *testing.T) {
	i := issuertest.Start(t)
	i.RotateKey(t, false)
	text := agent.NewSecret(i.Sign(map[string]any{"iss": i.URL}))
	_, err := serverOf(i).Verify(t.Context(), text)
	decoded, _ := profile.Decode(text.Reveal())
	wantFault(t, err, i, agent.Transient, "issuer ISSUER: keys at ISSUER/jwks: the key \""+decoded.Header["kid"].(string)+"\" that signed the token is not among them yet; the issuer must publish it")
}

func TestTheLastGoodKeysAreKept(t *testing.T) {
	i := issuertest.Start(t)
	s := serverOf(i)
	old := agent.NewSecret(i.Sign(map[string]any{"iss": i.URL}))
	if _, err := s.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeKeys = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "90")
			http.Error(w, "SECRET", http.StatusServiceUnavailable)
		}
	})
	if _, err := s.Verify(t.Context(), old); err != nil {
		t.Error(err)
	}
	i.RotateKey(t, true)
	_, err := s.Verify(t.Context(), agent.NewSecret(i.Sign(map[string]any{"iss": i.URL})))
	wantFault(t, err, i, agent.Transient, "issuer ISSUER: keys at ISSUER/jwks: 503 Service Unavailable at ISSUER/jwks; the issuer or something before it is overloaded or down")
	if f, _ := errors.AsType[*agent.Fault](err); f.RetryAfter.Seconds() != 90 {
		t.Errorf("its Retry-After is %v", f.RetryAfter)
	}
	if _, err := s.Verify(t.Context(), old); err != nil {
		t.Error(err)
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	for text, want := range map[string]string{
		`{}`:          "it is not a set of keys (JWKS, RFC 7517): it has no list named keys",
		`{"keys":{}}`: "it is not a set of keys (JWKS, RFC 7517): it has no list named keys",
		`{"keys":[1` + strings.Repeat(",1", 200) + `]}`: "it has 201 keys; a set that can be used has at most 200",
		`[]`:                    "its answer with status 200 cannot be used: it is not a JSON object; see whether the address is right, and what answers there",
		`{"keys":[],"keys":[]}`: "its answer with status 200 cannot be used: a name occurs twice in an object; see whether the address is right, and what answers there",
		`<html>`:                "its answer with status 200 cannot be used: it is not valid JSON; see whether the address is right, and what answers there",
	} {
		i.Change(func(b *issuertest.Behaviour) {
			b.ServeKeys = func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(text)) }
		})
		_, err := serverOf(i).Verify(t.Context(), agent.NewSecret(i.Sign(map[string]any{"iss": i.URL})))
		if strings.HasPrefix(text, "<") { // of which net/http tells the type
			want = "its answer is an HTML page and not JSON; see whether that is the issuer, or a page of something between"
		}
		wantFault(t, err, i, agent.Transient, "issuer ISSUER: keys at ISSUER/jwks: "+want)
	}
}

func TestATokenThatNoKeyCanVouchFor(t *testing.T) {
	i := issuertest.Start(t)
	s := serverOf(i)
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	made := func(header, claims map[string]any) string {
		return part(header) + "." + part(claims) + "." + base64.RawURLEncoding.EncodeToString([]byte(rand.Text()))
	}
	good := map[string]any{"iss": i.URL}
	const none = "alg: it is not signed, so anybody could have made it; the issuer must sign it"
	const shared = "alg: it is signed with a shared secret (HS256 and its kin), which others cannot verify; have the issuer sign with RS256 or ES256, or set verify = false"
	const extended = "crit: it has extensions that a reader must understand (RFC 7515 section 4.1.11), and those of tokens understand none; have the issuer leave them out"
	genuine := i.Sign(good)
	for name, c := range map[string]struct{ text, want string }{
		"none":         {made(map[string]any{"alg": "none"}, good), none},
		"None":         {made(map[string]any{"alg": "None"}, good), none},
		"no alg":       {made(map[string]any{"typ": "JWT"}, good), none},
		"alg a number": {made(map[string]any{"alg": 5}, good), none},
		"HS256":        {made(map[string]any{"alg": "HS256"}, good), shared},
		"HS512":        {made(map[string]any{"alg": "HS512"}, good), shared},
		"RSA1_5":       {made(map[string]any{"alg": "RSA1_5"}, good), "alg: it cannot be verified; allowed are RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512, EdDSA"},
		"a list":       {made(map[string]any{"alg": "ES256", "typ": []string{"logout+jwt"}}, good), "typ: it is not text; allowed are JWT, at+jwt or none"},
		"logout":       {made(map[string]any{"alg": "ES256", "typ": "logout+jwt"}, good), `typ: it is "logout+jwt", which is not that of an access token; allowed are JWT, at+jwt or none`},
		"slash":        {made(map[string]any{"alg": "ES256"}, map[string]any{"iss": i.URL + "/"}), `iss: it is "ISSUER/", another than the issuer that was asked; they must be equal, to the slash at the end`},
		"no iss":       {made(map[string]any{"alg": "ES256"}, map[string]any{}), `iss: it is "", another than the issuer that was asked; they must be equal, to the slash at the end`},
		"crit":         {made(map[string]any{"alg": "ES256", "crit": []string{"b64"}, "b64": true}, good), extended},
		"b64":          {made(map[string]any{"alg": "ES256", "b64": false}, good), extended},
		"opaque":       {"opaque", "it is not a JWT, which is three parts of base64url with dots between them"},
		"line end":     {genuine + "\n", "signature: it is not base64url without padding (RFC 7515)"},
	} {
		_, err := s.Verify(t.Context(), agent.NewSecret(c.text))
		wantFault(t, err, i, agent.Configuration, "issuer ISSUER: token: "+c.want)
		if opaque := errors.Is(err, profile.ErrNoJWT); opaque != (name == "opaque") {
			t.Errorf("%s: it is taken for opaque: %v", name, opaque)
		}
	}
	if got := len(i.Requests()); got != 0 {
		t.Errorf("the issuer was asked %d times for what it cannot answer", got)
	}
	parts := strings.Split(genuine, ".")
	_, err := s.Verify(t.Context(), agent.NewSecret(parts[0]+"."+part(map[string]any{"iss": i.URL, "sub": "root"})+"."+parts[2]))
	wantFault(t, err, i, agent.Configuration, "issuer ISSUER: keys at ISSUER/jwks: none of them has signed the token; see whether it comes from this issuer")
}

// RFC 7518 section 3.3 has nobody use a key that can be broken.
func TestAWeakKeyVouchesForNothing(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	i := issuertest.Start(t)
	i.Publish(jose.JSONWebKey{Key: &private.PublicKey, KeyID: "weak"})
	digest := sha256.Sum256([]byte(weakToken(i)))
	signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	_, err = serverOf(i).Verify(t.Context(), agent.NewSecret(weakToken(i)+"."+base64.RawURLEncoding.EncodeToString(signature)))
	wantFault(t, err, i, agent.Configuration, `issuer ISSUER: keys at ISSUER/jwks: the key "weak" that the token names cannot be used: it is an RSA key of 1024 bits; at least 2048 are needed (RFC 7518 section 3.3); the issuer must sign with another`)
}

// weakToken is a token of the issuer without its signature.
func weakToken(i *issuertest.Issuer) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256","kid":"weak"}`)) + "." + part([]byte(`{"iss":"`+i.URL+`"}`))
}

func TestTypesOfAnAccessToken(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	s := serverOf(i)
	for _, typ := range []string{"", "JWT", "jwt", "application/jwt", "at+jwt", "application/at+jwt", "AT+JWT"} {
		text := signed(t, i, "ES256", typ, true, map[string]any{"iss": i.URL})
		if _, err := s.Verify(t.Context(), agent.NewSecret(text)); err != nil {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
}

func TestKeysWhoseAddressCannotBeHadAreToldFromKeysWithoutOne(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeMetadata = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) }
	})
	if _, _, err := serverOf(i).Keys(t.Context()); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
		t.Errorf("got %v", err)
	}
}

func TestWhereTheKeysAre(t *testing.T) {
	i := issuertest.Start(t)
	text := agent.NewSecret(i.Sign(map[string]any{"iss": "https://some.example"}))
	alone := issuer.NewServer(issuer.Address{TokenEndpoint: i.URL + "/token", JWKSURI: i.URL + "/jwks", CAFile: i.CAFile})
	if _, err := alone.Verify(t.Context(), text); err != nil {
		t.Error(err)
	}
	if got := len(i.Requests(issuertest.MetadataPath)); got != 0 {
		t.Error("the metadata was read, though jwks_uri is set")
	}
	i.Change(func(b *issuertest.Behaviour) { b.Metadata = func(m map[string]any) { delete(m, "jwks_uri") } })
	_, err := serverOf(i).Verify(t.Context(), agent.NewSecret(i.Sign(map[string]any{"iss": i.URL})))
	wantFault(t, err, i, agent.Configuration, "issuer ISSUER: metadata: it names no jwks_uri, so no signature can be verified; set jwks_uri, or verify = false")
}
