package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

const service = "https://se.example.org"

// wlcgClaims are those of a token that a site would take.
func wlcgClaims(issuer string, change func(claims map[string]any)) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"wlcg.ver": "1.0", "iss": issuer, "sub": "robot", "aud": service, "scope": "storage.read:/data",
		"iat": now - 10, "nbf": now - 70, "exp": now + 3600, "jti": "0123456789",
	}
	if change != nil {
		change(claims)
	}
	return claims
}

// verifyToken verifies a token on standard input.
func verifyToken(t *testing.T, token string, flags ...string) (code int, said string) {
	t.Helper()
	var out, complaints bytes.Buffer
	code = run(append([]string{"token", "verify"}, flags...), strings.NewReader(token+"\n"), &out, &complaints)
	said = out.String() + complaints.String()
	for _, part := range strings.Split(token, ".") {
		if len(part) > 4 && strings.Contains(said, part) {
			t.Errorf("a part of the token is shown:\n%s", said)
		}
	}
	return code, said
}

func TestVerifyHoldsATokenAgainstItsIssuer(t *testing.T) {
	i, other := issuertest.Start(t), issuertest.Start(t)
	set := filepath.Join(t.TempDir(), "jwks.json")
	writeFile(t, set, fetch(t, i, issuertest.KeysPath))
	sign := func(change func(map[string]any)) string { return i.Sign(wlcgClaims(i.URL, change)) }
	good := sign(nil)
	i.RotateKey(t, false)
	unpublished := sign(nil)
	for _, tt := range []struct {
		name  string
		token string
		flags []string
		code  int
		line  string
	}{
		{"a good one", good, nil, 0, `^valid: a token of the profile wlcg, expires in (1h|59m\d+s)$`},
		{"for this service", good, []string{"--audience", service, "--issuer", i.URL}, 0, `^signed by ` + i.URL + `, with the key \w+ \(ES256\) of ` + i.URL + `/jwks$`},
		{"by keys in a file", good, []string{"--jwks", set}, 0, `of ` + set + `$`},
		{"by keys at an address", good, []string{"--jwks", i.URL + issuertest.KeysPath}, 0, `^valid: `},
		{"for another service", good, []string{"--audience", "https://other.example.org"}, 1, `^not valid: aud: .*so "https://other\.example\.org" refuses the token`},
		{"of another issuer than trusted", good, []string{"--issuer", i.URL + "/"}, 1, `^not valid: its issuer is ` + i.URL + `, and --issuer trusts only ` + i.URL + `/$`},
		{"signed by somebody else", other.Sign(wlcgClaims(i.URL, nil)), nil, 1, `^not valid: the key "\w+" that it says it is signed with is not among them`},
		{"with a key that is not published", unpublished, nil, 1, `^not valid: the key "\w+" that it says it is signed with is not among them`},
		{"changed after it was signed", altered(t, good), nil, 1, `^not valid: its signature is not by the key that it names`},
		{"of an issuer that is none", i.Sign(wlcgClaims("http://127.0.0.1:1", nil)), nil, 1, `^not verified: its issuer is http://127\.0\.0\.1:1, which cannot be asked for the keys \(it is http,`},
		{"of no issuer", i.Sign(map[string]any{"sub": "x"}), nil, 1, `^not verified: its issuer is \(none\), which`},
		{"not signed", unsigned(t, wlcgClaims(i.URL, nil)), nil, 1, `^not valid: alg: it is not signed`},
		{"with keys that cannot be read", good, []string{"--jwks", "/nonexistent"}, 1, `^not verified: /nonexistent: no such file or directory$`},
		{"an authority that is not trusted", good, []string{"--ca-file", other.CAFile}, 1, `^not verified: issuer .*authority that is not trusted here`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, said := verifyToken(t, tt.token, append([]string{"--ca-file", i.CAFile}, tt.flags...)...)
			if code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			wantLines(t, said, tt.line)
		})
	}
}

func TestVerifyHoldsATokenAgainstTheTimeAndItsProfile(t *testing.T) {
	i := issuertest.Start(t)
	set := filepath.Join(t.TempDir(), "jwks.json")
	writeFile(t, set, fetch(t, i, issuertest.KeysPath))
	for _, tt := range []struct {
		name   string
		change func(claims map[string]any)
		line   string
	}{
		{"expired", func(c map[string]any) { c["iat"], c["exp"] = time.Now().Unix()-3600, time.Now().Unix()-60 }, `^not valid: exp: the token expired 1m\d* ago$`},
		{"not valid yet", func(c map[string]any) { c["nbf"] = time.Now().Unix() + 60 }, `^not valid: nbf: `},
		{"without subject", func(c map[string]any) { delete(c, "sub") }, `^not valid: sub: `},
		{"a relative path", func(c map[string]any) { c["scope"] = "storage.read:data" }, `^not valid: scope: .*storage\.read:data`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, said := verifyToken(t, i.Sign(wlcgClaims(i.URL, tt.change)), "--jwks", set)
			wantLines(t, said, tt.line, `^signed by `) // it is signed all the same
			if code != exitFailed {
				t.Errorf("exit %d, want %d", code, exitFailed)
			}
		})
	}
}

// What others publish is read as they mean it, and what cannot be read is named.
func TestVerifyNamesAKeyThatCannotBeUsed(t *testing.T) {
	i := issuertest.Start(t)
	token := i.Sign(wlcgClaims(i.URL, nil))
	var published struct{ Keys []map[string]any }
	check(t, json.Unmarshal(fetch(t, i, issuertest.KeysPath), &published))
	for _, tt := range []struct {
		name   string
		change func(jwk map[string]any)
		code   int
		lines  []string
	}{
		{"with padding", func(k map[string]any) { k["x"], k["y"] = k["x"].(string)+"=", k["y"].(string)+"=" }, 0, []string{`^valid: `}},
		{"with a bad certificate", func(k map[string]any) { k["x5c"] = []string{"AAAA"} }, 0, []string{`^valid: `}},
		{"with an odd use", func(k map[string]any) { k["use"] = "signing" }, 0, []string{`^valid: `, `warning.*kid: of the key that the issuer publishes, its use is not sig, and some verifiers refuse it`}},
		{"without y", func(k map[string]any) { delete(k, "y") }, 1, []string{`^not valid: the key "\w+" that the token names cannot be used: its y is missing; the issuer must correct what it publishes$`}},
		{"without y and kid", func(k map[string]any) { delete(k, "y"); delete(k, "kid") }, 1, []string{`^not valid: there is no key to verify it with; the issuer must publish its keys\. Of what it publishes this cannot be used: one without kid \(its y is missing\)$`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			jwk := maps.Clone(published.Keys[0])
			tt.change(jwk)
			text, err := json.Marshal(map[string]any{"keys": []any{jwk}})
			check(t, err)
			set := filepath.Join(t.TempDir(), "jwks.json")
			writeFile(t, set, text)
			code, said := verifyToken(t, token, "--jwks", set)
			if code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			wantLines(t, said, tt.lines...)
		})
	}
}

func TestVerifySaysThatAnIssuerIsDown(t *testing.T) {
	i := issuertest.Start(t)
	token := i.Sign(wlcgClaims(i.URL, nil))
	i.Stop()
	code, said := verifyToken(t, token, "--ca-file", i.CAFile)
	wantLines(t, said, `^not verified: issuer .*connection refused`, `^claims to be signed by `)
	if code != exitFailed {
		t.Errorf("exit %d, want %d", code, exitFailed)
	}
}

func TestVerifyPrintsJSON(t *testing.T) {
	i := issuertest.Start(t)
	code, said := verifyToken(t, i.Sign(wlcgClaims(i.URL, nil)), "--ca-file", i.CAFile, "--json")
	var got struct {
		Verdict, Profile string
		Signed           bool
		KeysFrom         string `json:"keys_from"`
		Claims           map[string]any
	}
	if err := json.Unmarshal([]byte(said), &got); err != nil || code != 0 {
		t.Fatalf("exit %d, %v in:\n%s", code, err, said)
	}
	if got.Verdict != "valid" || !got.Signed || got.Profile != "wlcg" || got.KeysFrom != i.URL+issuertest.KeysPath || got.Claims["sub"] != "robot" {
		t.Errorf("as JSON:\n%s", said)
	}
}

func TestVerifyHoldsAnIDTokenAgainstItsPoolsKey(t *testing.T) {
	folder := t.TempDir()
	for name, content := range map[string]string{"POOL": "the pool's password", "OTHER": "another password"} {
		writeFile(t, filepath.Join(folder, name), []byte(content))
	}
	writeFile(t, filepath.Join(folder, "site.hcl"), []byte(`
source "htcondor" "pool" {
  key_file     = "${path.config}/POOL"
  key_id       = "POOL"
  trust_domain = "cm.example.org"
}
token "schedd" {
  source  = source.htcondor.pool
  subject = "schedd@example.org"
  scope   = ["condor:/READ"]
}
`))
	token := strings.TrimSpace(succeed(t, "token", "create", "--config", filepath.Join(folder, "site.hcl"), "schedd"))
	for _, tt := range []struct {
		name, key string
		code      int
		line      string
	}{
		{"with it", "POOL", 0, `^valid: a token of the profile htcondor, expires in (1d|23h59m)`},
		{"with another", "OTHER", 1, `^not valid: it is not signed with the key in .*/OTHER; the pool that made it has another under the name POOL$`},
		{"with none", "", 1, `^not verified: it is signed by HS256, as the IDTOKENs of HTCondor are, and only the key that its pool calls POOL can verify it; .*--key-file`},
		{"with one that is missing", "GONE", 1, `^not verified: key .*/GONE: no such file`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var flags []string
			if tt.key != "" {
				flags = []string{"--key-file", filepath.Join(folder, tt.key)}
			}
			code, said := verifyToken(t, token, flags...)
			if code != tt.code {
				t.Errorf("exit %d, want %d", code, tt.code)
			}
			wantLines(t, said, tt.line)
		})
	}
	i := issuertest.Start(t)
	_, said := verifyToken(t, i.Sign(wlcgClaims(i.URL, nil)), "--key-file", filepath.Join(folder, "POOL"))
	wantLines(t, said, `^not verified: --key-file is for an IDTOKEN`)
}

func TestVerifyTakesNoTokenAsAnArgument(t *testing.T) {
	token := issuertest.Start(t).Sign(map[string]any{"sub": "x"})
	var out, complaints bytes.Buffer
	code := runHere([]string{"token", "verify", token}, strings.NewReader(""), &out, &complaints)
	if said := out.String() + complaints.String(); code != exitUsage || strings.Contains(said, "eyJ") || !strings.Contains(said, "never from an argument") {
		t.Errorf("exit %d: %s", code, said)
	}
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, []byte("no token\n"))
	if code := runHere([]string{"token", "verify", file}, strings.NewReader(""), &out, &complaints); code != exitFailed || !strings.Contains(complaints.String(), file+": it is not a JWT") {
		t.Errorf("exit %d: %s", code, &complaints)
	}
}

// fetch is what the issuer serves at the path.
func fetch(t *testing.T, i *issuertest.Issuer, path string) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	r, err := http.NewRequest(http.MethodGet, i.URL+path, nil)
	check(t, err)
	i.ServeHTTP(w, r)
	return w.Body.Bytes()
}

// unsigned is a token that anybody can make.
func unsigned(t *testing.T, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	check(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf("%s.%s.%s", encode([]byte(`{"alg":"none"}`)), encode(payload), encode([]byte("nothing")))
}

// altered is the token for another subject than it was signed for.
func altered(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	check(t, err)
	parts[1] = base64.RawURLEncoding.EncodeToString(bytes.Replace(payload, []byte(`"robot"`), []byte(`"admin"`), 1))
	return strings.Join(parts, ".")
}
