package keys

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// testdata holds keys that openssl made for these tests; they protect nothing.
func testdata(t testing.TB, names ...string) string {
	t.Helper()
	var text strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()
}

func generated(t testing.TB, algorithm string) Key {
	t.Helper()
	k, err := Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rfc8037 is the key of RFC 8037 A.1; its thumbprint is that of A.3.
const rfc8037 = `{"kty":"OKP","crv":"Ed25519",
	"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
	"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

// rfc7515 is the key of RFC 7515 A.3.1.
const rfc7515 = `{"kty":"EC","crv":"P-256",
	"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
	"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
	"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`

func TestParseReadsEveryFormat(t *testing.T) {
	seed := "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	const rfc8037ID = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	pair, err := mustParse(t, rfc8037).MarshalClusterCockpit()
	if err != nil {
		t.Fatal(err)
	}
	public, private, _ := strings.Cut(string(pair), "\n")
	_, bare, _ := strings.Cut(strings.TrimSpace(private), "=")
	cases := map[string]struct{ text, algorithm, id string }{
		"SEC1 behind EC PARAMETERS":     {testdata(t, "sec1.pem"), "ES256", ""},
		"PKCS#1":                        {testdata(t, "pkcs1.pem"), "RS256", ""},
		"PKCS#8":                        {testdata(t, "pkcs8-ed25519.pem"), "EdDSA", ""},
		"certificate and key":           {testdata(t, "certificate.pem", "sec1.pem"), "ES256", ""},
		"key and public key":            {testdata(t, "sec1.pem", "public.pem"), "ES256", ""},
		"Windows line ends":             {strings.ReplaceAll(testdata(t, "sec1.pem"), "\n", "\r\n"), "ES256", ""},
		"words before the key":          {"Bag Attributes\n" + testdata(t, "sec1.pem"), "ES256", ""},
		"JWK, OKP":                      {rfc8037, "EdDSA", rfc8037ID},
		"JWK, EC":                       {rfc7515, "ES256", ""},
		"JWK with a long kid":           {strings.Replace(rfc8037, "{", `{"kid":"Schlüssel `+strings.Repeat("x", 244)+`",`, 1), "EdDSA", "Schlüssel " + strings.Repeat("x", 244)},
		"JWK with alg of RFC 9864":      {strings.Replace(rfc8037, "{", `{"alg":"Ed25519",`, 1), "EdDSA", rfc8037ID},
		"JWK with kid":                  {strings.Replace(rfc8037, "{", `{"kid":"2026-11",`, 1), "EdDSA", "2026-11"},
		"gen-keypair's output":          {string(pair), "EdDSA", rfc8037ID},
		"its private line":              {private, "EdDSA", rfc8037ID},
		"cc-backend's environment file": {"SESSION_KEY=x\nJWT_PRIVATE_KEY=" + bare + "\n", "EdDSA", rfc8037ID},
		"seed and public half":          {strings.Trim(bare, `"`) + "\n", "EdDSA", rfc8037ID},
		"seed alone":                    {seed, "EdDSA", rfc8037ID},
	}
	if !strings.HasPrefix(public, `ED25519 PUBLIC_KEY="`) || !strings.HasPrefix(private, `ED25519 PRIVATE_KEY="`) {
		t.Errorf("got %q, not gen-keypair's form", pair)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			k := mustParse(t, c.text)
			if k.Algorithm() != c.algorithm || c.id != "" && k.ID() != c.id {
				t.Errorf("got %v, want %s key %s", k, c.algorithm, c.id)
			}
		})
	}
}

func mustParse(t testing.TB, text string) Key {
	t.Helper()
	k, err := Parse([]byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEveryKeySurvivesEveryFormat(t *testing.T) {
	for _, algorithm := range Algorithms() {
		k := generated(t, algorithm).WithID("2026-11")
		formats := map[string]func() ([]byte, error){"PEM": k.MarshalPEM, "JWK": k.MarshalJWK}
		if algorithm == "EdDSA" {
			formats["ClusterCockpit"] = k.MarshalClusterCockpit
		}
		for name, marshal := range formats {
			t.Run(algorithm+"/"+name, func(t *testing.T) {
				data, err := marshal()
				if err != nil {
					t.Fatal(err)
				}
				again := mustParse(t, string(data))
				if !equal(again, k) {
					t.Error("another key came back")
				}
				if name == "JWK" && again.String() != k.String() {
					t.Errorf("got %v, want %v", again, k)
				}
			})
		}
	}
}

func equal(a, b Key) bool {
	da, err1 := x509.MarshalPKCS8PrivateKey(a.Private())
	db, err2 := x509.MarshalPKCS8PrivateKey(b.Private())
	return err1 == nil && err2 == nil && slices.Equal(da, db)
}

func TestThumbprintIsThatOfRFC7638(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	modulus, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := thumbprint(&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537})
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want || err != nil {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// refused are files that hold no key to sign with, and what is said of each.
func refused(t testing.TB) map[string]struct{ text, want string } {
	sec1 := testdata(t, "sec1.pem")
	secret := strings.Repeat("hunter2secret", 100)
	half := func(text string) string { return text[:len(text)*2/3] }
	swapped := strings.Replace(rfc7515, "jpsQ", "jpsR", 1)
	pair := append(ed25519.NewKeyFromSeed(make([]byte, 32)), 0)[:64]
	pair[63] ^= 1
	return map[string]struct{ text, want string }{
		"nothing":             {"", "it is empty"},
		"blanks":              {" \n\t\n", "it is empty"},
		"a word":              {"secret", "it is not a private key in a known format; PEM, JWK and ClusterCockpit's base64 are"},
		"NUL bytes":           {"\x00\x00\x00", "it is not a private key in a known format"},
		"DER":                 {der(t, sec1), "openssl pkey -inform DER -in OLD -out NEW"},
		"PEM cut short":       {half(sec1), "it is damaged or cut short"},
		"PEM without its end": {strings.Split(sec1, "-----END EC PRIVATE")[0], "it is damaged or cut short"},
		"second key cut":      {sec1 + half(testdata(t, "pkcs1.pem")), "it is damaged or cut short"},
		"DER cut short in PEM": {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(half(der(t, sec1)))})),
			"it is damaged, or of a kind that signs no tokens"},
		"encrypted PKCS#8":          {testdata(t, "encrypted-pkcs8.pem"), "it is encrypted, and an agent cannot ask for the passphrase; decrypt it with: (umask 077; openssl pkey -in OLD -out NEW)"},
		"encrypted SEC1":            {testdata(t, "encrypted-sec1.pem"), "it is encrypted"},
		"public key":                {testdata(t, "public.pem"), "it holds a public key; signing needs the private one"},
		"certificate":               {testdata(t, "certificate.pem"), "it holds a certificate; signing needs the private key"},
		"curve name alone":          {"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", "it holds no private key"},
		"two keys":                  {sec1 + testdata(t, "pkcs1.pem"), "it holds several private keys; it must hold the one to sign with"},
		"P-224":                     {testdata(t, "p224.pem"), "no algorithm of RFC 7518 uses the curve P-224; allowed are P-256, P-384 and P-521"},
		"secp256k1":                 {testdata(t, "secp256k1.pem"), "its curve secp256k1 is not allowed; P-256, P-384 and P-521 are"},
		"curve spelt out":           {testdata(t, "explicit.pem"), "it is damaged, or of a kind that signs no tokens; RSA"},
		"RSA with 1024 bits":        {testdata(t, "rsa1024.pem"), "the RSA key has 1024 bits; at least 2048 are needed"},
		"RSA with 512 bits":         {testdata(t, "rsa512.pem"), "the RSA key has 512 bits; at least 2048 are needed"},
		"RSA for PSS alone":         {testdata(t, "rsapss.pem"), "of a kind that signs no tokens"},
		"DSA":                       {testdata(t, "dsa.pem"), "of a kind that signs no tokens"},
		"DSA in its old form":       {"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n", "a key of this kind signs no tokens; RSA, P-256, P-384, P-521 and Ed25519 keys do"},
		"a kind with any name":      {"-----BEGIN hunter2secret PRIVATE KEY-----\nAAAA\n-----END hunter2secret PRIVATE KEY-----\n", "a key of this kind signs no tokens"},
		"a kind with a long name":   {strings.ReplaceAll("-----BEGIN LONG PRIVATE KEY-----\nAAAA\n-----END LONG PRIVATE KEY-----\n", "LONG", secret), "a key of this kind signs no tokens"},
		"Ed448":                     {testdata(t, "ed448.pem"), "of a kind that signs no tokens"},
		"X25519":                    {testdata(t, "x25519.pem"), "a key of this kind signs no tokens"},
		"OpenSSH's own format":      {"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "ssh-keygen -p -N '' -m PKCS8 -f COPY"},
		"JWK that is no JSON":       {`{"kty":`, "it begins like a JWK, but is not one JSON object in which each name stands once"},
		"JWKS":                      {`{"keys":[` + strings.Replace(rfc8037, `"d"`, `"D"`, 1) + `,null,7,{"kty":"oct","k":"AAAA"}]}`, "it is a set of keys (JWKS) without a private one; signing needs one"},
		"JWK, public":               {`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "it holds a public key, for it has no d"},
		"JWK, shared secret":        {`{"kty":"oct","k":"AAAA"}`, "it holds a shared secret (kty oct)"},
		"JWK of another curve":      {strings.Replace(rfc7515, "P-256", "secp256k1", 1), "its curve (crv) is not allowed; P-256, P-384 and P-521 are"},
		"JWK of a secret curve":     {strings.Replace(rfc7515, "P-256", secret, 1), "its curve (crv) is not allowed"},
		"JWK of OKP, secret curve":  {strings.Replace(rfc8037, "Ed25519", secret, 1), "its curve (crv) is not Ed25519, the only one of OKP keys that signs tokens here"},
		"JWK of a secret type":      {strings.Replace(rfc8037, "OKP", secret, 1), "its kind (kty) signs no tokens that are read here; RSA, EC and OKP keys do"},
		"JWK with a name twice":     {strings.Replace(rfc8037, "{", `{"`+secret+`":1,"`+secret+`":2,`, 1), "in which each name stands once"},
		"JWK of OKP, foreign x":     {strings.Replace(rfc8037, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw", 1), "its public half (x) does not belong to its private one (d)"},
		"JWK whose halves differ":   {swapped, "its public half (x, y) does not belong to its private one (d)"},
		"JWK with d cut short":      {strings.Replace(rfc7515, "E9LI", "", 1), "its public half (x, y) does not belong to its private one (d)"},
		"JWK for another algorithm": {strings.Replace(rfc7515, "{", `{"alg":"RS256",`, 1), "a key on the curve P-256 does not sign with RS256; allowed is ES256"},
		"JWK for a secret one":      {strings.Replace(rfc7515, "{", `{"alg":"`+secret+`",`, 1), "its alg is not allowed; allowed are ES256, ES384"},
		"JWK whose kid is two":      {strings.Replace(rfc7515, "{", `{"kid":"hunter2secret\nES256",`, 1), "its kid has a character that cannot be printed; printable ones are allowed"},
		"JWK whose kid has colour":  {strings.Replace(rfc7515, "{", `{"kid":"\u001b[31mhunter2secret",`, 1), "its kid has a character that cannot be printed"},
		"JWK whose kid is long":     {strings.Replace(rfc7515, "{", `{"kid":"`+strings.Repeat("x", 256)+`",`, 1), "its kid has 256 bytes; at most 255 are allowed"},
		"JWK of RSA, 1024 bits":     {smallJWK(t), "the RSA key has 1024 bits; at least 2048 are needed"},
		"base64 of 31 bytes":        {base64.StdEncoding.EncodeToString(make([]byte, 31)), "it is base64 of 31 bytes; a ClusterCockpit key has 64 (seed and public half) or 32 (seed)"},
		"pair that does not belong": {base64.StdEncoding.EncodeToString(pair), "its public half does not belong to its seed"},
		"gen-keypair's public line": {`ED25519 PUBLIC_KEY="11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`, "it holds a public key; signing needs the private one"},
		"two gen-keypairs":          {strings.Repeat("ED25519 PRIVATE_KEY=\"AAAA\"\n", 2), "it holds several private keys"},
	}
}

// der is what lies in the last block of a PEM text.
func der(t testing.TB, text string) string {
	t.Helper()
	var last []byte
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		last = block.Bytes
	}
	return string(last)
}

func smallJWK(t testing.TB) string {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey([]byte(der(t, testdata(t, "rsa1024.pem"))))
	if err != nil {
		t.Fatal(err)
	}
	r := key.(*rsa.PrivateKey)
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	data, err := json.Marshal(map[string]string{
		"kty": "RSA", "e": "AQAB", "n": number(r.N), "d": number(r.D), "p": number(r.Primes[0]), "q": number(r.Primes[1]),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for name, c := range refused(t) {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text), "")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestNoErrorQuotesTheFile(t *testing.T) {
	long := regexp.MustCompile(`[A-Za-z0-9+/_-]{12,}`)
	for name, c := range refused(t) {
		_, err := Parse([]byte(c.text), "")
		if len(err.Error()) > 200 {
			t.Errorf("%s: it has %d bytes: %v", name, len(err.Error()), err)
		}
		for _, run := range long.FindAllString(err.Error(), -1) {
			if strings.Contains(c.text, run) {
				t.Errorf("%s: %q is from the file", name, run)
			}
		}
	}
}

// FuzzParse holds that Parse never panics, and that what it takes can be
// written and read again.
func FuzzParse(f *testing.F) {
	for _, c := range refused(f) {
		f.Add([]byte(c.text))
	}
	for _, name := range []string{"sec1.pem", "pkcs1.pem", "pkcs8-ed25519.pem"} {
		f.Add([]byte(testdata(f, name)))
	}
	f.Add([]byte(rfc7515))
	f.Add([]byte(rfc8037))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := Parse(data, "")
		if err != nil {
			return
		}
		written, err := k.MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		if again := mustParse(t, string(written)); !equal(k, again) {
			t.Error("another key came back")
		}
	})
}
