package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources"
)

// A simpleSite is a configuration with an issuer, and the web server that shows its
// documents.
type simpleSite struct {
	t      *testing.T
	dir    string
	config string
	url    string
}

func newSimpleSite(t *testing.T, extra string) *simpleSite {
	t.Helper()
	s := &simpleSite{t: t, dir: t.TempDir()}
	check(t, os.Chmod(s.dir, 0o755))
	for _, name := range []string{"web", "tokens"} {
		check(t, os.Mkdir(filepath.Join(s.dir, name), 0o755))
	}
	server := httptest.NewTLSServer(http.FileServer(http.Dir(filepath.Join(s.dir, "web"))))
	t.Cleanup(server.Close)
	s.url = server.URL
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	check(t, os.WriteFile(filepath.Join(s.dir, "ca.pem"), authority, 0o644))
	s.config = filepath.Join(s.dir, "tokenagent.hcl")
	text := strings.NewReplacer("DIR", s.dir, "URL", s.url).Replace(`
agent {
  state_dir = "DIR/state"
  control   = "DIR/run/control"
}
issuer "ospool" {
  url          = "URL"
  keys_dir     = "DIR/keys"
  web_root     = "DIR/web"
  ca_file      = "DIR/ca.pem"
  rotate_after = "180d"
` + extra + `
}
token "pilot" {
  source   = issuer.ospool
  profile  = "scitokens"
  subject  = "pilot"
  scope    = ["compute.read"]
  audience = ["https://ce.example.org"]
  sink "file" { path = "DIR/tokens/pilot" }
}
`)
	check(t, os.WriteFile(s.config, []byte(text), 0o644))
	return s
}

// run runs a command, which must succeed, and returns what it prints.
func (s *simpleSite) run(args ...string) string {
	s.t.Helper()
	stdout, stderr, code := s.try(args...)
	if code != 0 {
		s.t.Fatalf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

func (s *simpleSite) try(args ...string) (stdout, stderr string, code int) {
	var out, complaints strings.Builder
	code = run(append(args[:len(args):len(args)], "--config", s.config), strings.NewReader(""), &out, &complaints)
	return out.String(), complaints.String(), code
}

// kid is the key that the token in the file is signed with.
func (s *simpleSite) kid() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "tokens/pilot"))
	check(s.t, err)
	decoded, err := profile.Decode(strings.TrimSpace(string(text)))
	check(s.t, err)
	return decoded.Header["kid"].(string)
}

func (s *simpleSite) keys() (all []keyShown) {
	s.t.Helper()
	var shown issuersShown
	check(s.t, json.Unmarshal([]byte(s.run("issuer", "status", "--json")), &shown))
	return shown.Issuers[0].Keys
}

func TestAnIssuerFromNothingToATokenThatVerifies(t *testing.T) {
	s := newSimpleSite(t, "")
	if _, stderr, code := s.try("token", "create", "pilot"); code == 0 || !strings.Contains(stderr, "issuer publish") {
		t.Errorf("without a key nothing can be signed, and the error says what to do: %s", stderr)
	}
	s.run("issuer", "publish")
	s.run("once")
	keys := s.keys()
	if len(keys) != 2 || keys[0].ID != s.kid() || keys[0].Stage != "signing" || keys[0].Living != 1 {
		t.Errorf("one key signs, and has a successor: %+v", keys)
	}
	if out := s.run("token", "create", "pilot"); strings.Count(out, ".") != 2 {
		t.Errorf("token create prints %q", out)
	}
	succeed(t, "exec", "--config", s.config, "pilot", "--", "true")
	out := s.run("history", "--living", "--kid", keys[0].ID)
	for _, want := range []string{"tokens/pilot", "why  start", "why  token create", "why  exec"} {
		if !strings.Contains(out, want) {
			t.Errorf("history says nothing of %q:\n%s", want, out)
		}
	}
}

func TestARevokedKeyIsGoneFromDocumentAndTokens(t *testing.T) {
	s := newSimpleSite(t, "")
	s.run("once")
	old := s.kid()
	out := s.run("issuer", "revoke", old)
	if !strings.Contains(out, "tokens/pilot") || !strings.Contains(out, "10 min") {
		t.Errorf("the command lists what was signed, and says how long it may be accepted: %s", out)
	}
	document, err := os.ReadFile(filepath.Join(s.dir, "web/jwks.json"))
	check(t, err)
	if strings.Contains(string(document), old) {
		t.Errorf("the document still holds the key: %s", document)
	}
	s.run("once") // the token lives, and is signed again all the same
	if s.kid() == old {
		t.Error("the token still carries the revoked key")
	}
	before := s.kid()
	s.run("once")
	stages := []string{}
	for _, k := range s.keys() {
		stages = append(stages, string(k.Stage))
	}
	if want := []string{"revoked", "signing", "published"}; !slices.Equal(stages, want) || s.kid() != before {
		t.Errorf("stages %v, want %v", stages, want)
	}
	if _, stderr, code := s.try("issuer", "revoke", "unknown"); code == 0 || !strings.Contains(stderr, before) {
		t.Errorf("an unknown key: %s", stderr)
	}
}

func TestAKeyIsRevokedAlthoughATokenIsNotUsable(t *testing.T) {
	s := newSimpleSite(t, "")
	s.run("once")
	kid := s.kid()
	text, err := os.ReadFile(s.config)
	check(t, err)
	text = append(text, "token \"other\" {\n  source = issuer.ospool\n  sink \"file\" {\n    path  = \"/nowhere/x\"\n    owner = \"nobody-of-that-name\"\n  }\n}\n"...)
	check(t, os.WriteFile(s.config, text, 0o644))
	if _, _, code := s.try("once"); code == 0 {
		t.Fatal("the sink is to be refused")
	}
	if out := s.run("issuer", "revoke", kid); !strings.Contains(out, kid+" is revoked") {
		t.Error(out)
	}
}

func TestARevocationThatIsNotPublishedSaysSo(t *testing.T) {
	s := newSimpleSite(t, "")
	s.run("once")
	kid, document := s.kid(), filepath.Join(s.dir, "web/jwks.json")
	check(t, os.Remove(document))
	check(t, os.Mkdir(document, 0o755))
	_, stderr, code := s.try("issuer", "revoke", kid)
	if code == 0 || !strings.Contains(stderr, kid+" signs no more, but ") || !strings.Contains(stderr, document) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	check(t, os.Remove(document))
	if out := s.run("issuer", "revoke", kid); !strings.Contains(out, kid+" is revoked") {
		t.Error(out)
	}
}

func TestTheKeysOfAnotherUserAreNamedAsTheirs(t *testing.T) {
	requireRoot(t, "give a folder to another user")
	s := newSimpleSite(t, "")
	s.run("issuer", "publish")
	check(t, os.Chown(filepath.Join(s.dir, "keys"), 65534, 65534))
	_, stderr, code := s.try("issuer", "rotate")
	if code == 0 || !strings.Contains(stderr, "do this as that user") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestARotationByHandWaitsAndRenewsNothing(t *testing.T) {
	s := newSimpleSite(t, "")
	s.run("once")
	s.run("once")
	first := s.kid()
	if out := s.run("issuer", "rotate"); !strings.Contains(out, "its successor signs in ") {
		t.Errorf("it says when: %s", out)
	}
	s.run("once")
	if keys := s.keys(); keys[0].Stage != "signing" {
		t.Errorf("the successor may not be known everywhere yet: %+v", keys)
	}
	s.run("issuer", "rotate", "--now")
	s.run("once")
	if keys := s.keys(); keys[0].Stage != "retired" || keys[1].Stage != "signing" || s.kid() != first {
		t.Errorf("the successor signs what is due, and the token stays as it is: %+v", keys)
	}
	s.run("once", "--force")
	if s.kid() == first {
		t.Error("a new token carries the old key")
	}
}

// A hook brings the files to a web server elsewhere.
func TestWithoutAWebRootTheHookGetsTheFilesFromTheStateFolder(t *testing.T) {
	s := newSimpleSite(t, `  hook "on_publish" { command = ["/bin/sh", "-ec", "cp -R \"$TOKENAGENT_WEB_ROOT/.\" DIR/web; echo \"$TOKENAGENT_EVENT $TOKENAGENT_ISSUER\" >>DIR/told"] }`)
	text := readFile(t, s.config)
	put(t, s.config, strings.Replace(text, fmt.Sprintf("  web_root     = %q\n", s.dir+"/web"), "", 1))
	s.run("once")
	if keys := s.keys(); keys[0].ID != s.kid() || keys[0].Stage != "signing" {
		t.Errorf("the key signs as soon as the hook has published it: %+v", keys)
	}
	if told := readFile(t, filepath.Join(s.dir, "told")); told != "on_publish ospool\non_publish ospool\n" {
		t.Errorf("the hook runs for the first key, and for its successor: %q", told)
	}
	check(t, os.RemoveAll(filepath.Join(s.dir, "state")))
	s.run("once")
	if told := readFile(t, filepath.Join(s.dir, "told")); strings.Count(told, "\n") != 2 {
		t.Errorf("the documents are the same, and the hook runs again: %q", told)
	}
	if keys := s.keys(); len(keys) != 2 || keys[0].Stage != "signing" {
		t.Errorf("a lost state folder changes no key: %+v", keys)
	}
}

func TestCheckWarnsOfKeysOfOthersThatCannotBePublished(t *testing.T) {
	s := newSimpleSite(t, `  also_publish = ["DIR/other.jwks"]`)
	if stdout, stderr, code := s.try("check"); code != 0 || !strings.Contains(stdout+stderr, "keys of others cannot be published") {
		t.Errorf("a missing file: exit code %d\n%s%s", code, stdout, stderr)
	}
	succeed(t, "key", "create", filepath.Join(s.dir, "other.pem"))
	put(t, filepath.Join(s.dir, "other.jwks"), succeed(t, "key", "public", filepath.Join(s.dir, "other.pem")))
	if stdout, stderr, code := s.try("check"); code != 0 || strings.Contains(stdout+stderr, "cannot be published") {
		t.Errorf("a good file: exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestOthersCannotReadWhatIsInTheStateFolder(t *testing.T) {
	needRoot(t)
	for _, lines := range []string{`  owner = "nobody"`, `  hook "on_publish" {
    command = ["/bin/true"]
    user    = "nobody"
  }`} {
		s := newSimpleSite(t, lines)
		if _, stderr, code := s.try("check"); code != 0 {
			t.Errorf("%s, with web_root: %s", lines, stderr)
		}
		text := readFile(t, s.config)
		put(t, s.config, strings.Replace(text, fmt.Sprintf("  web_root     = %q\n", s.dir+"/web"), "", 1))
		if stdout, stderr, code := s.try("check"); code == 0 || !strings.Contains(stdout+stderr, "set web_root") {
			t.Errorf("%s, without web_root: exit code %d\n%s%s", lines, code, stdout, stderr)
		}
	}
}

func TestTwoAgentsWithOneKeysFolder(t *testing.T) {
	s := newSimpleSite(t, "")
	s.run("once")
	cfg, err := (&place{configs: []string{s.config}}).load(t.Context(), false)
	check(t, err)
	f := issuerFlags{}
	chosen, err := f.choose(sources.Issuers(cfg))
	check(t, err)
	check(t, chosen[0].Hold())
	defer chosen[0].Release()
	stdout, stderr, _ := s.try("once", "--force", "--timeout", "5s")
	if !strings.Contains(stdout+stderr, "two agents cannot keep the same keys") {
		t.Errorf("it should say so: %s%s", stdout, stderr)
	}
}
