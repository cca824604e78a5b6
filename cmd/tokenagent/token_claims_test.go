package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

func TestLifetimeIsInSecondsOrWithUnits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1200": 20 * time.Minute, "1": time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour,
		"0": 0, "-5": 0, "": 0, "soon": 0, "1.5": 0, "99999999999999999999": 0, "9223372036854775807": 0, "0s": 0,
	} {
		var l lifetime
		err := l.Set(text)
		if got := time.Duration(l); got != want || (err == nil) != (want != 0) {
			t.Errorf("--lifetime %q is %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestTypedClaimsKeepTheirTypes(t *testing.T) {
	for text, want := range map[string]any{
		`17`: int64(17), `1.5`: 1.5, `true`: true, `"x"`: "x", `9007199254740993`: int64(9007199254740993),
		`["a",1,{"b":2}]`: []any{"a", int64(1), map[string]any{"b": int64(2)}},
	} {
		got, err := typed(text)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", text, err, d)
		}
	}
	for _, text := range []string{
		``, `x`, `1 2`, `[1`, `null`, `[null]`, `{"a":null}`, `1e999`, `12345678901234567890123`, `9223372036854775809`,
		`0.12345678901234567890`, `[1e-400]`, `{"a":1,"a":2}`, `[{"a":{"b":1,"b":1}}]`, "\"\xff\"",
	} {
		if got, err := typed(text); err == nil {
			t.Errorf("%s was read as %v", text, got)
		}
	}
}

func TestNumbersThatATokenSaysAsTheyAreWrittenAreTaken(t *testing.T) {
	for text, want := range map[string]any{
		`9223372036854775807`: int64(math.MaxInt64), `0.1`: 0.1, `1.50`: 1.5, `1e300`: 1e300, `10000000000000000000000`: 1e22, `0e999999999`: 0.0,
	} {
		if got, err := typed(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestInspectSaysWhatIsNotUsable(t *testing.T) {
	token := profile.Token{Header: map[string]any{"alg": "ES256"}, Claims: map[string]any{
		"exp": json.Number("1795351103000"), "iat": json.Number("1795351103"), "sub": nil, "aud": map[string]any{}, "wlcg.groups": "/cms", "scope": []any{},
	}}
	var told strings.Builder
	newReading(token, "wlcg", time.Unix(1795351103, 0)).print(&told)
	for _, want := range []string{
		"a token of the profile wlcg with an unusable expiry;",
		"  more than ten years ahead (milliseconds?); it must be in seconds since 1970 (NumericDate of RFC 7519)\n",
		"error: exp: it is more than ten years ahead (milliseconds?)",
		"not usable: it must be a string that is not empty",
		"not usable: it must be a string, or an array of strings",
		"not usable: it must be an array of strings",
	} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, told.String())
		}
	}
	for _, wrong := range []string{"whom the token stands for", "the only service", "the token lives", "the groups of"} {
		if strings.Contains(told.String(), wrong) {
			t.Errorf("%q is in:\n%s", wrong, told.String())
		}
	}
}

func TestKeyUnderTwoNamesIsPublishedTwice(t *testing.T) {
	key, err := keys.Generate("ES256")
	check(t, err)
	other, err := keys.Generate("EdDSA")
	check(t, err)
	all := []keys.Key{}
	for _, k := range []keys.Key{key, key, other, key.WithID("mine"), other, key.WithID("mine")} {
		all = addKey(all, k)
	}
	if len(all) != 3 {
		t.Errorf("%d keys are left of three", len(all))
	}
}

func TestNamesAreToldFromClaims(t *testing.T) {
	names, claims := namesAndClaims([]string{"pilot", "aud=x", `pilot["a=b"]`, "pilot/a=b", "wlcg.groups=/a=b"})
	if d := cmp.Diff([]string{"pilot", `pilot["a=b"]`, "pilot/a=b"}, names); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"aud=x", "wlcg.groups=/a=b"}, claims); d != "" {
		t.Error(d)
	}
}

func FuzzLifetime(f *testing.F) {
	for _, text := range []string{"1200", "1h30m", "2d12h", "-1", "1e3", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var l lifetime
		if l.Set(text) == nil && time.Duration(l) < time.Second {
			t.Errorf("%q gives %v", text, time.Duration(l))
		}
	})
}

func FuzzTypedClaim(f *testing.F) {
	for _, text := range []string{`1`, `-0`, `1.0`, `"\u0000"`, `[[],{}]`, `{"a":{"b":[1e300]}}`, `null`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, err := typed(text)
		if err != nil {
			return
		}
		if _, err := json.Marshal(value); err != nil {
			t.Errorf("%q cannot be written into a token: %v", text, err)
		}
	})
}

func FuzzInspect(f *testing.F) {
	for _, text := range []string{
		"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln\n", "BEARER_TOKEN=eyJhbGciOiJub25lIn0.e30.c2ln",
		`{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOjFlMzAwLCJhdWQiOltdLCJzY29wZSI6MX0.c2ln"}`, "", "{}", "..",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := profile.Decode(unwrap(text))
		if err != nil {
			return
		}
		for _, name := range append(profile.Names(), "") {
			check(t, show(discard{t}, false, newReading(token, name, time.Unix(1800000000, 0))))
		}
	})
}

// A discard fails when what is written to it could command a terminal.
type discard struct{ t *testing.T }

func (d discard) Write(text []byte) (int, error) {
	for _, r := range string(text) {
		if r < ' ' && r != '\n' || r >= 0x7f && r <= 0x9f {
			d.t.Errorf("%q would reach the terminal", r)
		}
	}
	return len(text), nil
}
