package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

func TestAlgorithmIsCheckedAgainstTheKey(t *testing.T) {
	rsaKey, p256 := mustParse(t, testdata(t, "pkcs1.pem")), mustParse(t, rfc7515)
	cases := []struct {
		key        Key
		name, want string
	}{
		{rsaKey, "", "RS256"},
		{rsaKey, "RS384", "RS384"},
		{rsaKey, "RS512", "RS512"},
		{rsaKey, "PS256", "PS256"},
		{rsaKey, "ES256", "an RSA key does not sign with ES256; allowed is RS256, RS384, RS512, PS256"},
		{rsaKey, "HS256", "an RSA key does not sign with HS256"},
		{p256, "ES256", "ES256"},
		{p256, "ES384", "a key on the curve P-256 does not sign with ES384; allowed is ES256"},
		{p256, "es256", "a key on the curve P-256 does not sign with es256; allowed is ES256"},
		{mustParse(t, rfc8037), "RS256", "an Ed25519 key does not sign with RS256; allowed is EdDSA"},
		{generated(t, "ES384"), "", "ES384"},
		{generated(t, "ES512"), "", "ES512"},
	}
	for _, c := range cases {
		k, err := c.key.WithAlgorithm(c.name)
		got := k.Algorithm()
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%v as %q: got %s, want %s", c.key, c.name, got, c.want)
		}
	}
}

func TestSignatureSizeIsThatOfSignatures(t *testing.T) {
	digest := make([]byte, crypto.SHA256.Size())
	for algorithm, want := range map[string]int{"ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64, "RS256": 256} {
		k := generated(t, algorithm)
		if got := k.SignatureSize(); got != want {
			t.Errorf("%s: got %d, want %d", algorithm, got, want)
		}
		if algorithm != "RS256" {
			continue
		}
		if signature, err := k.Private().Sign(nil, digest, crypto.SHA256); err != nil || len(signature) != want {
			t.Errorf("a signature has %d bytes, %v", len(signature), err)
		}
	}
	if got := (Key{}).SignatureSize(); got != 0 {
		t.Errorf("no key signs %d bytes", got)
	}
}

func TestGenerateNamesWhatItCanMake(t *testing.T) {
	_, err := Generate("HS256")
	if want := `there is no algorithm "HS256"; allowed are ES256, ES384, ES512, RS256, RS384, RS512, PS256, EdDSA`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClusterCockpitTakesEd25519Only(t *testing.T) {
	_, err := generated(t, "ES256").MarshalClusterCockpit()
	if want := "ClusterCockpit takes no ES256 key; Ed25519 (EdDSA) is needed"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPublicHalvesBelongToTheKey(t *testing.T) {
	for _, algorithm := range Algorithms() {
		k := generated(t, algorithm)
		text, err := k.PublicPEM()
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
			t.Errorf("%s: another public key came back", algorithm)
		}
	}
}

func TestJWKSPublishesNoPrivateMember(t *testing.T) {
	var all []Key
	for _, algorithm := range Algorithms() {
		all = append(all, generated(t, algorithm))
	}
	data, err := JWKS(all...)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != len(all) {
		t.Fatalf("got %d keys, want %d", len(set.Keys), len(all))
	}
	for i, jwk := range set.Keys {
		if jwk["kid"] != all[i].ID() || jwk["alg"] != all[i].Algorithm() || jwk["use"] != "sig" || jwk["kty"] == "" {
			t.Errorf("got %v for %v", jwk, all[i])
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, there := jwk[private]; there {
				t.Errorf("%v: the member %s is published", all[i], private)
			}
		}
	}
}

func TestEmptyJWKSIsAnEmptyArray(t *testing.T) {
	data, err := JWKS()
	if want := "{\n  \"keys\": []\n}\n"; string(data) != want || err != nil {
		t.Errorf("got %s, %v", data, err)
	}
}

// privateBytes are the bytes that nobody may see.
func privateBytes(t *testing.T, k Key) []byte {
	t.Helper()
	switch private := k.Private().(type) {
	case *rsa.PrivateKey:
		return private.D.Bytes()
	case *ecdsa.PrivateKey:
		d, err := private.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return d
	default:
		return private.(ed25519.PrivateKey).Seed()
	}
}

func TestNothingPrintsThePrivateHalf(t *testing.T) {
	type holder struct{ key Key }
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		k := generated(t, algorithm)
		var shown strings.Builder
		for _, v := range []any{k, &k, holder{k}, &holder{k}, []Key{k}, map[string]Key{"k": k}, struct{ K Key }{k}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&shown, verb+"\n", v)
			}
			data, _ := json.Marshal(v)
			shown.Write(data)
		}
		secret := privateBytes(t, k)[:8]
		for _, form := range []string{
			string(secret), hex.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret[:6]),
			strings.Trim(fmt.Sprint(secret), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		} {
			if strings.Contains(strings.ToLower(shown.String()), strings.ToLower(form)) {
				t.Errorf("%s: the private half is shown", algorithm)
			}
		}
		if want := algorithm + " key " + k.ID(); fmt.Sprintf("%+v", k) != want {
			t.Errorf("got %+v, want %s", k, want)
		}
	}
}
