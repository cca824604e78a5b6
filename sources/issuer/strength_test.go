package issuer

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// jwkOf is the public JWK of a new key for the algorithm, as members that can be changed.
func jwkOf(t *testing.T, algorithm string) (keys.Key, map[string]any) {
	t.Helper()
	key, err := keys.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(jose.JSONWebKey{Key: key.Public(), KeyID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	return key, members
}

// signedWith is a token of the example, signed with the key for the algorithm.
func signedWith(key keys.Key, algorithm string, header map[jose.HeaderKey]any) agent.Secret {
	signing := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: key.Private(), KeyID: "k"}}
	return agent.NewSecret(issuertest.SignedBy(signing, header, map[string]any{"iss": example}))
}

// publishing is a Server of the example with that key set.
func publishing(set ...any) *Server {
	return serverOver(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/jwks" {
			return respond(req, http.StatusOK, map[string]any{"keys": set}), nil
		}
		return exampleMetadata(req), nil
	})
}

func number(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }

func TestAKeyVerifiesOnlyWhatItIsFor(t *testing.T) {
	const at = "issuer " + example + ": keys at " + example + "/jwks: the key \"k\" that the token names "
	for name, c := range map[string]struct {
		sign   string
		change map[string]any
		want   string // "": verified
	}{
		"no alg":                      {"RS256", nil, ""},
		"its alg":                     {"RS256", map[string]any{"alg": "RS256"}, ""},
		"another alg":                 {"RS256", map[string]any{"alg": "PS256"}, at + "is for the algorithm PS256, and the token is signed with RS256; the issuer must sign with the algorithm that it publishes"},
		"an alg for encryption":       {"RS256", map[string]any{"alg": "RSA-OAEP"}, at + "is for the algorithm RSA-OAEP, and the token"},
		"HS256 as its alg":            {"ES256", map[string]any{"alg": "HS256"}, at + "is for the algorithm HS256, and the token"},
		"an alg that breaks lines":    {"ES256", map[string]any{"alg": "ES256\n\x1b[2J"}, at + "is for the algorithm ES256??[2J, and the token"},
		"EdDSA by its new name":       {"EdDSA", map[string]any{"alg": "Ed25519"}, ""},
		"the name of another curve":   {"EdDSA", map[string]any{"alg": "Ed448"}, at + "is for the algorithm Ed448, and the token is signed with EdDSA"},
		"for signatures":              {"ES256", map[string]any{"use": "sig", "key_ops": []string{"verify"}}, ""},
		"for encryption":              {"ES256", map[string]any{"use": "enc"}, at + "cannot be used: its use is enc, not sig; the issuer must sign with another"},
		"for wrapping":                {"RS256", map[string]any{"key_ops": []string{"wrapKey"}}, at + "cannot be used: its key_ops do not have verify"},
		"no list of what it is for":   {"RS256", map[string]any{"key_ops": "verify"}, ""},
		"half a curve":                {"ES256", map[string]any{"crv": "P-384"}, at + "cannot be used: its x and y are not a point of P-384; the issuer must correct what it publishes"},
		"a shared secret":             {"ES256", map[string]any{"kty": "oct", "k": "AAAA"}, at + "cannot be used: it is a shared secret (kty oct)"},
		"an exponent of one":          {"RS256", map[string]any{"e": "AQ"}, at + "cannot be used: its e is not between 2 and 2147483647"},
		"an even exponent":            {"RS256", map[string]any{"e": "AQAA"}, at + "cannot be used: it is an RSA key whose modulus or exponent is even"},
		"an even modulus":             {"RS256", map[string]any{"n": number(new(big.Int).Lsh(big.NewInt(1), 2047))}, at + "cannot be used: it is an RSA key whose modulus or exponent is even"},
		"a modulus of a million bits": {"RS256", map[string]any{"n": number(new(big.Int).Lsh(big.NewInt(1), 1<<20))}, at + "cannot be used: its n has 1048577 bits; RSA keys of at most 8192 are taken"},
		"Ed25519 of small order":      {"EdDSA", map[string]any{"x": base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...))}, at + "cannot be used: its x is a point of small order"},
	} {
		t.Run(name, func(t *testing.T) {
			key, jwk := jwkOf(t, c.sign)
			maps.Copy(jwk, c.change)
			began := time.Now()
			_, err := publishing(jwk).Verify(t.Context(), signedWith(key, c.sign, nil))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if took := time.Since(began); took > 2*time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestATokenWithoutKidIsToldOfNoKeyInParticular(t *testing.T) {
	key, jwk := jwkOf(t, "ES256")
	token := sciToken(key, nil)
	for name, set := range map[string][]any{
		"a key of another algorithm": {with(jwk, "kid", nil, "alg", "ES512")},
		"no key":                     {},
	} {
		_, err := publishing(set...).Verify(t.Context(), agent.NewSecret(token))
		wants(t, err, example, agent.Configuration, "issuer ISSUER: keys at ISSUER/jwks: none of them has signed the token; see whether it comes from this issuer")
		text, err := json.Marshal(map[string]any{"keys": set})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := ParseKeys(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Verify(agent.NewSecret(token)); err == nil || strings.Contains(err.Error(), "that the token names") {
			t.Errorf("%s: by a file of keys: %v", name, err)
		}
	}
}

// Two keys may have one kid, as long as their kinds differ (RFC 7517 section 4.5);
// then each is tried that fits.
func TestKeysOfOneKidAreAllTried(t *testing.T) {
	key, jwk := jwkOf(t, "ES256")
	_, other := jwkOf(t, "RS256")
	_, same := jwkOf(t, "ES256")
	wrong := maps.Clone(jwk)
	wrong["alg"] = "ES384"
	if _, err := publishing(other, same, wrong, jwk, map[string]any{"kid": "k"}).Verify(t.Context(), signedWith(key, "ES256", nil)); err != nil {
		t.Error(err)
	}
}

// largestRSA is the most bits that a key may have.
const largestRSA = 8192

// Of 200 keys as large as are allowed, all are tried for a token that names none.
func TestAFullSetOfHugeKeysIsTriedInTime(t *testing.T) {
	key, _ := jwkOf(t, "RS256")
	n := new(big.Int).Lsh(big.NewInt(1), largestRSA-1)
	var set []any
	for i := range mostKeys {
		huge := new(big.Int).Add(n, big.NewInt(int64(2*i+1)))
		set = append(set, map[string]any{"kty": "RSA", "e": "f____w", "n": number(huge)})
	}
	parts := strings.Split(signedWith(key, "RS256", nil).Reveal(), ".")
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`))
	signature := base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, largestRSA/8-1)...))
	began := time.Now()
	_, err := publishing(set...).Verify(t.Context(), agent.NewSecret(header+"."+parts[1]+"."+signature))
	if err == nil || !strings.Contains(err.Error(), "none of them has signed the token") {
		t.Errorf("got %.300v", err)
	}
	if took := time.Since(began); took > 5*time.Minute {
		t.Errorf("it took %v", took)
	}
}

// What a header says of keys leads nowhere: only the published ones count.
func TestAHeaderBringsNoKeyOfItsOwn(t *testing.T) {
	forger, jwk := jwkOf(t, "ES256")
	_, published := jwkOf(t, "ES256")
	asked := map[string]int{}
	s := serverOver(func(req *http.Request) (*http.Response, error) {
		asked[req.URL.Host+req.URL.Path]++
		if req.URL.Path == "/jwks" {
			return respond(req, http.StatusOK, map[string]any{"keys": []any{published}}), nil
		}
		return exampleMetadata(req), nil
	})
	for name, header := range map[string]map[jose.HeaderKey]any{
		"jwk":      {"jwk": jwk},
		"jku":      {"jku": "https://evil.example/jwks"},
		"x5u":      {"x5u": "https://evil.example/x5u"},
		"x5c":      {"x5c": []string{"AAAA"}},
		"crit":     {"crit": []string{"exp"}, "exp": 1},
		"crit: []": {"crit": []string{}},
		"b64":      {"b64": true},
		"zip":      {"zip": "DEF"},
	} {
		if _, err := s.Verify(t.Context(), signedWith(forger, "ES256", header)); err == nil {
			t.Errorf("%s: a token of another key was accepted", name)
		}
	}
	if len(asked) != 2 || asked["iam.example.org/jwks"] == 0 {
		t.Errorf("asked were %v", asked)
	}
}

func TestAHeaderThatMustBeUnderstoodIsRefused(t *testing.T) {
	for _, header := range []string{`"crit":null`, `"crit":[]`, `"crit":["b64"],"b64":false`, `"b64":null`, `"b64":false`} {
		decoded := profile.Token{Claims: map[string]any{"iss": example}}
		v, err := profile.DecodeValue([]byte(`{"alg":"ES256",` + header + `}`))
		if err != nil {
			t.Fatal(err)
		}
		decoded.Header = v.(map[string]any)
		if err := serverOver(nil).checkHeader(decoded); err == nil || !strings.HasPrefix(err.Error(), "crit: ") {
			t.Errorf("%s: %v", header, err)
		}
	}
}
