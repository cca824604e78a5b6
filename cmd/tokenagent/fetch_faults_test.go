package main

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// An awkwardness is what becomes of an issuer that was well, and how its token
// fails of it.
type awkwardness struct {
	kind string // of the failure
	said string // by it
	do   func(t *testing.T, i *issuertest.Issuer)
}

const (
	transient     = "transient"
	configuration = "configuration"
)

var awkward = map[string]awkwardness{
	"refused":        {transient, "connection refused", func(_ *testing.T, i *issuertest.Issuer) { i.Stop() }},
	"hang":           {transient, "no answer began within 20s", answering(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
	"slow-body":      {transient, "no complete answer in time", answering(slowly)},
	"reset":          {transient, "the connection ended before the answer was complete", answering(resetting)},
	"10-GB":          {transient, "larger than 1048576 bytes", answering(endlessly)},
	"gzip-bomb":      {transient, "compressed", bombing},
	"HTML":           {transient, "an HTML page", saying("text/html", "<html>sign in")},
	"204":            {transient, "status 204", answering(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })},
	"array":          {transient, "not a JSON object", sayingJSON(`[{"access_token":"a","token_type":"Bearer","expires_in":3600}]`)},
	"duplicate-keys": {transient, "a name occurs twice", sayingJSON(`{"access_token":"a","access_token":"b","token_type":"Bearer","expires_in":3600}`)},
	"BOM":            {transient, "not valid JSON", sayingJSON("\ufeff" + `{"access_token":"a","token_type":"Bearer","expires_in":3600}`)},
	"to-http":        {transient, "redirects to http://", redirecting("http://127.0.0.1/token")},
	"to-a-host":      {transient, "redirects to https://other.example", redirecting("https://other.example/token")},
	"expired":        {configuration, "expired at", posing(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
	"wrong-name":     {configuration, "another name", posing(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"iam.example.org"} })},
	"unknown": {configuration, "not trusted here", func(t *testing.T, i *issuertest.Issuer) {
		put(t, i.CAFile, readFile(t, issuertest.NewCA(t).File))
	}},
	"expires-0":        {configuration, "assume_lifetime", sayingJSON(`{"access_token":"opaque","token_type":"Bearer","expires_in":0}`)},
	"expires-negative": {transient, "negative", altering("expires_in", -1)},
	"expires-huge":     {transient, "more than ten years", altering("expires_in", 1e18)},
	"expires-text":     {transient, "not a number of seconds", altering("expires_in", "soon")},
	"line-end":         {transient, "access_token: it is not a token", altering("access_token", "a\nb")},
	"exp-milliseconds": {configuration, "milliseconds", claiming("exp", time.Now().UnixMilli()+3_600_000)},
	"wrong-iss":        {configuration, "iss: ", claiming("iss", "https://other.example.org")},
	"wrong-aud":        {configuration, "aud: ", claiming("aud", "https://other.example.org")},
	"wrong-scope":      {configuration, "scope: ", claiming("scope", "compute.read")},
	"alg-none":         {configuration, "not signed", altering("access_token", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EifQ.")},
}

// takesLong are those that end only by the agent's patience, of half a minute.
var takesLong = map[string]bool{"hang": true, "slow-body": true}

// Whatever becomes of an issuer, the token that lies in the file stays as it is, and
// one line of the log says what fails, however often it is tried.
func TestNothingThatAnIssuerDoesTouchesTheTokenInPlace(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	check(t, os.Mkdir(s.path("tokens"), 0o700))
	text, issuers := siteHead, map[string]*issuertest.Issuer{}
	awkward := maps.Clone(awkward)
	if !isLong() {
		maps.DeleteFunc(awkward, func(name string, _ awkwardness) bool { return takesLong[name] })
	}
	for name := range awkward {
		i := issuertest.Start(t)
		issuers[name] = i
		text += strings.NewReplacer("NAME", name, "ISSUER", i.URL, "CA", i.CAFile).Replace(`
source "client_credentials" "NAME" {
  issuer      = "ISSUER"
  ca_file     = "CA"
  client_id   = "robot"
  client_auth = "none"
}
token "NAME" {
  source   = source.client_credentials["NAME"]
  audience = ["https://storage.example.org"]
  scope    = ["storage.read:/"]
  sink "file" { path = "${path.config}/tokens/NAME" }
}
`)
	}
	put(t, s.path("site.hcl"), text)
	s.start(t)
	s.settled(t)
	before := map[string]seen{}
	for name := range awkward {
		before[name] = mustSee(t, s.path("tokens/"+name))
	}
	for name, a := range awkward {
		a.do(t, issuers[name])
	}
	failsEach(t, s, slices.Collect(maps.Keys(awkward)))
	failsEach(t, s, slices.DeleteFunc(slices.Collect(maps.Keys(awkward)), func(name string) bool { return takesLong[name] })) // which is no news
	s.stop(t)
	for name := range awkward {
		if diff := cmp.Diff(before[name], mustSee(t, s.path("tokens/"+name))); diff != "" {
			t.Errorf("%s: the token in place was touched: %s", name, diff)
		}
		if n := linesWith(s.log(t), `msg="token not renewed"`, " token="+name+"\n"); n != 1 {
			t.Errorf("%s: %d lines say that it fails", name, n)
		}
	}
}

// failsEach has the tokens asked for, each of which must fail as it should.
func failsEach(t *testing.T, s *site, names []string) {
	t.Helper()
	tokens, err := s.client().Refresh(t.Context(), names...)
	check(t, err)
	for _, token := range tokens {
		want := awkward[token.Name]
		if f := token.Failing; f == nil || f.Kind != want.kind || !strings.Contains(f.Error, want.said) || strings.Contains(f.Error, "\n") {
			t.Errorf("%s: got %+v, want that it is %s, with %q", token.Name, f, want.kind, want.said)
		}
		if token.State != agent.Valid {
			t.Errorf("%s is %s", token.Name, token.State)
		}
	}
	if len(tokens) != len(names) {
		t.Errorf("%d tokens were asked for, of %d", len(tokens), len(names))
	}
}

func mustSee(t *testing.T, path string) seen {
	t.Helper()
	f, err := look(path)
	check(t, err)
	return f
}

// linesWith is how many lines of the text have all of the words.
func linesWith(text string, words ...string) (n int) {
	for line := range strings.Lines(text) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

func answering(serve http.HandlerFunc) func(*testing.T, *issuertest.Issuer) {
	return func(_ *testing.T, i *issuertest.Issuer) {
		i.Change(func(b *issuertest.Behaviour) { b.ServeToken = serve })
	}
}

func saying(contentType, body string) func(*testing.T, *issuertest.Issuer) {
	return answering(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, body)
	})
}

func sayingJSON(body string) func(*testing.T, *issuertest.Issuer) {
	return saying("application/json", body)
}

func redirecting(to string) func(*testing.T, *issuertest.Issuer) {
	return answering(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) })
}

func altering(member string, value any) func(*testing.T, *issuertest.Issuer) {
	return func(_ *testing.T, i *issuertest.Issuer) {
		i.Change(func(b *issuertest.Behaviour) {
			b.Answer = func(_ url.Values, answer map[string]any) { answer[member] = value }
		})
	}
}

func claiming(claim string, value any) func(*testing.T, *issuertest.Issuer) {
	return func(_ *testing.T, i *issuertest.Issuer) {
		i.Change(func(b *issuertest.Behaviour) {
			b.Claims = func(_ url.Values, claims map[string]any) { claims[claim] = value }
		})
	}
}

// posing puts another server at the address of the issuer, with that certificate.
func posing(change func(*x509.Certificate)) func(*testing.T, *issuertest.Issuer) {
	return func(t *testing.T, i *issuertest.Issuer) {
		i.Stop()
		l, err := net.Listen("tcp", strings.TrimPrefix(i.URL, "https://"))
		check(t, err)
		config := &tls.Config{Certificates: []tls.Certificate{i.CA.Certificate(t, change)}}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_ = tls.Server(conn, config).HandshakeContext(t.Context())
				conn.Close()
			}
		}()
	}
}

func slowly(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"access_token":"a",`)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // so that the answer never ends well
}

func resetting(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, `{"access_token":"a",`)
	_ = http.NewResponseController(w).Flush()
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		raw := conn.(*tls.Conn).NetConn().(*net.TCPConn)
		_ = raw.SetLinger(0) // so that it ends with RST
		raw.Close()
	}
}

func endlessly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(10<<30))
	for block := make([]byte, 64<<10); ; {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// bombing answers with 64 MiB of zeros in 64 KiB, which are compressed beforehand: a
// busy machine is slow at it.
func bombing(t *testing.T, i *issuertest.Issuer) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		_, err := z.Write(make([]byte, 1<<20))
		check(t, err)
	}
	check(t, z.Close())
	answering(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})(t, i)
}
