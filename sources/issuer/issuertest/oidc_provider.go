package issuertest

import (
	"crypto/x509"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// An OIDCProvider is npm's oidc-provider, a certified implementation, made
// awkward at will. It gives JWTs to requests that name a resource (RFC 8707),
// rotates refresh tokens, and ends the whole family when one is used twice.
type OIDCProvider struct {
	*Real                        // its KeyFile is that of the client robot-key
	certFile, certKeyFile string // of the client that shows a certificate
}

// StartOIDCProvider runs one; testdata is the path of sources/testdata.
func StartOIDCProvider(t testing.TB, testdata string) *OIDCProvider {
	t.Helper()
	needLong(t)
	need(t, "", "node", "--version")
	files := []string{"package.json", "package-lock.json", "server.mjs", "node18.mjs", "node18-hooks.mjs", "node18-crypto.mjs"}
	folder := made(t, filepath.Join(testdata, "oidc-provider"), files, func(folder string) {
		need(t, folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
	p := &OIDCProvider{Real: startReal(t, exec.Command("node", filepath.Join(folder, "server.mjs")))}
	p.certFile, p.certKeyFile = p.CA.Files(t, func(c *x509.Certificate) { c.DNSNames = []string{"robot.example.org"} })
	return p
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
		return p.block("robot-key", auth) + fmt.Sprintf("  client_key_file = %q\n", p.KeyFile)
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
