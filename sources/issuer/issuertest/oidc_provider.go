package issuertest

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// An OIDCProvider is npm's oidc-provider, a certified implementation, made
// awkward at will. It gives JWTs to requests that name a resource (RFC 8707),
// rotates refresh tokens, and ends the whole family when one is used twice.
type OIDCProvider struct {
	*Real
	keyFile, certFile, certKeyFile string // of the clients that sign, and show a certificate
}

// StartOIDCProvider runs one; testdata is the path of sources/testdata.
func StartOIDCProvider(t testing.TB, testdata string) *OIDCProvider {
	t.Helper()
	need(t, "", "node", "--version")
	folder, from := t.TempDir(), filepath.Join(testdata, "oidc-provider")
	if err := os.Symlink(modules(t, from), filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	for _, path := range must(filepath.Glob(filepath.Join(from, "*.mjs")))(t) {
		write(t, filepath.Join(folder, filepath.Base(path)), read(t, path))
	}
	p := &OIDCProvider{keyFile: filepath.Join(folder, "client.pem")}
	key := newKey(t)
	writePEM(t, p.keyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(t))
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))(t)})
	p.Real = startReal(t, exec.Command("node", filepath.Join(folder, "server.mjs")), map[string]string{"publicKey": string(public)})
	p.certFile, p.certKeyFile = p.CA.Files(t, func(c *x509.Certificate) { c.DNSNames = []string{"robot.example.org"} })
	return p
}

// modules is a folder with what the lock file in from names, kept from one test to
// the next in the user's cache.
func modules(t testing.TB, from string) string {
	t.Helper()
	lock := read(t, filepath.Join(from, "package-lock.json"))
	cache := filepath.Join(must(os.UserCacheDir())(t), "tokenagent-tests")
	kept := filepath.Join(cache, fmt.Sprintf("oidc-provider-%x", sha256.Sum256([]byte(lock))))
	if _, err := os.Stat(kept); err != nil {
		if err := os.MkdirAll(cache, 0o700); err != nil {
			t.Fatal(err)
		}
		fresh := must(os.MkdirTemp(cache, "new-"))(t)
		defer os.RemoveAll(fresh)
		write(t, filepath.Join(fresh, "package-lock.json"), lock)
		write(t, filepath.Join(fresh, "package.json"), read(t, filepath.Join(from, "package.json")))
		need(t, fresh, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		os.Rename(fresh, kept) // fails where another test was faster, which is as good
	}
	return filepath.Join(kept, "node_modules")
}

// Client are the lines of a source block by which its client with that way of
// authentication asks it.
func (p *OIDCProvider) Client(auth string) string {
	switch auth {
	case "client_secret_basic":
		return p.Block("robot basic:1", auth)
	case "client_secret_post":
		return p.Block("robot-post", auth)
	case "private_key_jwt":
		return p.block("robot-key", auth) + fmt.Sprintf("  client_key_file = %q\n", p.keyFile)
	case "tls_client_auth":
		return p.block("robot-cert", auth) + fmt.Sprintf("  client_cert_file = %q\n  client_key_file = %q\n", p.certFile, p.certKeyFile)
	default:
		return p.block("robot-public", auth)
	}
}

// Ways make an OIDCProvider awkward; what is zero is as usual.
type Ways struct {
	Delay      int      `json:"delay,omitempty"`      // milliseconds that a token request waits
	Failures   int      `json:"failures,omitempty"`   // so many token requests are answered with Status and a page of HTML
	Status     int      `json:"status,omitempty"`     // usually 503
	RetryAfter string   `json:"retryAfter,omitempty"` // a header of those answers
	Lifetime   int      `json:"lifetime,omitempty"`   // seconds that an access token lives, usually 600
	Scope      string   `json:"scope,omitempty"`      // all that is granted; other words are dropped in silence
	Omit       []string `json:"omit,omitempty"`       // members that token responses lack
}

// Act has it act in these ways from now on, and in no others.
func (p *OIDCProvider) Act(t testing.TB, ways Ways) { p.obey(t, map[string]any{"ways": ways}) }

// RotateKey has it sign with another key, and publish that alone; its kid comes
// back.
func (p *OIDCProvider) RotateKey(t testing.TB) string {
	return p.obey(t, map[string]any{"rotateKey": true}).KID
}

// Consent is a person's consent to the client without authentication: the first
// refresh token, for the resource and the words of the scope.
func (p *OIDCProvider) Consent(t testing.TB, resource, scope string) string {
	return p.obey(t, map[string]any{"consent": map[string]string{"client": "robot-public", "resource": resource, "scope": scope}}).RefreshToken
}

// Asked are the times at which it was asked for a token.
func (p *OIDCProvider) Asked(t testing.TB) []time.Time {
	var times []time.Time
	for _, milliseconds := range p.obey(t, map[string]any{}).Asked {
		times = append(times, time.UnixMilli(milliseconds))
	}
	return times
}

// state is how it answers every command.
type state struct {
	Asked        []int64
	KID          string
	RefreshToken string
}

func (p *OIDCProvider) obey(t testing.TB, command map[string]any) state {
	t.Helper()
	var s state
	p.tell(t, command, &s)
	return s
}
