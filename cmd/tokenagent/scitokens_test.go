package main

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// Programs that we did not write say whether our tokens are good: scitokens-cpp,
// on which HTCondor and XRootD stand, fetches metadata and keys over https, as
// it does in production.

const wlcgAny = "https://wlcg.cern.ch/jwt/v1/any"

func TestScitokensCppAcceptsOurTokens(t *testing.T) {
	issuer := newIssuer(t)
	for _, c := range []struct {
		algorithm, profile, audience, scope string
		presented                           string // the name under which the verifier knows itself
		access                              []string
	}{
		{"ES256", "wlcg", wlcgAny, "storage.read:/data", "https://xrootd.example.org", []string{"read:/data"}},
		{"RS256", "wlcg", "https://xrootd.example.org", "storage.create:/out", "https://xrootd.example.org", []string{"write:/out"}},
		{"ES256", "scitokens", "ANY", "read:/data write:/out", "https://xrootd.example.org", []string{"read:/data", "write:/out"}},
		{"RS256", "scitokens", "ce.example.org:9619", "condor:/READ condor:/WRITE", "ce.example.org:9619", []string{"condor:/READ", "condor:/WRITE"}},
	} {
		t.Run(c.algorithm+" "+c.profile, func(t *testing.T) {
			token := issuer.issue(t, c.algorithm, c.profile, c.audience, c.scope)
			if out, err := issuer.verdict(t, "scitokens-verify", token); err != nil {
				t.Fatalf("scitokens-verify refuses the token: %v\n%s", err, out)
			}
			out, err := issuer.verdict(t, "scitokens-list-access", token, issuer.url, c.presented)
			if err != nil {
				t.Fatalf("scitokens-list-access refuses the token: %v\n%s", err, out)
			}
			for _, want := range c.access {
				if !strings.Contains(out, "ACL: "+want+"\n") {
					t.Errorf("%s is not allowed:\n%s", want, out)
				}
			}
		})
	}
}

// Without this, a verifier that lets everything pass would do for the test above.
func TestScitokensCppRefusesBadTokens(t *testing.T) {
	issuer := newIssuer(t)
	token := issuer.issue(t, "ES256", "scitokens", "ce.example.org:9619", "condor:/READ")
	for _, c := range []struct {
		name    string
		because string // what the program says
		command []string
	}{
		{"tampered", "Invalid signature", []string{"scitokens-verify", tampered(t, token, "condor:/READ", "condor:/WRITE")}},
		{"expired", "token expired", []string{"scitokens-verify", issuer.expired(t, token)}},
		{"for another audience", "'aud' claim verification failed", []string{"scitokens-list-access", token, issuer.url, "other.example.org:9619"}},
		{"of another issuer", "issuer is not in list of allowed issuers", []string{"scitokens-list-access", token, issuer.url + "/", "ce.example.org:9619"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := issuer.verdict(t, c.command...)
			if err == nil || !strings.Contains(out, c.because) {
				t.Errorf("%v\n%swant a refusal: %s", err, out, c.because)
			}
		})
	}
}

// What our reading of a token is, scitokens-cpp's is too: which scope, version and audience
// count, and what a word of the scope allows.
func TestScitokensCppReadsScopesVersionsAndAudiencesAsWeDo(t *testing.T) {
	issuer := newIssuer(t)
	const service = "https://se.example.org"
	now := time.Now().Unix()
	for _, c := range []struct {
		profile, ver string // "" for the profile's own
		aud, scope   any
		allows       string // "" where it is refused
	}{
		{"wlcg", "", service, "storage.read:/a", "read:/a"},
		{"wlcg", "", service, "storage.read:", "read:/"},
		{"wlcg", "", service, "storage.read", "read:/"},
		{"wlcg", "", service, "storage.read:a", "read:/a"},
		{"wlcg", "", service, "storage.read:/a//b/", "read:/a/b"},
		{"wlcg", "", []string{"x", service}, "storage.read:/a", "read:/a"},
		{"wlcg", "", wlcgAny, "storage.read:/a", "read:/a"},
		{"wlcg", "", "ANY", "storage.read:/a", ""},
		{"wlcg", "", service, []string{"storage.read:/a"}, ""},
		{"wlcg", "1.1", service, "storage.read:/a", ""},
		{"scitokens", "", service, "read:", "read:/"},
		{"scitokens", "", service, "read:a", "read:/a"},
		{"scitokens", "", []string{"x", "ANY"}, "read:/a", "read:/a"},
		{"scitokens", "", service + "/", "read:/a", ""},
		{"scitokens", "", "any", "read:/a", ""},
		{"scitokens", "", service, []string{"read:/a"}, ""},
		{"scitokens", "scitokens:2.0", service, "read:/a", "read:/a"},
		{"scitokens", "scitoken:1.0", service, "read:/a", ""},
		{"scitokens", "2.0", service, "read:/a", ""},
	} {
		claims := profile.Claims(c.profile)
		for name := range claims {
			claims[name] = cmp.Or(c.ver, claims[name].(string))
		}
		maps.Copy(claims, map[string]any{"iss": issuer.url, "sub": "pilot", "jti": "1", "iat": now, "nbf": now - 60, "exp": now + 3600, "aud": c.aud, "scope": c.scope})
		text := issuer.sign(t, claims)
		out, err := issuer.verdict(t, "scitokens-list-access", text, issuer.url, service)
		if (err == nil) != (c.allows != "") || err == nil && !strings.Contains(out, "ACL: "+c.allows+"\n") {
			t.Errorf("%+v: scitokens-cpp says %v\n%s", c, err, out)
		}
		decoded, err := profile.Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		problems := append(profile.Check(c.profile, profile.Normalised(decoded)), profile.Audience(c.profile, decoded, service)...)
		refused := slices.ContainsFunc(problems, func(p profile.Problem) bool { return !p.Warning })
		asked := strings.Replace(c.allows, "read:", map[string]string{"wlcg": "storage.read:", "scitokens": "read:"}[c.profile], 1)
		missing := profile.CompareScope(strings.Fields(asked), profile.Scope(c.profile, decoded)).Missing
		if refused != (c.allows == "") || len(missing) > 0 {
			t.Errorf("%+v: we say %v, and %q is missing", c, problems, missing)
		}
	}
}

// A simpleIssuer is what a simple issuer is to those who verify its tokens: its
// metadata and its public keys on a web server with https.
type simpleIssuer struct {
	url string
	dir string // holds ES256.pem and RS256.pem, the server's certificate ca.pem and the verifiers' cache

	mu   sync.Mutex
	keys jose.JSONWebKeySet // that are published
}

// publish replaces the keys that are published.
func (i *simpleIssuer) publish(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys.Keys = keys
}

// newIssuer makes an issuer with two keys made by tokenagent, and publishes what
// tokenagent says are their public halves.
func newIssuer(t *testing.T) *simpleIssuer {
	t.Helper()
	requirePart(t, "scitokens-verify", "--help")
	i := &simpleIssuer{dir: t.TempDir()}
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	i.url = server.URL
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.url, i.url+"/jwks.json")
	})
	mux.HandleFunc("/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		json.NewEncoder(w).Encode(i.keys)
	})
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	writeFile(t, filepath.Join(i.dir, "ca.pem"), certificate)
	var all []jose.JSONWebKey
	for _, algorithm := range []string{"ES256", "RS256"} {
		key := i.key(algorithm)
		succeed(t, "key", "create", "--algorithm", algorithm, key)
		var public jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(succeed(t, "key", "public", key)), &public); err != nil {
			t.Fatal(err)
		}
		all = append(all, public.Keys...)
	}
	i.publish(all...)
	requirePart(t, "unshare", i.masked("true")...)
	return i
}

// key is the path of the key for that algorithm.
func (i *simpleIssuer) key(algorithm string) string { return filepath.Join(i.dir, algorithm+".pem") }

// issue has the agent write one token, from a configuration to its file.
func (i *simpleIssuer) issue(t *testing.T, algorithm, profile, audience, scope string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "tokenagent.hcl"), fmt.Appendf(nil, `
agent {
  state_dir = "${path.config}/state"
  control   = "${path.config}/control.sock"
}
source "local_key" "it" {
  issuer   = %q
  key_file = %q
}
token "it" {
  source   = source.local_key.it
  profile  = %q
  subject  = "pilot"
  audience = [%q]
  scope    = [%s]
  sink "file" {
    path = "${path.config}/token"
  }
}
`, i.url, i.key(algorithm), profile, audience, `"`+strings.ReplaceAll(scope, " ", `", "`)+`"`))
	succeed(t, "once", "--config", filepath.Join(dir, "tokenagent.hcl"))
	return strings.TrimSuffix(readFile(t, filepath.Join(dir, "token")), "\n")
}

// verdict runs one of scitokens-cpp's programs where the issuer's certificate is
// the only one trusted, and returns all that it says.
func (i *simpleIssuer) verdict(t *testing.T, command ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("unshare", i.masked(command...)...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+i.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// masked are the arguments for unshare to run command in a mount namespace of its
// own, where the issuer's certificate lies over the system's: its path is
// compiled into the libcurl of Debian, and no variable helps.
func (i *simpleIssuer) masked(command ...string) []string {
	const script = `mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"`
	args := []string{"--mount", "sh", "-c", script, filepath.Join(i.dir, "ca.pem")}
	if os.Geteuid() != 0 {
		args = append([]string{"--map-root-user"}, args...)
	}
	return append(args, command...)
}

// expired is token with claims of yesterday, rightly signed.
func (i *simpleIssuer) expired(t *testing.T, token string) string {
	t.Helper()
	decoded, err := profile.Decode(token)
	if err != nil {
		t.Fatal(err)
	}
	claims := maps.Clone(decoded.Claims)
	yesterday := time.Now().Add(-24 * time.Hour).Unix()
	claims["iat"], claims["nbf"], claims["exp"] = yesterday, yesterday-60, yesterday+3600
	return i.sign(t, claims)
}

// sign signs any claims with the key for ES256.
func (i *simpleIssuer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(readFile(t, i.key("ES256"))))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signing := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: i.keys.Keys[0].KeyID}}
	signer, err := jose.NewSigner(signing, new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tampered is token with another scope in the place of the one it was signed with.
func tampered(t *testing.T, token, scope, other string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	more := strings.Replace(string(payload), scope, other, 1)
	if more == string(payload) {
		t.Fatalf("nothing to tamper with in %s", payload)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(more))
	return strings.Join(parts, ".")
}

// succeed runs a command of tokenagent and returns what it prints.
func succeed(t *testing.T, args ...string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	if code := runHere(args, strings.NewReader(""), &out, &complaints); code != 0 {
		t.Fatalf("tokenagent %s: exit %d\n%s%s", strings.Join(args, " "), code, &out, &complaints)
	}
	return out.String()
}
