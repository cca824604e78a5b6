package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// load loads a configuration of source and token blocks, in which DIR is the
// folder that it and its keys lie in.
func load(t *testing.T, dir, text string, definitions bool) (*config.Config, config.Faults) {
	t.Helper()
	return loadBeside(t, nil, dir, text, definitions)
}

// loadBeside is load on a machine whose HTCondor has that configuration; nil
// where it is not installed.
func loadBeside(t *testing.T, condor map[string]string, dir, text string, definitions bool) (*config.Config, config.Faults) {
	t.Helper()
	return loadAs(t, config.Environment{Definitions: definitions, Checking: true}, condor, dir, text)
}

// loadAs is loadBeside, as a command does it that loads with what env says.
func loadAs(t *testing.T, env config.Environment, condor map[string]string, dir, text string) (*config.Config, config.Faults) {
	t.Helper()
	path := filepath.Join(dir, "tokenagent.hcl")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	env.Machine = config.Machine{
		Seed:     "seed",
		Hostname: func() (string, error) { return "host", nil },
		FQDN:     func() (string, error) { return "host.example.org", nil },
		LookPath: func(name string) (string, error) { return exec.LookPath(filepath.Join(dir, name)) },
	}
	if condor != nil {
		env.Machine.Knob = func(name string) (string, error) {
			if value, there := condor[name]; there {
				return strings.ReplaceAll(value, "DIR", dir), nil
			}
			return "", errors.New("not defined")
		}
	}
	return config.Load(t.Context(), []string{path}, config.Kinds{Sources: Kinds, Issuer: DecodeIssuer}, env)
}

// writeKey writes a new key for the algorithm to DIR/key.pem.
func writeKey(t *testing.T, dir, algorithm string) keys.Key {
	t.Helper()
	key := generated(t, algorithm)
	data, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return key
}

const pilotToken = `
token "pilot" {
  source   = source.local_key.ospool
  profile  = "wlcg"
  subject  = "pilot"
  audience = ["ce1.example.org:9619"]
  scope    = ["compute.read"]
}
`

// source is a source block with those lines in it.
func source(lines ...string) string {
	return "source \"local_key\" \"ospool\" {\n  " + strings.Join(lines, "\n  ") + "\n}\n"
}

func TestLocalKeyIsReadFromItsBlock(t *testing.T) {
	dir := t.TempDir()
	key := writeKey(t, dir, "RS256")
	text := source(`issuer = "https://ospool.example.org"`, `key_file = "DIR/key.pem"`, `key_id = "next"`, `algorithm = "RS256"`)
	c, faults := load(t, dir, text+pilotToken, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	r := c.Renewers[0]
	got := issue(t, r.Source, r.Request)
	d := decoded(t, got)
	if d.Header["kid"] != "next" || d.Claims["iss"] != "https://ospool.example.org" || got.Lifetime() > r.Request.Lifetime {
		t.Errorf("got %v %v", d, got)
	}
	if !verifyByHand(got.Secret.Reveal(), "RS256", key.Public()) {
		t.Error("another key signed it")
	}
	if err := r.Accept(got); err != nil {
		t.Error(err)
	}
	if !strings.Contains(strings.Join(c.Files, "\n"), filepath.Join(dir, "key.pem")) {
		t.Errorf("the key's file is not watched: %v", c.Files)
	}
}

func TestKeyIDIsTheThumbprintUnlessNamed(t *testing.T) {
	dir := t.TempDir()
	key := writeKey(t, dir, "ES256")
	c, faults := load(t, dir, source(`issuer = "https://ospool.example.org"`, `key_file = "DIR/key.pem"`)+pilotToken, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	again, err := keys.Read(filepath.Join(dir, "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	got := decoded(t, issue(t, c.Renewers[0].Source, c.Renewers[0].Request)).Header["kid"]
	if got != again.ID() || got == key.ID() {
		t.Errorf("got %v, want %s", got, again.ID())
	}
}

func TestAChangedKeyChangesTheDigest(t *testing.T) {
	dir := t.TempDir()
	text := source(`issuer = "https://ospool.example.org"`, `key_file = "DIR/key.pem"`) + pilotToken
	digest := func() string {
		c, faults := load(t, dir, text, false)
		if faults.HasErrors() {
			t.Fatal(faults)
		}
		return c.Renewers[0].Digest
	}
	writeKey(t, dir, "ES256")
	first := digest()
	if digest() != first {
		t.Error("the same key gives another digest")
	}
	writeKey(t, dir, "ES256")
	if digest() == first {
		t.Error("another key gives the same digest")
	}
}

// What a definition of OSG's token operator says in its data, and iss, which the
// operator left out.
func TestTokenOperatorDefinitionYieldsItsClaims(t *testing.T) {
	dir := t.TempDir()
	writeKey(t, dir, "ES256")
	c, faults := load(t, dir, source(`issuer = "https://issuer.example.com/"`, `key_file = "DIR/key.pem"`, `key_id = "my-jwt-key"`)+`
token "my-jwt" {
  source = source.local_key.ospool
  claims = {
    scope      = "storage.read:/ storage.create:/"
    sub        = "john.doe"
    aud        = ["https://wlcg.cern.ch/jwt/v1/any"]
    "wlcg.ver" = "1.0"
    weight     = 3
    share      = 0.5
    nested     = { list = [true, "x"] }
  }
  lifetime = "1d"
}`, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	token := issue(t, c.Renewers[0].Source, c.Renewers[0].Request)
	got := decoded(t, token).Claims
	for _, name := range []string{"iat", "nbf", "exp", "jti"} {
		if got[name] == nil {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	want := map[string]any{
		"iss": "https://issuer.example.com/", "sub": "john.doe", "scope": "storage.read:/ storage.create:/",
		"aud": []any{"https://wlcg.cern.ch/jwt/v1/any"}, "wlcg.ver": "1.0",
		"weight": json.Number("3"), "share": json.Number("0.5"), "nested": map[string]any{"list": []any{true, "x"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := c.Renewers[0].Accept(token); err != nil {
		t.Error(err)
	}
}

func TestTheKeyIDOfALocalKeyChoosesOfASet(t *testing.T) {
	dir := t.TempDir()
	first, second := generated(t, "ES256").WithID("2026-11"), generated(t, "ES256").WithID("2026-12")
	var members []string
	for _, k := range []keys.Key{first, second} {
		jwk, err := k.MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, string(jwk))
	}
	write(t, filepath.Join(dir, "keys.jwks"), `{"keys": [`+strings.Join(members, ",")+`]}`, 0o600)
	issuer, file := `issuer = "https://ospool.example.org"`, `key_file = "DIR/keys.jwks"`
	c, faults := load(t, dir, source(issuer, file, `key_id = "2026-12"`)+pilotToken, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	if got := decoded(t, issue(t, c.Renewers[0].Source, c.Renewers[0].Request)).Header["kid"]; got != "2026-12" {
		t.Errorf("it signs with %v", got)
	}
	for name, want := range map[string]string{
		source(issuer, file):                       `3: no usable key; key DIR/keys.jwks: it is a set of 2 private keys; write the key ID of the one to sign with: "2026-11", "2026-12"`,
		source(issuer, file, `key_id = "2027-01"`): `4: no usable key; key DIR/keys.jwks: it is a set of keys, of which none has that key ID; it has "2026-11", "2026-12"`,
	} {
		_, faults := load(t, dir, name+pilotToken, false)
		f := faults.Errors()[0]
		if got := fmt.Sprintf("%d: %s; %s", f.Line, f.Summary, f.Detail); got != strings.ReplaceAll(want, "DIR", dir) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestFaultsOfALocalKey(t *testing.T) {
	issuer, file := `issuer = "https://ospool.example.org"`, `key_file = "DIR/key.pem"`
	cases := map[string]struct {
		key    string // algorithm of the key; "" for no file
		source string
		want   []string // line: summary; detail
	}{
		"no key_file":           {"ES256", source(issuer), []string{"1: missing attribute key_file"}},
		"unknown attribute":     {"ES256", source(issuer, file, `keyid = "a"`), []string{`4: unknown attribute keyid; did you mean key_id?`}},
		"no such key":           {"", source(issuer, file), []string{"3: no usable key; key DIR/key.pem: no such file or directory"}},
		"unknown algorithm":     {"ES256", source(issuer, file, `algorithm = "HS256"`), []string{`4: unknown algorithm "HS256"; allowed are ES256`}},
		"name without end":      {"ES256", source(issuer, file, `key_id = "`+strings.Repeat("x", 256)+`"`), []string{"4: no usable key_id; its kid has 256 bytes; at most 255 are allowed"}},
		"another algorithm":     {"RS256", source(issuer, file, `algorithm = "ES256"`), []string{"4: wrong algorithm for the key; an RSA key does not sign with ES256; allowed is RS256, RS384, RS512, PS256"}},
		"wrong curve":           {"ES384", source(issuer, file), []string{`7: alg: "ES384" is not allowed here; allowed are RS256, ES256`}},
		"no issuer":             {"ES256", source(file), []string{"6: iss: it is missing; it names the issuer"}},
		"issuer that is no URL": {"ES256", source(`issuer = "ospool"`, file), []string{`7: iss: "ospool" is not an issuer; it must be a URL that begins with https://`}},
		"two faults in one run": {"", source(`issuer = "ospool"`, file), []string{"3: no usable key", `7: iss: "ospool" is not an issuer`}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.key != "" {
				writeKey(t, dir, c.key)
			}
			_, faults := load(t, dir, c.source+pilotToken, false)
			got := faults.Errors()
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %q", got, c.want)
			}
			for i, f := range got {
				text := fmt.Sprintf("%d: %s; %s", f.Line, f.Summary, f.Detail)
				if want := strings.ReplaceAll(c.want[i], "DIR", dir); !strings.HasPrefix(text, want) {
					t.Errorf("got %s, want %s", text, want)
				}
			}
		})
	}
}

func TestDefinitionsAreCheckedWithoutTheKey(t *testing.T) {
	text := source(`issuer = "https://ospool.example.org"`, `key_file = "/nowhere/key.pem"`)
	c, faults := load(t, t.TempDir(), text+pilotToken, true)
	if len(faults.Errors()) > 0 {
		t.Fatal(faults)
	}
	if _, err := c.Renewers[0].Source.Issue(t.Context(), pilot); err == nil || !strings.Contains(err.Error(), "the key was not read") {
		t.Errorf("got %v", err)
	}
	_, faults = load(t, t.TempDir(), strings.Replace(text, "}", `  algorithm = "ES384"`+"\n}", 1)+pilotToken, true)
	if got := faults.Error(); !strings.Contains(got, `"ES384" is not allowed here`) {
		t.Errorf("got %v", got)
	}
}

// Every block that a doc comment of this package shows is a configuration.
func TestExamplesInDocCommentsLoad(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, comment := range file.Comments {
			if block := example(comment); block != "" {
				shown++
				if _, faults := load(t, t.TempDir(), block, true); faults.HasErrors() && !onlyTokensMissing(faults) {
					t.Errorf("%s: %v", name, faults)
				}
			}
		}
	}
	if want := len(Kinds); shown != want {
		t.Errorf("%d blocks are shown for %d kinds", shown, want)
	}
}

// example is the HCL that a comment shows, indented by a tab.
func example(comment *ast.CommentGroup) string {
	var b strings.Builder
	for line := range strings.Lines(comment.Text()) {
		if code, shown := strings.CutPrefix(line, "\t"); shown {
			b.WriteString(code)
		}
	}
	if !strings.HasPrefix(b.String(), "source ") {
		return ""
	}
	return b.String()
}

// onlyTokensMissing: a configuration without a token block is a fault, and a
// source's example has none.
func onlyTokensMissing(faults config.Faults) bool {
	errs := faults.Errors()
	return len(errs) == 1 && strings.Contains(errs[0].Summary, "no token")
}

func TestALocalKeyIsNamedAsFarAsItIsKnown(t *testing.T) {
	dir := t.TempDir()
	writeKey(t, dir, "ES256")
	key, err := keys.Read(filepath.Join(dir, "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	const issuer, file = `issuer = "https://ospool.example.org"`, `key_file = "DIR/key.pem"`
	for name, c := range map[string]struct {
		block       string
		definitions bool
		want        string
	}{
		"by the block":               {source(issuer, file, `key_id = "2026-11"`), true, "2026-11"},
		"by the key":                 {source(issuer, file), false, key.ID()},
		"not before the key is read": {source(issuer, file), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, faults := load(t, dir, c.block+pilotToken, c.definitions)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			if key := loaded.Sources[0].Key; key.Issuer != "https://ospool.example.org" || key.ID != c.want {
				t.Errorf("got %q, %q, want %q", key.Issuer, key.ID, c.want)
			}
		})
	}
}
