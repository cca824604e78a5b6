package keys

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strings"
	"testing"
)

// jwkMembers are those of the private JWK, to be changed.
func jwkMembers(t testing.TB, k Key) map[string]any {
	t.Helper()
	data, err := k.MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// with are the members with some of them changed; nil removes one.
func with(members map[string]any, change map[string]any) map[string]any {
	members = maps.Clone(members)
	maps.Copy(members, change)
	maps.DeleteFunc(members, func(name string, _ any) bool { v, there := change[name]; return there && v == nil })
	return members
}

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func octetsOf(t testing.TB, member any) []byte {
	t.Helper()
	octets, err := base64.RawURLEncoding.DecodeString(member.(string))
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

func encoded(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

// shortKey is an EC key of which x and d begin with zero bytes, which are left out.
const shortKey = `{"kty":"EC","crv":"P-256","kid":"short",
	"x":"vtW2WRx7XFcdcfkXp0UjM8jR8jC9EmRu3zB_HgufAg",
	"y":"DxESq-oxvphNq6xvM0QFjXx9_hp8J8gmdBd3OLKBwXo",
	"d":"OVtQPamTxntI7eOK-k3T2OREUADmAZTmL6WQ6AIf"}`

func TestAPrivateJWKIsReadAsOthersWriteIt(t *testing.T) {
	ec, rsa := generated(t, "ES256").WithID("k"), generated(t, "RS256").WithID("k")
	e, r := jwkMembers(t, ec), jwkMembers(t, rsa)
	padded := func(m map[string]any) map[string]any {
		m = maps.Clone(m)
		for name, v := range m {
			if len(name) <= 2 {
				octets := octetsOf(t, v)
				m[name] = base64.StdEncoding.EncodeToString(octets)
			}
		}
		return m
	}
	wide := func(name string) map[string]any {
		return map[string]any{name: encoded(append([]byte{0}, octetsOf(t, e[name])...))}
	}
	nde := with(r, map[string]any{"p": nil, "q": nil, "dp": nil, "dq": nil, "qi": nil})
	for name, c := range map[string]struct {
		members map[string]any
		want    Key
	}{
		"padded and in standard base64":     {padded(e), ec},
		"RSA likewise":                      {padded(r), rsa},
		"a zero byte too many in x":         {with(e, wide("x")), ec},
		"a zero byte too many in d":         {with(e, wide("d")), ec},
		"a certificate that cannot be read": {with(e, map[string]any{"x5c": []any{"AAAA"}, "x5t": 7, "x5u": "::"}), ec},
		"a numeric kid":                     {with(e, map[string]any{"kid": 7}), ec.WithID("7")},
		"an empty kid":                      {with(e, map[string]any{"kid": ""}), mustParse(t, string(jsonOf(t, with(e, map[string]any{"kid": nil}))))},
		"alg that is not text":              {with(e, map[string]any{"alg": 5}), ec},
		"members of any kind":               {with(e, map[string]any{"nbf": "yesterday", "exp": []any{}, "use": 3, "key_ops": "sign", "ext": true}), ec},
		"n, e and d alone":                  {nde, rsa},
		"and q without p":                   {with(nde, map[string]any{"q": r["q"]}), rsa},
		"wrong dp, dq and qi":               {with(r, map[string]any{"dp": "AQ", "dq": "AQ", "qi": 7}), rsa},
	} {
		t.Run(name, func(t *testing.T) {
			k := mustParse(t, string(jsonOf(t, c.members)))
			if k.String() != c.want.String() || !samePublic(k, c.want) {
				t.Errorf("got %v, want %v", k, c.want)
			}
		})
	}
}

// samePublic reports whether both have the same public half, and so the same private one.
func samePublic(a, b Key) bool {
	return a.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(b.Public())
}

func TestAnECJWKWithoutLeadingZerosIsRead(t *testing.T) {
	k := mustParse(t, shortKey)
	again := mustParse(t, string(jsonOf(t, jwkMembers(t, k))))
	if k.String() != "ES256 key short" || !samePublic(k, again) {
		t.Errorf("got %v, and written out %v", k, again)
	}
	if x := octetsOf(t, jwkMembers(t, k)["x"]); len(x) != 32 {
		t.Errorf("x is written with %d bytes", len(x))
	}
}

func TestRSAPrimesAreComputedFromD(t *testing.T) {
	small := func(text string) *big.Int { n, _ := new(big.Int).SetString(text, 10); return n }
	for name, c := range map[string]struct {
		n, e, d string
		want    string // the product of the primes; "": none
	}{
		"d modulo φ":        {"3233", "17", "2753", "3233"},
		"d modulo λ":        {"3233", "17", "413", "3233"},
		"d and once more λ": {"3233", "17", "1193", "3233"},
		"foreign d":         {"3233", "17", "2755", ""},
		"even n":            {"3232", "17", "2753", ""},
		"d of one":          {"3233", "1", "1", ""},
		"d of zero":         {"3233", "17", "0", ""},
		"d larger than n":   {"3233", "17", "5873", ""},
		"n is a prime":      {"3251", "3", "2167", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, q := factor(small(c.n), small(c.e), small(c.d))
			if (p == nil) != (c.want == "") {
				t.Fatalf("got %v and %v", p, q)
			}
			if p != nil && (new(big.Int).Mul(p, q).Cmp(small(c.want)) != 0 || p.Cmp(one) == 0 || q.Cmp(one) == 0) {
				t.Errorf("got %v and %v", p, q)
			}
		})
	}
}

func TestAnRSAJWKWhoseMembersDoNotFitIsRefused(t *testing.T) {
	k, other := jwkMembers(t, generated(t, "RS256")), jwkMembers(t, generated(t, "RS256"))
	nde := with(k, map[string]any{"p": nil, "q": nil, "dp": nil, "dq": nil, "qi": nil})
	for name, c := range map[string]struct {
		members map[string]any
		want    string
	}{
		"foreign d alone":    {with(nde, map[string]any{"d": other["d"]}), "its d does not belong to its n and e"},
		"foreign e":          {with(nde, map[string]any{"e": "Aw"}), "its d does not belong to its n and e"},
		"foreign d":          {with(k, map[string]any{"d": other["d"]}), "its d does not belong to its n and e"},
		"foreign p":          {with(k, map[string]any{"p": other["p"]}), "its p and q do not multiply to its n"},
		"no n":               {with(k, map[string]any{"n": nil}), "its n is missing"},
		"e as a number":      {with(k, map[string]any{"e": 65537}), "its e is not text, which base64url is"},
		"e of one":           {with(k, map[string]any{"e": "AQ"}), "its e is not between 2 and 2147483647"},
		"d that is not text": {with(k, map[string]any{"d": 3}), "its d is not text"},
		"d that is empty":    {with(k, map[string]any{"d": ""}), "its d is empty"},
		"more primes":        {with(k, map[string]any{"oth": []any{}}), "it has more than two primes (oth)"},
		"a huge n":           {with(nde, map[string]any{"n": encoded(append([]byte{1}, make([]byte, 2048)...))}), "its n has 16385 bits; RSA keys of at most 8192 are taken"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(jsonOf(t, c.members), "")
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestTheKeyIDChoosesOfASet(t *testing.T) {
	a, b := generated(t, "ES256").WithID("2026-11"), generated(t, "EdDSA").WithID("2026-12")
	ma, mb := jwkMembers(t, a), jwkMembers(t, b)
	public := with(ma, map[string]any{"d": nil, "kid": "public"})
	oct := map[string]any{"kty": "oct", "k": "AAAA", "kid": "oct"}
	broken := with(ma, map[string]any{"y": nil, "kid": "broken"})
	unnamed := with(ma, map[string]any{"kid": nil})
	thumb := mustParse(t, string(jsonOf(t, unnamed))).ID()
	set := func(members ...any) []byte { return jsonOf(t, map[string]any{"keys": members}) }
	for name, c := range map[string]struct {
		data []byte
		id   string
		want string // what is printed of the key, or the error
		pick bool   // the error is an ErrChoice
	}{
		"the first":                    {set(ma, mb), "2026-11", "ES256 key 2026-11", false},
		"the second":                   {set(ma, mb), "2026-12", "EdDSA key 2026-12", false},
		"the only one":                 {set(ma), "", "ES256 key 2026-11", false},
		"the only one by name":         {set(ma), "2026-11", "ES256 key 2026-11", false},
		"the only private one":         {set(public, nil, oct, "x", ma), "", "ES256 key 2026-11", false},
		"beside one for encryption":    {set(with(mb, map[string]any{"use": "enc"}), ma), "", "ES256 key 2026-11", false},
		"the only one, without kid":    {set(unnamed), "own", "ES256 key own", false},
		"by its thumbprint":            {set(unnamed, mb), thumb, "ES256 key " + thumb, false},
		"a numeric kid":                {set(with(ma, map[string]any{"kid": 7}), mb), "7", "ES256 key 7", false},
		"beside one that is broken":    {set(broken, ma), "2026-11", "ES256 key 2026-11", false},
		"none of several":              {set(ma, mb), "", `it is a set of 2 private keys; write the key ID of the one to sign with: "2026-11", "2026-12"`, true},
		"none, and one is broken":      {set(ma, broken), "", `"2026-11", "broken" (cannot be used: its y is missing)`, true},
		"a name that there is not":     {set(ma, mb), "2027-01", `it is a set of keys, of which none has that key ID; it has "2026-11", "2026-12"`, true},
		"another name of the only one": {set(ma), "2027-01", `none has that key ID; it has "2026-11"`, true},
		"one that is broken":           {set(ma, broken), "broken", "of its keys the chosen one cannot be used: its y is missing", false},
		"the only one is broken":       {set(broken), "", "of its keys the chosen one cannot be used: its y is missing", false},
		"a name that two have":         {set(ma, with(mb, map[string]any{"kid": "2026-11"})), "2026-11", "several have that key ID", true},
		"a kid that cannot be shown":   {set(ma, with(mb, map[string]any{"kid": "\x1b[2J"})), "", "one whose kid cannot be shown (cannot be used: its kid has a character", true},
		"nothing private":              {set(public), "", "without a private one", false},
		"an empty set":                 {set(), "", "without a private one", false},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := Parse(c.data, c.id)
			got := k.String()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) || errors.Is(err, ErrChoice) != c.pick {
				t.Errorf("got %s, %v; want %s", got, errors.Is(err, ErrChoice), c.want)
			}
		})
	}
	if all, err := ParseAll(set(ma, public, mb)); err != nil || len(all) != 2 || all[1].ID() != "2026-12" {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := ParseAll(set(ma, broken)); err == nil || !strings.Contains(err.Error(), `"broken" (cannot be used: its y is missing)`) {
		t.Errorf("got %v", err)
	}
}
