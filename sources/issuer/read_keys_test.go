package issuer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// What issuers publish, and who reads it: we, and two verifiers that we did not write. We
// read each key that one of them reads, and warn where the other refuses it. Of a key that
// neither reads we say why.

// A published set of keys, and a token signed with one of them.
type publishedSet struct {
	name  string
	set   []any  // its members
	token string // signed by one of them
	want  string // the error; "": it is verified
	odd   string // what is told of the key nevertheless
	reads string // who verifies the token: "libscitokens", "python-jwt", both or nobody
}

const (
	nobody       = ""
	libscitokens = "libscitokens"
	pythonJWT    = "python-jwt"
	both         = libscitokens + " " + pythonJWT
)

// shortKey is an EC key whose x and d begin with zero bytes, which are left out.
const shortKey = `{"kty":"EC","crv":"P-256","kid":"k",
	"x":"vtW2WRx7XFcdcfkXp0UjM8jR8jC9EmRu3zB_HgufAg",
	"y":"DxESq-oxvphNq6xvM0QFjXx9_hp8J8gmdBd3OLKBwXo",
	"d":"OVtQPamTxntI7eOK-k3T2OREUADmAZTmL6WQ6AIf"}`

func publishedSets(t *testing.T) []publishedSet {
	rsaKey, r := dashed(t, "RS256")
	ecKey, e := dashed(t, "ES256")
	_, otherKey := jwkOf(t, "RS256")
	short, err := keys.Parse([]byte(shortKey), "")
	if err != nil {
		t.Fatal(err)
	}
	shorts := map[string]any{"kty": "EC", "crv": "P-256", "kid": "k", "x": "vtW2WRx7XFcdcfkXp0UjM8jR8jC9EmRu3zB_HgufAg", "y": "DxESq-oxvphNq6xvM0QFjXx9_hp8J8gmdBd3OLKBwXo"}
	rs, es, ss := sciToken(rsaKey, "k"), sciToken(ecKey, "k"), sciToken(short, "k")
	unnamed, numbered := sciToken(rsaKey, nil), sciToken(rsaKey, 7)
	padded := func(jwk map[string]any, names ...string) map[string]any {
		for _, name := range names {
			text := jwk[name].(string)
			jwk = with(jwk, name, text+strings.Repeat("=", -len(text)&3))
		}
		return jwk
	}
	standard := strings.NewReplacer("-", "+", "_", "/")
	longer := func(jwk map[string]any, name string) string {
		octets, err := base64.RawURLEncoding.DecodeString(jwk[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(append([]byte{0}, octets...))
	}
	n := r["n"].(string)
	one := func(jwk any) []any { return []any{jwk} }
	const named = `the key "k" that the token names cannot be used: `
	return []publishedSet{
		{"RSA", one(r), rs, "", "", both},
		{"EC", one(e), es, "", "", both},
		{"RSA with padding", one(padded(r, "n")), rs, "", "", both},
		{"EC with padding", one(padded(e, "x", "y")), es, "", "", both},
		{"in standard base64", one(with(r, "n", standard.Replace(n))), rs, "", "its n is in standard base64, which libscitokens refuses", pythonJWT},
		{"in standard base64 with padding", one(padded(with(r, "n", standard.Replace(n)), "n")), rs, "", "which libscitokens refuses", pythonJWT},
		{"a zero byte before n and e", one(with(r, "n", longer(r, "n"), "e", "AAEAAQ")), rs, "", "", both},
		{"x without its zero byte", one(shorts), ss, "", "its x has 31 bytes instead of 32, for which python-jwt refuses it", libscitokens},
		{"y with a zero byte too many", one(with(e, "y", longer(e, "y"))), es, "", "its y has 33 bytes instead of 32", libscitokens},
		{"x5c with a certificate that cannot be read", one(with(r, "x5c", []string{"AAAA"})), rs, "", "", both},
		{"x5c that is not a list", one(with(r, "x5c", "AAAA", "x5t", 7, "x5u", ":", "x5t#S256", "!")), rs, "", "", both},
		{"null for what it does not say", one(with(r, "x5c", nil, "alg", nil, "use", nil, "key_ops", nil)), rs, "", "", both},
		{"members of any kind", one(with(r, "nbf", "yesterday", "exp", []int{1}, "iat", "x", "ext", "true", "revoked", 0)), rs, "", "", both},
		{"an RSA key without alg and use", one(with(r)), rs, "", "", both},
		{"a use that there is not", one(with(r, "use", "signature")), rs, "", "its use is not sig", both},
		{"use as a list", one(with(r, "use", []string{"sig"})), rs, "", "its use is not sig", both},
		{"key_ops for signing", one(with(r, "key_ops", []string{"sign"})), rs, "", "its key_ops do not have verify", both},
		{"key_ops that are empty", one(with(r, "key_ops", []string{})), rs, "", "its key_ops do not have verify", both},
		{"key_ops that are text", one(with(r, "key_ops", "verify")), rs, "", "its key_ops do not have verify", both},
		{"alg that is empty", one(with(r, "alg", "")), rs, "", "its alg is empty, and libscitokens refuses the key", pythonJWT},
		{"alg as a list", one(with(r, "alg", []string{"RS256"})), rs, "", "its alg is not text, and python-jwt then refuses the whole set", libscitokens},
		{"kty in small letters", one(with(r, "kty", "rsa", "alg", "RS256")), rs, "", "its kty is not spelt RSA", libscitokens},
		{"crv by another name", one(with(e, "crv", "secp256r1", "alg", "ES256")), es, "", "its crv is not spelt P-256", libscitokens},
		{"crv that is missing", one(with(e, "crv", nil, "alg", "ES256")), es, "", "its crv is not spelt P-256", libscitokens},
		{"the private half beside it", one(with(r, "d", "AAAA", "p", 7)), rs, "", "it holds the private half (d) too", libscitokens},
		{"kid as a number", one(with(r, "kid", 7)), sciToken(rsaKey, "7"), "", "its kid is a number", nobody},
		{"kid as a number in both", one(with(r, "kid", 7)), numbered, "kid: it is not text, which verifiers want (RFC 7515 section 4.1.4); have the issuer write it in quotes", "", nobody},
		{"kid as a number, and none in the token", one(with(r, "kid", 7)), unnamed, "", "its kid is a number", libscitokens},
		{"no kid in both", one(with(r, "kid", nil)), unnamed, "", "", both},
		{"null beside it", []any{nil, r}, rs, "", "", libscitokens},
		{"text beside it", []any{"key", r}, rs, "", "", libscitokens},
		{"a kind to come beside it", []any{map[string]any{"kty": "LWE", "kid": "z"}, r}, rs, "", "", libscitokens},
		{"a shared secret beside it", []any{map[string]any{"kty": "oct", "kid": "z", "k": "AAAA"}, r}, rs, "", "", both},
		{"a broken one beside it", []any{map[string]any{"kty": "RSA", "kid": "z", "n": "!!"}, r}, rs, "", "", libscitokens},
		{"another with a numeric kid beside it", []any{with(otherKey, "kid", 7), r}, rs, "", "", both},
		{"its kid twice, it is the first", []any{r, with(otherKey, "kid", "k")}, rs, "", "", both},
		{"its kid twice, it is the second", []any{with(otherKey, "kid", "k"), r}, rs, "", "a key before it has the same kid", nobody},
		{"its kid twice, the first is broken", []any{with(r, "n", "!!"), r}, rs, "", "a key before it has the same kid", nobody},

		{"for encryption", one(with(r, "use", "enc")), rs, named + "its use is enc, not sig", "", both}, // who decrypts with it can be had to sign
		{"for encryption, in capitals", one(with(r, "use", "ENC")), rs, named + "its use is enc, not sig", "", both},
		{"for encryption, as a list", one(with(r, "use", []string{"enc"})), rs, named + "its use is enc, not sig", "", both},
		{"for encryption, by key_ops that are text", one(with(r, "key_ops", "encrypt")), rs, named + "its key_ops do not have verify", "", both},
		{"for encryption, by key_ops", one(with(r, "key_ops", []string{"encrypt", "wrapKey"})), rs, named + "its key_ops do not have verify", "", both},
		{"without n", one(with(r, "n", nil)), rs, named + "its n is missing", "", nobody},
		{"e as a number", one(with(r, "e", 65537)), rs, named + "its e is not text, which base64url is", "", nobody},
		{"n that is not base64", one(with(r, "n", "!"+n)), rs, named + "its n is not base64url", "", nobody},
		{"without y", one(with(e, "y", nil)), es, named + "its y is missing", "", nobody},
		{"a point beside the curve", one(with(e, "x", e["y"])), es, named + "its x and y are not a point of P-256", "", nobody},
		{"no kind", one(with(r, "kty", nil)), rs, named + "it does not say its kind (kty)", "", nobody},
		{"alg of another kind", one(with(r, "alg", "ES256")), rs, named + "its alg is for EC keys, and it is of another kind (kty)", "", nobody},
		{"alg of another curve", one(with(e, "alg", "ES384")), es, `the key "k" that the token names is for the algorithm ES384, and the token is signed with ES256`, "", pythonJWT},
		{"alg in small letters", one(with(r, "alg", "rs256")), rs, `the key "k" that the token names is for the algorithm rs256, and the token is signed with RS256`, "", nobody},
		{"broken, without kid", one(with(r, "kid", nil, "n", nil)), rs, "there is no key to verify it with; the issuer must publish its keys. Of what it publishes this cannot be used: one without kid (its n is missing)", "", nobody},
		{"broken, without kid, beside another", []any{with(r, "kid", nil, "n", nil), with(otherKey, "kid", "o")}, rs, `the key "k" that it says it is signed with is not among them; the issuer must publish it. Of what it publishes this cannot be used: one without kid (its n is missing)`, "", nobody},
		{"broken, and none in the token", []any{with(r, "n", nil), with(otherKey, "kid", "o")}, unnamed, `none of the keys has signed it. Of what it publishes this cannot be used: "k" (its n is missing)`, "", nobody},
	}
}

// with is the key with these members: names, and a value after each.
func with(jwk map[string]any, pairs ...any) map[string]any {
	jwk = maps.Clone(jwk)
	for i := 0; i < len(pairs); i += 2 {
		jwk[pairs[i].(string)] = pairs[i+1]
	}
	return jwk
}

// dashed is a key whose numbers have a letter in base64url that standard base64 has not.
func dashed(t *testing.T, algorithm string) (keys.Key, map[string]any) {
	for {
		key, jwk := jwkOf(t, algorithm)
		if name := map[string]string{"RS256": "n", "ES256": "x"}[algorithm]; strings.ContainsAny(jwk[name].(string), "-_") {
			return key, jwk
		}
	}
}

// sciToken is a token that libscitokens takes, signed with the key under that kid; nil
// for none.
func sciToken(key keys.Key, kid any) string {
	header := map[jose.HeaderKey]any{}
	if kid != nil {
		header["kid"] = kid
	}
	now := time.Now().Unix()
	return issuertest.SignedBy(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm()), Key: key.Private()}, header, map[string]any{
		"iss": example, "sub": "robot", "aud": "ANY", "ver": "scitoken:2.0", "scope": "read:/",
		"iat": now - 5, "nbf": now - 65, "exp": now + 3600, "jti": "0123456789",
	})
}

func TestKeysAreReadAsVerifiersReadThem(t *testing.T) {
	for _, c := range publishedSets(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(map[string]any{"keys": c.set})
			if err != nil {
				t.Fatal(err)
			}
			set, err := ParseKeys(text)
			if err != nil {
				t.Fatal(err)
			}
			k, err := set.Verify(agent.NewSecret(c.token))
			if got := errorText(err); (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if !strings.Contains(k.Odd, c.odd) || (k.Odd == "") != (c.odd == "") {
				t.Errorf("of the key it says %q, want %q", k.Odd, c.odd)
			}
			_, err = publishing(c.set...).Verify(t.Context(), agent.NewSecret(c.token)) // as every source does
			if (err == nil) != (c.want == "") {
				t.Errorf("a source says %v", err)
			}
		})
	}
}

// askVerifiers says of each line, a set of keys and a token, who verifies the token.
// libscitokens finds the keys in its cache.
const askVerifiers = `
import ctypes, json, os, sqlite3, sys, tempfile, time, jwt
lib = ctypes.CDLL("libSciTokens.so.0")
def libscitokens(jwks, token, issuer):
    pid = os.fork()  # each with a cache of its own
    if pid == 0:
        home = tempfile.mkdtemp()
        ctypes.CDLL(None).setenv(b"XDG_CACHE_HOME", home.encode(), 1)
        os.mkdir(home + "/scitokens")
        c = sqlite3.connect(home + "/scitokens/scitokens_cpp.sqllite")
        c.execute("CREATE TABLE keycache (issuer text UNIQUE PRIMARY KEY NOT NULL, keys text NOT NULL)")
        now = int(time.time())
        c.execute("INSERT INTO keycache VALUES (?, ?)", (issuer, json.dumps({"jwks": jwks, "expires": now + 3600, "next_update": now + 3600})))
        c.commit()
        c.close()
        parsed, err = ctypes.c_void_p(), ctypes.c_char_p()
        os._exit(0 if lib.scitoken_deserialize(token.encode(), ctypes.byref(parsed), None, ctypes.byref(err)) == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0
def python_jwt(jwks, token, issuer):
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        keys = [k for k in jwt.PyJWKSet.from_dict(jwks).keys if k.key_id == kid]
        jwt.decode(token, keys[0].key, algorithms=["RS256", "ES256"], audience="ANY")
        return True
    except Exception:
        return False
for line in sys.stdin:
    asked = (a := json.loads(line))["jwks"], a["token"], a["issuer"]
    print(" ".join(n for n, f in (("libscitokens", libscitokens), ("python-jwt", python_jwt)) if f(*asked)), flush=True)
`

func TestLibscitokensAndPythonJWTReadTheKeysThatWeRead(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, for which python3-jwt is
	probe := `import ctypes, jwt; ctypes.CDLL("libSciTokens.so.0")`
	if out, err := exec.Command(python, "-c", probe).CombinedOutput(); err != nil {
		if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
			t.Fatalf("python3-jwt and libscitokens are required here: %v\n%s", err, out)
		}
		t.Skipf("python3-jwt and libscitokens cannot be had here: %v", err)
	}
	sets := publishedSets(t)
	var lines bytes.Buffer
	for _, c := range sets {
		if err := json.NewEncoder(&lines).Encode(map[string]any{"jwks": map[string]any{"keys": c.set}, "token": c.token, "issuer": example}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "-c", askVerifiers)
	cmd.Stdin, cmd.Env = &lines, append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.Output()
	answers := strings.Split(string(out), "\n")
	if err != nil || len(answers) != len(sets)+1 {
		t.Fatalf("%v after %q", err, out)
	}
	misused := []string{"for encryption", "for encryption, in capitals", "for encryption, as a list", "for encryption, by key_ops", "for encryption, by key_ops that are text", "alg of another curve"} // a key is for one use (RFC 7517 section 4.2 to 4.4)
	for i, c := range sets {
		if answers[i] != c.reads {
			t.Errorf("%s: it is verified by %q, want %q", c.name, answers[i], c.reads)
		}
		if c.reads != nobody && c.want != "" && !slices.Contains(misused, c.name) {
			t.Errorf("%s: others verify it, and we do not", c.name)
		}
		if c.reads != both && c.want == "" && c.odd == "" && len(c.set) == 1 {
			t.Errorf("%s: not all verify it, and nothing is told", c.name)
		}
	}
}
