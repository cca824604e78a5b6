package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// An issuer that only a proxy knows the way to is asked through the one that the
// environment names, with the password in it, which is never shown.
func TestAnIssuerIsAskedThroughTheProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	const name, password = "iam.example.org", "9pRoxyPassw0rd"
	ca := issuertest.NewCA(t)
	cert := ca.Certificate(t, func(c *x509.Certificate) { c.DNSNames = []string{name} })
	i := issuertest.StartWith(t, ca, &cert)
	i.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) {
			for member, path := range map[string]string{"issuer": "", "token_endpoint": issuertest.TokenPath, "jwks_uri": issuertest.KeysPath} {
				m[member] = "https://" + name + path
			}
		}
		b.Claims = func(_ url.Values, claims map[string]any) { claims["iss"] = "https://" + name }
	})
	proxy := newProxy(t, strings.TrimPrefix(i.URL, "https://"), password)
	s := newSite(t, fmt.Sprintf(`
source "client_credentials" "it" {
  issuer      = "https://%s"
  ca_file     = %q
  client_id   = "robot"
  client_auth = "none"
}
token "robot" {
  source = source.client_credentials.it
  sink "file" {
    path = "${path.config}/robot"
  }
}
`, name, ca.File))
	once := func(password, timeout string) (string, error) {
		c := s.command(nil, "once", "--force", "--timeout", timeout)
		c.Env = append(c.Env, "HTTPS_PROXY=http://robot:"+password+"@"+proxy, "https_proxy=", "NO_PROXY=", "no_proxy=")
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := once(password, "2m"); err != nil || len(i.Requests(issuertest.TokenPath)) != 1 {
		t.Fatalf("%v, with %d requests:\n%s", err, len(i.Requests()), out)
	}
	out, _ := once("an0therPassword", "15s")
	if !strings.Contains(out, "the proxy that https_proxy names refuses the connection with 407 Proxy Authentication Required") || strings.Contains(out, "an0ther") {
		t.Errorf("of a wrong password for the proxy it says\n%s", out)
	}
}

// newProxy is the address of a proxy that leads every connection to one place.
func newProxy(t *testing.T, to, password string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		basic := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if _, given, _ := basic.BasicAuth(); given != password || r.Method != http.MethodConnect || r.Host != "iam.example.org:443" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		there, err := net.Dial("tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, read, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		go io.Copy(there, read) // what has been read already included
		io.Copy(here, there)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}
