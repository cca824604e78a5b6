package main

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/rotation"
)

// A rotatingSite is an issuer on a real web server, and the programs that verify its tokens.
type rotatingSite struct {
	*simpleSite
	cpp  *simpleIssuer // runs scitokens-cpp
	xrd  *xrootd
	oidc *goOIDC
	down atomic.Bool // the web server answers nobody
}

// newRotatingSite is the issuer at this path of the web server.
func newRotatingSite(t *testing.T, path string) *rotatingSite {
	t.Helper()
	requirePart(t, "scitokens-verify", "--help")
	requirePart(t, "/usr/bin/python3", "-c", "import jwt.algorithms, cryptography")
	s := &rotatingSite{simpleSite: &simpleSite{t: t, dir: t.TempDir()}}
	web := filepath.Join(s.dir, "web")
	check(t, errors.Join(os.Chmod(s.dir, 0o755), os.MkdirAll(web+path, 0o755), os.Mkdir(filepath.Join(s.dir, "tokens"), 0o755)))
	files := http.FileServer(http.Dir(web))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + path
	put(t, filepath.Join(s.dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	check(t, os.Chmod(filepath.Join(s.dir, "ca.pem"), 0o644))
	s.config = filepath.Join(s.dir, "tokenagent.hcl")
	put(t, s.config, strings.NewReplacer("DIR", s.dir, "URL", s.url, "WEB", web+path).Replace(`
agent {
  state_dir = "DIR/state"
  control   = "DIR/control"
}
issuer "ospool" {
  url      = "URL"
  keys_dir = "DIR/keys"
  web_root = "WEB"
  ca_file  = "DIR/ca.pem"
}
token "pilot" {
  source   = issuer.ospool
  profile  = "wlcg"
  subject  = "pilot"
  lifetime = "1h"
  scope    = ["storage.read:/"]
  audience = ["`+wlcgAny+`"]
  sink "file" { path = "DIR/tokens/pilot" }
}
`))
	s.cpp = &simpleIssuer{url: s.url, dir: s.dir}
	requirePart(t, "unshare", s.cpp.masked("true")...)
	return s
}

// token has the agent issue a token, and returns it.
func (s *rotatingSite) token() string {
	s.t.Helper()
	s.run("once", "--force")
	return strings.TrimSpace(readFile(s.t, filepath.Join(s.dir, "tokens/pilot")))
}

// stages are those of the keys, in the order in which they were created.
func (s *rotatingSite) stages(want ...rotation.Stage) {
	s.t.Helper()
	var got []rotation.Stage
	for _, k := range s.keys() {
		got = append(got, rotation.Stage(k.Stage))
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("the stages of the keys are %q, want %q", got, want)
	}
}

// age has time pass for the issuer: what it remembers becomes older.
func (s *rotatingSite) age(by time.Duration) {
	s.t.Helper()
	path := filepath.Join(s.dir, "keys/keys.json")
	var l rotation.Life
	check(s.t, json.Unmarshal([]byte(readFile(s.t, path)), &l))
	older := func(all ...*time.Time) {
		for _, at := range all {
			if !at.IsZero() {
				*at = at.Add(-by)
			}
		}
	}
	older(&l.Asked)
	for i := range l.Keys {
		k := &l.Keys[i]
		older(&k.Created, &k.Seen, &k.Gone, &k.Signing, &k.Retired, &k.Revoked, &k.Until)
	}
	text, err := json.Marshal(l)
	check(s.t, err)
	put(s.t, path, string(text))
}

// ageCaches has time pass for scitokens-cpp, here and in XRootD.
func (s *rotatingSite) ageCaches(by time.Duration) {
	s.t.Helper()
	const script = `
import json, sqlite3, sys
by, found = int(sys.argv[1]), 0
for path in sys.argv[2:]:
    cache = sqlite3.connect(path)
    for issuer, text in cache.execute("select issuer, keys from keycache").fetchall():
        entry = json.loads(text)
        entry["expires"] -= by
        entry["next_update"] -= by
        cache.execute("update keycache set keys = ? where issuer = ?", (json.dumps(entry), issuer))
        found += 1
    cache.commit()
if found != 2: sys.exit("%d caches hold keys" % found)
`
	own := "scitokens/scitokens_cpp.sqllite"
	out, err := exec.Command("/usr/bin/python3", "-c", script, fmt.Sprint(int(by.Seconds())), filepath.Join(s.dir, own), filepath.Join(s.xrd.dir, "own", own)).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// accepted wants scitokens-cpp, XRootD and go-oidc to accept the token.
func (s *rotatingSite) accepted(when, token string) {
	s.t.Helper()
	if out, err := s.cpp.verdict(s.t, "scitokens-verify", token); err != nil {
		s.t.Errorf("%s: scitokens-cpp: %v\n%s", when, err, out)
	}
	if err := s.copies(token); err != nil {
		s.t.Errorf("%s: XRootD: %v", when, err)
	}
	if err := s.oidc.verify(token); err != nil {
		s.t.Errorf("%s: go-oidc: %v", when, err)
	}
}

// copies has XRootD's client copy a file with the token.
func (s *rotatingSite) copies(token string) error {
	file := filepath.Join(s.dir, "bearer")
	put(s.t, file, token)
	c := exec.CommandContext(s.t.Context(), "xrdcp", "-f", "-s", s.xrd.url, os.DevNull)
	c.Env = append(s.xrd.client(), "PATH="+os.Getenv("PATH"), "BEARER_TOKEN_FILE="+file)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// pythonReads has PyJWT find the keys by way of the metadata, and verify the token.
func (s *rotatingSite) pythonReads(when, token string) {
	s.t.Helper()
	const script = `
import json, jwt, sys, urllib.request
url, token, audience = sys.argv[1:]
for name in "openid-configuration", "oauth-authorization-server":
    metadata = json.load(urllib.request.urlopen(url + "/.well-known/" + name))
    assert metadata["issuer"] == url, metadata
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    jwt.decode(token, key.key, algorithms=metadata["id_token_signing_alg_values_supported"], audience=audience, issuer=url)
`
	c := exec.Command("/usr/bin/python3", "-c", script, s.url, token, wlcgAny)
	c.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(s.dir, "ca.pem"))
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Errorf("%s: PyJWT: %v\n%s", when, err, out)
	}
}

// refused wants scitokens-cpp to refuse the token.
func (s *rotatingSite) refused(when, token string) {
	s.t.Helper()
	if out, err := s.cpp.verdict(s.t, "scitokens-verify", token); err == nil {
		s.t.Errorf("%s: scitokens-cpp accepts the token: %s", when, out)
	}
}

// A goOIDC is a service that verifies tokens with go-oidc, and keeps the keys.
type goOIDC struct {
	in  io.Writer
	out *bufio.Reader
}

func startGoOIDC(t *testing.T, program, issuer, authorities string) *goOIDC {
	t.Helper()
	c := exec.Command(program, issuer, wlcgAny, authorities)
	in, err := c.StdinPipe()
	check(t, err)
	out, err := c.StdoutPipe()
	check(t, err)
	c.Stderr = os.Stderr
	check(t, launch(c))
	t.Cleanup(func() { in.Close(); _ = c.Wait() })
	return &goOIDC{in, bufio.NewReader(out)}
}

func (g *goOIDC) verify(token string) error {
	if _, err := fmt.Fprintln(g.in, token); err != nil {
		return err
	}
	answer, err := g.out.ReadString('\n')
	if err == nil && answer != "ok\n" {
		err = errors.New(strings.TrimSpace(answer))
	}
	return err
}

// Programs that we did not write verify tokens at every stage of a rotation, with keys that
// they have kept for as long as they ever do. An hour before a copy of the keys is too old
// for scitokens-cpp, the web server fails: a key that signs must be in that copy already.
func TestVerifiersAcceptTokensAtEveryStageOfARotation(t *testing.T) {
	requireLong(t)
	const day = 24 * time.Hour
	program := issuertest.GoOIDC(t, filepath.Join(root, "sources/testdata"))
	for name, path := range map[string]string{"root": "", "path": "/ospool/pilots"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRotatingSite(t, path)
			s.xrd = newXRootDOf(t, s.url, func(command ...string) []string { return append([]string{"unshare"}, s.cpp.masked(command...)...) })
			first := s.token()
			s.oidc = startGoOIDC(t, program, s.url, filepath.Join(s.dir, "ca.pem"))
			s.run("once")
			s.stages("signing", "published")
			s.accepted("the first key", first)
			s.pythonReads("the first key", first)

			s.run("issuer", "rotate")
			s.stages("signing", "published")
			s.age(4 * day)
			s.ageCaches(4*day - time.Hour)
			second := s.token()
			s.stages("retired", "signing", "created")
			s.down.Store(true)
			s.accepted("the successor, with an old copy of the keys", second)
			s.accepted("the retired key, with an old copy of the keys", first)
			s.down.Store(false)
			s.ageCaches(time.Hour)
			s.run("once")
			s.stages("retired", "signing", "published")
			for when, token := range map[string]string{"the successor": second, "the retired key": first} {
				s.accepted(when, token)
				s.pythonReads(when, token)
			}

			s.age(6 * day) // the lease of a day, and four days of copies
			s.ageCaches(6 * day)
			s.run("once")
			s.stages("signing", "published")
			s.accepted("after the first key was removed", second)
			s.refused("after the first key was removed", first)

			s.run("issuer", "revoke", s.kid())
			s.run("once")
			third := strings.TrimSpace(readFile(t, filepath.Join(s.dir, "tokens/pilot")))
			s.accepted("the new key after a revocation, with a copy of before", third)
			if out, err := s.cpp.verdict(t, "scitokens-verify", second); err != nil {
				t.Errorf("issuer revoke says that scitokens-cpp may accept the key for 10 minutes, but it refuses it: %v\n%s", err, out)
			}
			s.ageCaches(11 * time.Minute)
			s.accepted("the new key after a revocation", third)
			s.pythonReads("the new key after a revocation", third)
			s.refused("the revoked key", second)
			if err := s.oidc.verify(second); err == nil {
				t.Error("go-oidc has fetched the keys for the new token, and accepts one of the revoked key")
			}
		})
	}
}
