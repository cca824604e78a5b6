package profile

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// jwt puts a header and claims together with a signature that nobody looks at.
func jwt(header, claims string) string { return encode(header) + "." + encode(claims) + ".c2ln" }

func TestDecodeKeepsNumbersAndNesting(t *testing.T) {
	got, err := Decode(jwt(`{"alg":"ES256"}`, `{"exp":1800003600.0,"n":12345678901234567890,"a":[1,{"b":null}],"t":true,"wlcg.ver":"1.0"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Token{
		Header: map[string]any{"alg": "ES256"},
		Claims: map[string]any{
			"exp": json.Number("1800003600.0"), "n": json.Number("12345678901234567890"),
			"a": []any{json.Number("1"), map[string]any{"b": nil}}, "t": true, "wlcg.ver": "1.0",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

var undecodable = map[string]struct{ text, want string }{
	"nothing":              {"", "it is not a JWT"},
	"opaque token":         {"8xLOxBtZp8", "it is not a JWT"},
	"two parts":            {encode(`{}`) + "." + encode(`{}`), "it is not a JWT"},
	"no signature":         {encode(`{"alg":"ES256"}`) + "." + encode(`{}`), "signature: it is missing"},
	"five parts":           {"a.b.c.d.e", "it is not a JWT"},
	"Google's with dots":   {"ya29.c.b0Aaekm1K", "it is not a JWT"},
	"PASETO":               {"v4.local.AAAAAAAA", "it is not a JWT"},
	"a URL with two dots":  {"https://cilogon.example.org/oauth2/1f.2e", "it is not a JWT"},
	"e but no JSON":        {"ea29.c.d", "it is not a JWT"},
	"one character":        {"e.c.d", "it is not a JWT"},
	"a JWE":                {encode(`{"alg":"dir","enc":"A256GCM"}`) + "..a.b.c", "it is not a JWT"},
	"a header cut short":   {encode(`{"alg":"ES`) + "." + encode(`{}`) + ".c2ln", "header: it is not valid JSON"},
	"padding":              {jwt(`{}`, `{}`) + "==", "signature: it is not base64url without padding"},
	"blank at the end":     {jwt(`{}`, `{}`) + " ", "signature: it is not base64url"},
	"line end within":      {strings.Replace(jwt(`{}`, `{}`), ".", "\n.", 1), "header: it is not base64url"},
	"standard base64":      {jwt(`{}`, `{"a":"??>>"}`) + "+/", "signature: it is not base64url"},
	"bits left over":       {"e31." + encode(`{}`) + ".c2ln", "header: it is not base64url"},
	"claims that are text": {jwt(`{}`, `"x"`), "claims: it is not a JSON object"},
	"claims that are null": {jwt(`{}`, `null`), "claims: it is not a JSON object"},
	"header that is list":  {jwt(`[]`, `{}`), "it is not a JWT"},
	"broken JSON":          {jwt(`{}`, `{"a":}`), "claims: it is not valid JSON"},
	"JSON cut short":       {jwt(`{}`, `{"a":[1`), "claims: it is not valid JSON"},
	"two objects":          {jwt(`{}`, `{}{}`), "claims: something follows the JSON object"},
	"a name twice":         {jwt(`{}`, `{"aud":"a","aud":"b"}`), "claims: a name occurs twice in an object"},
	"a name twice, nested": {jwt(`{}`, `{"x":[{"a":1,"\u0061":2}]}`), "claims: a name occurs twice in an object"},
	"very deep":            {jwt(`{}`, `{"x":`+strings.Repeat("[", deepest)+strings.Repeat("]", deepest)+"}"), "claims: its values lie more than 100 deep within each other"},
	"not UTF-8":            {jwt(`{}`, "{\"a\":\"\xff\"}"), "claims: it is not UTF-8"},
	"nothing in it":        {"..", "it is not a JWT"},
	"too large":            {strings.Repeat("a", agent.MaxText+1), "it has 16383 bytes; readers take at most 16382"},
}

func TestDecodeIsStrict(t *testing.T) {
	for name, c := range undecodable {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestDecodeQuotesNothing(t *testing.T) {
	const secret = "hunter2"
	for name, text := range map[string]string{
		"opaque":       secret,
		"base64":       secret + ".!" + secret + ".!",
		"a name twice": jwt(`{}`, `{"hunter2":1,"hunter2":2}`),
		"no value":     jwt(`{}`, `{"a":hunter2}`),
		"no end":       jwt(`{}`, `{"hunter2":"hunter2`),
		"a bare word":  jwt(`hunter2`, `{}`),
		"a remainder":  jwt(`{}`, `{}hunter2`),
	} {
		if _, err := Decode(text); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpaqueTokenIsTold(t *testing.T) {
	if _, err := Decode("8xLOxBtZp8"); !errors.Is(err, ErrNoJWT) {
		t.Errorf("got %v", err)
	}
}

// FuzzDecode holds that neither Decode nor what is done with its result
// panics, and that two decodings agree.
func FuzzDecode(f *testing.F) {
	for _, c := range undecodable {
		f.Add(c.text)
	}
	f.Add(jwt(`{"alg":"ES256"}`, `{"exp":1.5e300,"aud":["a"],"scope":"storage.read:/%2e condor:/X","wlcg.groups":["/a"]}`))
	f.Add(jwt(`{}`, `{"x":`+strings.Repeat("[", deepest-1)+strings.Repeat("]", deepest-1)+`}`))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Decode(text)
		if err != nil || !reflect.DeepEqual(token, again) { // cmp.Equal takes twice as long for each level of nesting
			t.Errorf("a second decoding differs: %v", err)
		}
		checkAll(t, token)
	})
}

// FuzzCheck gives the rules every kind of claims and header.
func FuzzCheck(f *testing.F) {
	f.Add(`{"alg":"ES256","kid":"k"}`, `{"aud":["a",1],"exp":"x","iat":-1,"nbf":9223372036854775807}`)
	f.Add(`{"alg":1}`, `{"scope":"storage.read:/a%zz compute.read","ver":null,"wlcg.groups":"/a","roles":["api",{}]}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		h, err1 := decodeObject([]byte(header))
		c, err2 := decodeObject([]byte(claims))
		if err1 == nil && err2 == nil {
			checkAll(t, Token{Header: h, Claims: c})
		}
	})
}

func TestInstantsAreNumericDates(t *testing.T) {
	for claim, want := range map[any]int64{
		json.Number("1800003600"):   1800003600,
		json.Number("1800003600.9"): 1800003600,
		json.Number("1.8e9"):        1800000000,
		json.Number("0"):            0,
		json.Number("-1"):           -1, // -1: none
		json.Number("253402300800"): -1,
		json.Number("1e999"):        -1,
		"1800003600":                -1,
		nil:                         -1,
	} {
		at, ok := Instant(claim)
		if ok != (want >= 0) || ok && at.Unix() != want {
			t.Errorf("%v is %v, %v", claim, at, ok)
		}
	}
}

func TestTimesAreDistantFromElevenDigitsOn(t *testing.T) {
	for claim, distant := range map[any]bool{
		json.Number("9999999999"): false, json.Number("10000000000"): true, json.Number("1e400"): true, int64(1_800_003_600_000): true,
		json.Number("-1e400"): false, "1800003600000": false, nil: false,
	} {
		if got := Distant(claim); got != distant {
			t.Errorf("%v: got %v", claim, got)
		}
		if _, ok := Instant(claim); ok && distant {
			t.Errorf("%v is an instant", claim)
		}
	}
}

func TestDecodedValueIsAsStrictAsAToken(t *testing.T) {
	for text, want := range map[string]string{
		`[1,{"a":2}]`: "", `1 2`: "something follows the JSON value", `[{"a":1,"a":1}]`: "a name occurs twice", `x`: "it is not valid JSON", "\"\xff\"": "it is not UTF-8",
	} {
		_, err := DecodeValue([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
