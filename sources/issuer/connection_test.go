package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// reused asks once, and reports whether that went over a connection of before.
func reused(t *testing.T, s *Server, c Client) (old bool) {
	t.Helper()
	return reusedIn(t, t.Context(), s, c)
}

func reusedIn(t *testing.T, ctx context.Context, s *Server, c Client) (old bool) {
	t.Helper()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { old = got.Reused }})
	if _, err := s.Token(ctx, c, Grant{"client_credentials", url.Values{"scope": {"a"}}}); err != nil {
		t.Fatal(err)
	}
	return old
}

func TestConnectionsEndWithASuspend(t *testing.T) {
	i := issuertest.Start(t)
	s := NewServer(Address{TokenEndpoint: i.URL + "/token", CAFile: i.CAFile})
	s.limits.rate.SetLimit(rate.Inf)
	reused(t, s, robot)
	if !reused(t, s, robot) {
		t.Error("no connection is kept for the next request")
	}
	later := agent.WithClock(t.Context(), func() time.Time { return time.Now().Round(0).Add(time.Hour) })
	if reusedIn(t, later, s, robot) {
		t.Error("a connection was used that the host has slept through")
	}
	if !reusedIn(t, later, s, robot) {
		t.Error("no connection is kept after that")
	}
}

func TestTheAgentsClockSaysWhetherACertificateHasExpired(t *testing.T) {
	i := issuertest.Start(t)
	s := NewServer(Address{Issuer: i.URL, CAFile: i.CAFile})
	later := agent.WithClock(t.Context(), func() time.Time { return time.Now().AddDate(100, 0, 0) })
	if _, err := s.Metadata(later); err == nil || !strings.Contains(err.Error(), "its certificate, or one that signed it, expired at ") {
		t.Errorf("got %v", err)
	}
}

func TestACertificateIsReadWhenItChanges(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.ClientCert = true })
	s := NewServer(Address{TokenEndpoint: i.URL + "/token", CAFile: i.CAFile})
	s.limits.rate.SetLimit(rate.Inf)
	folder := t.TempDir()
	c := Client{ID: "robot", Auth: "tls_client_auth", CertFile: filepath.Join(folder, "cert.pem"), KeyFile: filepath.Join(folder, "key.pem")}
	install := func(ca *issuertest.CA) {
		cert, key := ca.Files(t, nil)
		for from, to := range map[string]string{cert: c.CertFile, key: c.KeyFile} {
			data, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	install(i.CA)
	reused(t, s, c)
	if !reused(t, s, c) {
		t.Error("no connection is kept while the certificate stays")
	}
	i.Change(func(b *issuertest.Behaviour) { b.ClientCert = false })
	if reused(t, s, robot) {
		t.Error("a client without a certificate went over the connection of one with it")
	}
	i.Change(func(b *issuertest.Behaviour) { b.ClientCert = true })
	install(i.CA)
	if reused(t, s, c) {
		t.Error("the old certificate's connection was used")
	}
	install(issuertest.NewCA(t))
	_, err := s.Token(t.Context(), c, Grant{Type: "client_credentials"})
	wants(t, err, "", agent.Configuration, "token endpoint "+i.URL+"/token: invalid_client: the issuer does not accept the client id or certificate; check client_id, and whether the certificate in client_cert_file is registered for it")
}

func TestFilesOfAClientThatCannotBeUsed(t *testing.T) {
	ca := issuertest.NewCA(t)
	cert, key := ca.Files(t, nil)
	otherCert, _ := ca.Files(t, func(c *x509.Certificate) { c.Subject.CommonName = "other" })
	open := testFile(t, "secret")
	if err := errors.Join(os.Chmod(open, 0o644), os.Link(open, open+".link")); err != nil { // with two names it is in no closed folder
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		client Client
		path   string
		text   string
	}{
		"empty secret":    {Client{Auth: "client_secret_basic", SecretFile: testFile(t, "\n")}, "SECRET", "it is empty; the client's secret belongs there"},
		"lines":           {Client{Auth: "client_secret_post", SecretFile: testFile(t, "a\nb\n")}, "SECRET", "it has several lines; wanted is the client's secret alone"},
		"missing secret":  {Client{Auth: "client_secret_basic", SecretFile: "/nowhere"}, "SECRET", "no such file or directory"},
		"open secret":     {Client{Auth: "client_secret_basic", SecretFile: open}, "SECRET", "everybody can read it (mode 0644); chmod 0600 " + open},
		"no key":          {Client{Auth: "private_key_jwt", KeyFile: testFile(t, "nonsense")}, "key KEY", ""},
		"missing key":     {Client{Auth: "private_key_jwt", KeyFile: "/nowhere"}, "key KEY", "no such file or directory"},
		"other key":       {Client{Auth: "tls_client_auth", CertFile: otherCert, KeyFile: key}, "CERT", "it is not a certificate in PEM that belongs to the private key in " + key},
		"cert is a fifo":  {Client{Auth: "tls_client_auth", CertFile: fifo, KeyFile: key}, "CERT", "it is a FIFO, not a regular file; a file of certificates in PEM is wanted"},
		"cert is missing": {Client{Auth: "tls_client_auth", CertFile: "/nowhere", KeyFile: key}, "CERT", "no such file or directory"},
		"key of a cert":   {Client{Auth: "tls_client_auth", CertFile: cert, KeyFile: "/nowhere"}, "KEY", "no such file or directory"},
		"unknown auth":    {Client{Auth: "password"}, "client_auth", `there is no "password"; allowed are client_secret_basic, client_secret_post, private_key_jwt, tls_client_auth, none`},
	} {
		err := errors.Join(c.client.Check()...)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		path := strings.NewReplacer("SECRET", c.client.SecretFile, "KEY", c.client.KeyFile, "CERT", c.client.CertFile).Replace(c.path)
		if !strings.HasPrefix(err.Error(), path+": "+c.text) || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: got %v, want %s: %s", name, err, path, c.text)
		}
	}
	if err := (Client{Auth: "tls_client_auth", CertFile: cert, KeyFile: key}).Check(); err != nil {
		t.Error(err)
	}
}

// What is wrong with a file is a fault that a change of the file mends at once.
func TestAFileThatIsGoneIsAFaultOfTheConfiguration(t *testing.T) {
	i := issuertest.Start(t)
	for _, c := range []struct {
		address Address
		client  Client
		text    string
	}{
		{Address{Issuer: i.URL, CAFile: "/nowhere"}, robot, "issuer ISSUER: metadata: ca_file /nowhere: no such file or directory"},
		{Address{Issuer: i.URL, CAFile: testFile(t, "nothing")}, robot, "issuer ISSUER: metadata: ca_file FILE: it holds no certificate in PEM; wanted are those of the authorities to trust"},
		{Address{TokenEndpoint: i.URL + "/token", CAFile: i.CAFile}, Client{Auth: "client_secret_post", SecretFile: "/nowhere"}, "token endpoint ISSUER/token: /nowhere: no such file or directory"},
		{Address{TokenEndpoint: i.URL + "/token", CAFile: i.CAFile}, Client{Auth: "tls_client_auth", CertFile: "/nowhere"}, "token endpoint ISSUER/token: /nowhere: no such file or directory"},
	} {
		_, err := NewServer(c.address).Token(context.Background(), c.client, Grant{Type: "client_credentials"})
		wants(t, err, i.URL, agent.Configuration, strings.ReplaceAll(c.text, "FILE", c.address.CAFile))
	}
	if got := len(i.Requests()); got != 0 {
		t.Errorf("the issuer was asked %d times", got)
	}
}

// What check lets pass can be used: the bundle of a system, with all that some say
// of each authority.
func TestALargeBundleOfAuthoritiesIsOneToTrust(t *testing.T) {
	i := issuertest.Start(t)
	authority, err := os.ReadFile(i.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	address := Address{Issuer: i.URL, CAFile: testFile(t, strings.Repeat("# of an authority\n", 100_000)+string(authority))}
	if err := address.Check(); err != nil {
		t.Error(err)
	}
	if _, err := NewServer(address).Metadata(t.Context()); err != nil {
		t.Error(err)
	}
}
