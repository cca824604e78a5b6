package rotation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
)

func TestDocumentsHaveWhatTheStandardsRequire(t *testing.T) {
	for url, set := range map[string]string{
		"https://issuer.example.org":       "https://issuer.example.org/jwks.json",
		"https://issuer.example.org/":      "https://issuer.example.org/jwks.json",
		"https://host.example.org/ospool":  "https://host.example.org/ospool/jwks.json",
		"https://host.example.org/ospool/": "https://host.example.org/ospool/jwks.json",
	} {
		documents := Documents(url, []string{"ES256"}, nil)
		for _, name := range []string{OpenIDFile, OAuthFile} {
			var metadata map[string]any
			check(t, json.Unmarshal(documents[name], &metadata))
			if metadata["issuer"] != url || metadata["jwks_uri"] != set {
				t.Errorf("%s: issuer %v, jwks_uri %v; want the URL byte for byte, and %s", url, metadata["issuer"], metadata["jwks_uri"], set)
			}
			for _, required := range []string{"authorization_endpoint", "token_endpoint", "response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported"} {
				if metadata[required] == nil {
					t.Errorf("%s: %s has no %s", url, name, required)
				}
			}
		}
		if _, err := issuer.ParseKeys(documents[KeysFile]); err != nil {
			t.Errorf("without a key: %v\n%s", err, documents[KeysFile])
		}
	}
}

// also is a site with a set of keys of others, and one key of ours.
func also(t *testing.T, set string) (*Site, []Key) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.jwks")
	check(t, os.WriteFile(path, []byte(set), 0o644))
	own, err := keys.Generate("ES256")
	check(t, err)
	k, err := newKey(own.WithID("own"), "own.jwk", day0)
	check(t, err)
	return &Site{URL: "https://issuer.example.org", Also: []string{path}}, []Key{k}
}

func jwks(t *testing.T, all ...keys.Key) string {
	t.Helper()
	text, err := keys.JWKS(all...)
	check(t, err)
	return string(text)
}

func generated(t *testing.T, algorithm, id string) keys.Key {
	t.Helper()
	key, err := keys.Generate(algorithm)
	check(t, err)
	return key.WithID(id)
}

func TestKeysOfOthersArePublishedWithoutTheirPrivateHalves(t *testing.T) {
	other := jwks(t, generated(t, "RS256", "theirs"))
	other = strings.Replace(other, `"kty"`, `"d": "SECRET", "p": "SECRET", "q": "SECRET", "dp": "SECRET", "dq": "SECRET", "qi": "SECRET", "oth": ["SECRET"], "kty"`, 1)
	site, own := also(t, other)
	p, err := site.Prepare(own)
	check(t, err)
	set, err := issuer.ParseKeys(p.files[KeysFile])
	check(t, err)
	if len(set.Keys) != 2 || strings.Contains(string(p.files[KeysFile]), "SECRET") {
		t.Errorf("published is %s", p.files[KeysFile])
	}
	if !strings.Contains(strings.Join(strings.Fields(string(p.files[OpenIDFile])), ""), `"id_token_signing_alg_values_supported":["ES256","RS256"]`) {
		t.Errorf("verifiers are told of both algorithms: %s", p.files[OpenIDFile])
	}
}

func TestAKeyThatIsListedTwiceIsPublishedOnce(t *testing.T) {
	other := generated(t, "ES256", "theirs")
	site, own := also(t, jwks(t, other, other))
	site.Also = append(site.Also, site.Also[0])
	p, err := site.Prepare(own)
	check(t, err)
	if set, err := issuer.ParseKeys(p.files[KeysFile]); err != nil || len(set.Keys) != 2 {
		t.Errorf("%v, %s", err, p.files[KeysFile])
	}
}

func TestWhatCannotBePublishedIsNamedWithItsReason(t *testing.T) {
	for name, c := range map[string]struct{ set, want string }{
		"another key of that kid": {jwks(t, generated(t, "ES256", "own")), `another key has the kid "own"`},
		"two keys of one kid":     {jwks(t, generated(t, "ES256", "a"), generated(t, "ES256", "a")), `another key has the kid "a"`},
		"no kid":                  {strings.Replace(jwks(t, generated(t, "ES256", "a")), `"kid"`, `"name"`, 1), "no kid"},
		"a secret key":            {`{"keys": [{"kty": "oct", "kid": "hmac", "k": "SECRET"}]}`, `key "hmac"`},
		"an unknown kind of key":  {`{"keys": [{"kty": "new", "kid": "odd"}]}`, `key "odd"`},
		"a PEM file":              {"-----BEGIN PUBLIC KEY-----\n", "not a set of public keys"},
		"one key alone":           {`{"kty": "EC", "kid": "a"}`, "not a set of public keys"},
		"an empty file":           {"", "not a set of public keys"},
	} {
		site, own := also(t, c.set)
		if _, err := site.Prepare(own); err == nil || !strings.Contains(err.Error(), site.Also[0]) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v; want the path, and %q", name, err, c.want)
		}
	}
	site, own := also(t, "")
	check(t, os.Remove(site.Also[0]))
	if _, err := site.Prepare(own); err == nil || !strings.Contains(err.Error(), site.Also[0]+": no such file") {
		t.Errorf("a missing file: %v", err)
	}
}

// A file of somebody else must not keep a key published that has leaked.
func TestAKeyIsRevokedThoughTheKeysOfOthersCannotBeRead(t *testing.T) {
	w := calm(t)
	path := filepath.Join(t.TempDir(), "other.jwks")
	check(t, os.WriteFile(path, []byte(jwks(t, generated(t, "ES256", "theirs"))), 0o644))
	w.issuer.settings.Site.Also = []string{path}
	w.pass(5 * day)
	old := w.signer()
	check(t, os.WriteFile(path, []byte("{"), 0o644))
	check(t, w.issuer.Revoke(w.ctx(), old))
	r, err := w.issuer.Step(w.ctx())
	check(t, err)
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], path) {
		t.Errorf("the warnings are %q", r.Warnings)
	}
	var ids []string
	for _, k := range w.fetch().Keys {
		ids = append(ids, k.ID)
	}
	if slices.Contains(ids, old) || !slices.Contains(ids, "theirs") || !slices.Contains(ids, w.signer()) || len(ids) != 3 {
		t.Errorf("the document holds %q; want the keys of others, one that signs and a successor", ids)
	}
	check(t, os.WriteFile(path, []byte(`{"keys": []}`), 0o644))
	w.pass(time.Hour)
	if found := w.fetch().Keys; len(found) != 2 {
		t.Errorf("the file is empty now, and the document holds %+v", found)
	}
}
