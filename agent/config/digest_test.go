package config

import (
	"path/filepath"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

const digested = `
locals { aud = ["a"] }
source "fake" "s" { issuer = "https://x" }
source "fake" "same" { issuer = "https://x" }
token "t" {
  source   = source.fake.s
  audience = local.aud
  claims   = { a = 1, b = "x" }
  lifetime = "1h"
  sink "fake" {
    path = "/srv/t"
  }
}
`

// digestOf loads a file with one token and gives its Digest.
func digestOf(t *testing.T, text, key string, env Environment) string {
	t.Helper()
	folder := write(t, map[string]string{"a.hcl": text})
	config, faults := Load(t.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes(key), env)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return config.Renewers[0].Digest
}

func TestDigestIsThatOfWhatWasSet(t *testing.T) {
	other := testEnvironment()
	other.DigestKey = func(Settings) []byte { return []byte("another") }
	for _, test := range []struct {
		what     string
		from, to string // replaced in the text
		key      string
		env      Environment
		same     bool
	}{
		{what: "nothing changes", same: true},
		{what: "the order of attributes", from: "audience = local.aud\n  claims   = { a = 1, b = \"x\" }", to: "claims   = { a = 1, b = \"x\" }\n  audience = local.aud", same: true},
		{what: "the order of claims", from: `a = 1, b = "x"`, to: `b = "x", a = 1`, same: true},
		{what: "how a value is computed", from: "local.aud", to: `["${"a"}"]`, same: true},
		{what: "the name of the source", from: "source.fake.s", to: "source.fake.same", same: true},
		{what: "required", from: `lifetime = "1h"`, to: `lifetime = "1h"` + "\nrequired = false", same: true},
		{what: "renew", from: `lifetime = "1h"`, to: `lifetime = "1h"` + "\nrenew { at = 0.7 }", same: true},
		{what: "a validation", from: `lifetime = "1h"`, to: `lifetime = "1h"` + "\nvalidate { command = [\"/bin/true\"] }", same: true},
		{what: "a hook", from: `lifetime = "1h"`, to: `lifetime = "1h"` + "\nhook \"on_first\" { command = [\"/bin/true\"] }", same: true},
		{what: "the fates of the file", from: `lifetime = "1h"`, to: `lifetime = "1h"` + "\non_remove = \"delete\"\non_expired = \"remove\"", same: true},
		{what: "null is not set", from: `lifetime = "1h"`, to: `lifetime = "1h"` + "\nsubject = null", same: true},
		{what: "an audience", from: `["a"]`, to: `["b"]`},
		{what: "the bounds of an audience", from: `["a"]`, to: `["a", "b"]`},
		{what: "a claim's name", from: "a = 1", to: "aa = 1"}, // and not its place among the others
		{what: "which attribute has the value", from: "audience = local.aud", to: "scope = local.aud"},
		{what: "a claim's value", from: "a = 1", to: "a = 2"},
		{what: "a claim's type", from: "a = 1", to: `a = "1"`},
		{what: "a default is written down", from: `path = "/srv/t"`, to: "path = \"/srv/t\"\nmode = \"0600\""},
		{what: "a sink", from: "/srv/t", to: "/srv/u"},
		{what: "the source", from: "https://x", to: "https://y"},
		{what: "the signing key", key: "another"},
		{what: "the digest's own key", env: other},
	} {
		t.Run(test.what, func(t *testing.T) {
			if test.key == "" {
				test.key = "key"
			}
			if test.env.DigestKey == nil {
				test.env = testEnvironment()
			}
			before := digestOf(t, digested, "key", testEnvironment())
			after := digestOf(t, replaceIn(t, digested, test.from, test.to), test.key, test.env)
			if (before == after) != test.same {
				t.Errorf("before %s, after %s", before, after)
			}
		})
	}
}

// Another digest for the same definition has every token asked for again at the
// upgrade that brings it.
func TestDigestIsThatOfEarlierVersions(t *testing.T) {
	const want = "a8c3458cf40db0675505e93b4dd5357df79d7a155f196cf4df45e414d971df45"
	if got := digestOf(t, digested, "key", testEnvironment()); got != want {
		t.Errorf("got %s, and earlier versions made %s", got, want)
	}
}

func TestDigestHidesTheKey(t *testing.T) {
	if d := digestOf(t, digested, "key", testEnvironment()); len(d) != 64 {
		t.Errorf("%q is no HMAC-SHA256 in hexadecimal", d)
	}
}

func TestNothingOfTheKeyIsLeftAfterALoad(t *testing.T) {
	for _, s := range load(t, digested).Sources {
		if s.Key.Issuer == "" || s.Key.Mark != (agent.Secret{}) {
			t.Errorf("%s has %+v", s.Name, s.Key)
		}
	}
}

func TestUnchangedDefinitionsAreEqualAcrossLoads(t *testing.T) {
	var last agent.Renewer
	for i := range 10 {
		r := load(t, digested).Renewers[0]
		if i > 0 && r.Digest != last.Digest {
			t.Fatalf("%s, before %s", r.Digest, last.Digest)
		}
		last = r
	}
}
