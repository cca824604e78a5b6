package issuer

import (
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

var quiet = log.New(io.Discard, "", 0)

var robot = Client{ID: "robot", Auth: "none"}

// ask makes one token request of the address.
func ask(t *testing.T, a Address) error {
	t.Helper()
	return askWithin(t, usual, a)
}

func askWithin(t *testing.T, b bounds, a Address) error {
	t.Helper()
	s := NewServer(a)
	s.bounds = b
	s.limits.rate.SetLimit(rate.Inf)
	_, err := s.Token(t.Context(), robot, Grant{Type: "client_credentials", Parameters: url.Values{"scope": {"a"}}})
	return err
}

// wants reports an error that is not the fault of that kind with that text, in
// which ISSUER and HOST stand for those of the test, or that is not one line.
func wants(t *testing.T, err error, issuer string, kind agent.Kind, text string) {
	t.Helper()
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok {
		t.Fatalf("got %v, which is no fault", err)
	}
	text = strings.NewReplacer("ISSUER", issuer, "HOST", strings.TrimPrefix(issuer, "https://")).Replace(text)
	if f.Kind != kind || err.Error() != text {
		t.Errorf("got %s: %v\nwant %s: %s", f.Kind, err, kind, text)
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%q is more than one line", err)
	}
}

// body answers with status 200 and that JSON.
func body(text string) http.HandlerFunc { return content("application/json", text) }

func content(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		io.WriteString(w, text)
	}
}

func token(more string) http.HandlerFunc {
	return body(`{"access_token":"opaque","token_type":"Bearer"` + more + `}`)
}

func redirect(status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, status) }
}

func TestFaultsOfAnAnswer(t *testing.T) {
	i := issuertest.Start(t)
	const transient, configuration = agent.Transient, agent.Configuration
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		kind  agent.Kind
		text  string
	}{
		"never":                   {hang, transient, "issuer ISSUER: no answer began within 1s; see whether the issuer is overloaded"},
		"slow":                    {slow, transient, "issuer ISSUER: no complete answer in time, which is at most 2s; see whether the issuer is overloaded, or the network slow"},
		"reset":                   {reset, transient, "issuer ISSUER: the connection ended before the answer was complete at HOST"},
		"cut":                     {truncated, transient, "issuer ISSUER: the connection ended before the answer was complete"},
		"another protocol":        {switched, transient, "issuer ISSUER: its answer has the status 101 Switching Protocols, though it was not asked for; see what stands between"},
		"gzip":                    {gzipped, transient, "issuer ISSUER: its answer is compressed, though it was not asked for; see what stands between"},
		"HTML":                    {content("text/html; charset=utf-8", "<html>sign in"), transient, "issuer ISSUER: its answer is an HTML page and not JSON; see whether that is the issuer, or a page of something between"},
		"form":                    {content("application/x-www-form-urlencoded", "access_token=a&token_type=bearer"), transient, "issuer ISSUER: its answer is a form and not JSON; see whether that is the issuer, or a page of something between"},
		"no content":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, transient, "issuer ISSUER: its answer with status 204 cannot be used: it is empty; see whether the address is right, and what answers there"},
		"empty":                   {body(""), transient, "issuer ISSUER: its answer with status 200 cannot be used: it is empty; see whether the address is right, and what answers there"},
		"array":                   {body(`[{"access_token":"a"}]`), transient, "issuer ISSUER: its answer with status 200 cannot be used: it is not a JSON object; see whether the address is right, and what answers there"},
		"null":                    {body(`null`), transient, "issuer ISSUER: its answer with status 200 cannot be used: it is not a JSON object; see whether the address is right, and what answers there"},
		"duplicate":               {token(`,"access_token":"other"`), transient, "issuer ISSUER: its answer with status 200 cannot be used: a name occurs twice in an object; see whether the address is right, and what answers there"},
		"nested duplicate":        {token(`,"x":{"a":1,"a":2}`), transient, "issuer ISSUER: its answer with status 200 cannot be used: a name occurs twice in an object; see whether the address is right, and what answers there"},
		"two values":              {body(`{"access_token":"a"}{}`), transient, "issuer ISSUER: its answer with status 200 cannot be used: something follows the JSON value; see whether the address is right, and what answers there"},
		"BOM":                     {body("\ufeff" + `{"access_token":"a","token_type":"Bearer"}`), transient, "issuer ISSUER: its answer with status 200 cannot be used: it is not valid JSON; see whether the address is right, and what answers there"},
		"NUL":                     {token(`,"scope":"a\u0000b"`), transient, "issuer ISSUER: its answer with status 200 cannot be used: a text in it holds the character NUL (\\u0000), at which some readers cut it; see whether the address is right, and what answers there"},
		"NUL in a name":           {token(`,"scope\u0000":"a"`), transient, "issuer ISSUER: its answer with status 200 cannot be used: a text in it holds the character NUL (\\u0000), at which some readers cut it; see whether the address is right, and what answers there"},
		"deep":                    {token(`,"x":` + strings.Repeat("[", 1<<19)), transient, "issuer ISSUER: its answer with status 200 cannot be used: its values lie more than 100 deep within each other; see whether the address is right, and what answers there"},
		"NaN":                     {token(`,"expires_in":NaN`), transient, "issuer ISSUER: its answer with status 200 cannot be used: it is not valid JSON; see whether the address is right, and what answers there"},
		"a URL without end":       {redirect(302, "https://"+strings.Repeat("a", 60000)+".example/"), transient, "issuer ISSUER: it redirects to https://" + strings.Repeat("a", 152) + "…, and a token request is not sent elsewhere; if the token endpoint has moved, give its address as token_endpoint; else the issuer must correct its metadata"},
		"Latin-1":                 {token(",\"x\":\"\xe4\""), transient, "issuer ISSUER: its answer with status 200 cannot be used: it is not UTF-8; see whether the address is right, and what answers there"},
		"no token":                {body(`{"token_type":"Bearer"}`), transient, "issuer ISSUER: its answer is not a token response: it has no access_token"},
		"null token":              {body(`{"access_token":null,"token_type":"Bearer"}`), transient, "issuer ISSUER: its answer is not a token response: it has no access_token"},
		"number":                  {body(`{"access_token":5,"token_type":"Bearer"}`), transient, "issuer ISSUER: its answer is not a token response: access_token: it is not a string"},
		"newline":                 {body(`{"access_token":"a\nb","token_type":"Bearer"}`), transient, "issuer ISSUER: its answer is not a token response: access_token: it is not a token: only the characters of a URL (RFC 3986), without quotes, and | may stand in one"},
		"trailing newline":        {body(`{"access_token":"a\n","token_type":"Bearer"}`), transient, "issuer ISSUER: its answer is not a token response: access_token: it is not a token: only the characters of a URL (RFC 3986), without quotes, and | may stand in one"},
		"Bearer twice":            {body(`{"access_token":"Bearer a","token_type":"Bearer"}`), transient, "issuer ISSUER: its answer is not a token response: access_token: it is not a token: only the characters of a URL (RFC 3986), without quotes, and | may stand in one"},
		"large token":             {body(`{"access_token":"` + strings.Repeat("a", 20000) + `","token_type":"Bearer"}`), transient, "issuer ISSUER: its answer is not a token response: access_token: it has 20000 bytes; readers take at most 16382"},
		"refresh newline":         {token(`,"refresh_token":"a\nb"`), transient, "issuer ISSUER: its answer is not a token response: refresh_token: it holds a line end, a blank or another character that no token may have"},
		"scope of numbers":        {token(`,"scope":["a",5]`), transient, "issuer ISSUER: its answer is not a token response: scope: it is not a list of strings"},
		"scope an object":         {token(`,"scope":{"a":true}`), transient, "issuer ISSUER: its answer is not a token response: scope: it is not a string"},
		"negative":                {token(`,"expires_in":-1`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is negative, so it is over before it came"},
		"huge":                    {token(`,"expires_in":1e300`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is more than ten years; is it in milliseconds? It must be in seconds"},
		"beyond floats":           {token(`,"expires_in":1e400`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is more than ten years; is it in milliseconds? It must be in seconds"},
		"milliseconds":            {token(`,"expires_in":3600000000`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is more than ten years; is it in milliseconds? It must be in seconds"},
		"negative text":           {token(`,"expires_in":"-1"`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is negative, so it is over before it came"},
		"hexadecimal":             {token(`,"expires_in":"0x10"`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is a text, not a number of seconds"},
		"infinity":                {token(`,"expires_in":"Inf"`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is a text, not a number of seconds"},
		"word":                    {token(`,"expires_in":"soon"`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is a text, not a number of seconds"},
		"empty word":              {token(`,"expires_in":""`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is a text, not a number of seconds"},
		"truth":                   {token(`,"expires_in":true`), transient, "issuer ISSUER: its answer is not a token response: expires_in: it is not a number of seconds"},
		"untyped":                 {body(`{"access_token":"a"}`), transient, "issuer ISSUER: its answer is not a token response: it has no token_type, which must be Bearer"},
		"MAC":                     {body(`{"access_token":"a","token_type":"mac"}`), configuration, "issuer ISSUER: token_type: it is not Bearer, and a reader of a file can use no other; see the client's settings at the issuer"},
		"N_A":                     {body(`{"access_token":"a","token_type":"N_A"}`), configuration, "issuer ISSUER: token_type: it is not Bearer, and a reader of a file can use no other; see the client's settings at the issuer"},
		"DPoP":                    {body(`{"access_token":"a","token_type":"DPoP"}`), configuration, "issuer ISSUER: token_type: the issuer binds its tokens to a key (DPoP), so no reader of a file can use them; have it give the client Bearer tokens"},
		"to http":                 {redirect(307, "http://HOST/token"), transient, "issuer ISSUER: it redirects to http://HOST, and a token request is not sent elsewhere; if the token endpoint has moved, give its address as token_endpoint; else the issuer must correct its metadata"},
		"to another host":         {redirect(308, "https://other.example/token"), transient, "issuer ISSUER: it redirects to https://other.example, and a token request is not sent elsewhere; if the token endpoint has moved, give its address as token_endpoint; else the issuer must correct its metadata"},
		"to itself":               {redirect(302, "/token2"), transient, "issuer ISSUER: it redirects to ISSUER, and a token request is not sent elsewhere; if the token endpoint has moved, give its address as token_endpoint; else the issuer must correct its metadata"},
		"nowhere":                 {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) }, transient, "issuer ISSUER: 302 Found at ISSUER/token without an OAuth error; see whether the issuer works, and whether the address is right"},
		"error page":              {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }, transient, "issuer ISSUER: 502 Bad Gateway at ISSUER/token without an OAuth error; the issuer or something before it is overloaded or down"},
		"an object with 200":      {body(`{"error":{"message":"no"}}`), transient, "issuer ISSUER: 200 OK at ISSUER/token with an error that no RFC knows; see the issuer's documentation"},
		"a word with 200":         {body(`{"error":"rate_limited"}`), transient, "issuer ISSUER: 200 OK with the error rate_limited, which no RFC knows; see the issuer's documentation"},
		"a token beside an error": {token(`,"error":"invalid_grant"`), configuration, "issuer ISSUER: invalid_grant: the issuer does not accept what was presented for the token; check that it has not expired, and is for this client"},
		"denied with 200":         {body(`{"error":"invalid_scope"}`), configuration, "issuer ISSUER: invalid_scope: the issuer does not give this client that scope; check scope, or have it allowed for the client at the issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := issuertest.StartWith(t, i.CA, nil)
			host := strings.TrimPrefix(own.URL, "https://")
			own.Change(func(b *issuertest.Behaviour) {
				b.ServeToken = func(w http.ResponseWriter, r *http.Request) {
					c.serve(placed{w, host}, r)
				}
			})
			b := usual // but for the one that hangs: a busy machine reaches none of the others
			switch name {
			case "never":
				b.header = time.Second
			case "slow":
				b.total = 2 * time.Second
			}
			wants(t, askWithin(t, b, Address{Issuer: own.URL, CAFile: i.CAFile}), own.URL, c.kind, c.text)
		})
	}
}

// placed writes the host of the test in place of HOST in a Location.
type placed struct {
	http.ResponseWriter
	host string
}

func (p placed) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p placed) WriteHeader(status int) {
	if to := p.Header().Get("Location"); to != "" {
		p.Header().Set("Location", strings.ReplaceAll(to, "HOST", p.host))
	}
	p.ResponseWriter.WriteHeader(status)
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func slow(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"access_token":"a",`)
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // so that the answer never ends well
}

// switched leaves HTTP, and then says nothing.
func switched(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	io.Copy(io.Discard, conn)
}

func truncated(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, `{"access_token":"a","token_type":"Bearer"}`)
}

func reset(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, `{"access_token":"a",`)
	http.NewResponseController(w).Flush()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	raw := conn.(*tls.Conn).NetConn().(*net.TCPConn)
	raw.SetLinger(0) // so that it ends with RST
	raw.Close()
}

// gzipped is a megabyte of blanks in a kilobyte, and a gigabyte in a megabyte.
func gzipped(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	z.Write(make([]byte, 1<<20))
	z.Close()
}

func TestAnEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	i := issuertest.Start(t)
	var written atomic.Int64
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(10<<30))
			for block := make([]byte, 64<<10); ; {
				n, err := w.Write(block)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}
	})
	err := ask(t, Address{Issuer: i.URL, CAFile: i.CAFile})
	wants(t, err, i.URL, agent.Transient, "issuer ISSUER: its answer is larger than 1048576 bytes, which no token response, metadata or key set is")
	if got := written.Load(); got > 32<<20 {
		t.Errorf("%d MiB went over the wire", got>>20)
	}
}

func TestExpiresInThatSaysWhen(t *testing.T) {
	i := issuertest.Start(t)
	const text, fraction, array = "expires_in is a text", "expires_in is not written as a whole number", "scope is an array"
	for text, want := range map[string]struct {
		life time.Duration
		odd  string
	}{
		``:                                         {},
		`,"error":null`:                            {},
		`,"error":false`:                           {},
		`,"error":""`:                              {},
		`,"expires_in":null`:                       {},
		`,"expires_in":0`:                          {},
		`,"expires_in":"0"`:                        {0, text},
		`,"expires_in":3600`:                       {time.Hour, ""},
		`,"expires_in":"3600"`:                     {time.Hour, text},
		`,"expires_in":" 3600 "`:                   {time.Hour, text},
		`,"expires_in":3600.0`:                     {time.Hour, fraction},
		`,"expires_in":3.6e3`:                      {time.Hour, fraction},
		`,"expires_in":"3.6E+3"`:                   {time.Hour, text + ", and " + fraction},
		`,"expires_in":3599.5`:                     {3599500 * time.Millisecond, fraction},
		`,"expires_in":"3599.5"`:                   {3599500 * time.Millisecond, text + ", and " + fraction},
		`,"expires_in":0.5`:                        {500 * time.Millisecond, fraction},
		`,"expires_in":"3600","scope":["a","b c"]`: {time.Hour, text + ", and " + array},
		`,"scope":[]`:                              {0, array},
	} {
		i.Change(func(b *issuertest.Behaviour) { b.ServeToken = token(text) })
		s := NewServer(Address{TokenEndpoint: i.URL + "/token", CAFile: i.CAFile})
		got, err := s.Token(t.Context(), robot, Grant{Type: "client_credentials"})
		if err != nil || got.ExpiresIn != want.life || (got.Odd == "") != (want.odd == "") || !strings.HasPrefix(got.Odd, strings.TrimSuffix("in the issuer's answer "+want.odd+"; ", "in the issuer's answer ; ")) {
			t.Errorf("%s: got %v, %q, %v; want %v", text, got.ExpiresIn, got.Odd, err, want)
		}
		if words := strings.Join(got.Scope, "|"); strings.Contains(text, "b c") && (words != "a|b|c" || !got.ScopeSaid) {
			t.Errorf("%s: its scope is %q", text, words)
		}
	}
}

func TestFaultsOfACertificate(t *testing.T) {
	ca := issuertest.NewCA(t)
	unknown := issuertest.NewCA(t)
	now := time.Now()
	at := func(when time.Time) string { return when.UTC().Format("2006-01-02 15:04 MST") }
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		caFile string
		kind   agent.Kind
		text   string
	}{
		"expired": {func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }, ca.File, agent.Configuration,
			"its certificate, or one that signed it, expired at " + at(now.Add(-time.Minute)) + "; the issuer must renew it, if this host's clock is right"},
		"not yet valid": {func(c *x509.Certificate) { c.NotBefore = now.Add(30 * time.Minute) }, ca.File, agent.Transient,
			"its certificate, or one that signed it, is not valid before " + at(now.Add(30*time.Minute)) + "; check this host's clock"},
		"unknown authority": {nil, unknown.File, agent.Configuration,
			"its certificate is signed by an authority that is not trusted here; name the certificate of that authority in ca_file, or add it to the system's"},
		"system's authorities": {nil, "", agent.Configuration,
			"its certificate is signed by an authority that is not trusted here; name the certificate of that authority in ca_file, or add it to the system's"},
		"wrong name": {func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"iam.example.org"} }, ca.File, agent.Configuration,
			"its certificate is for another name than 127.0.0.1; check the address"},
		"wrong use": {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, ca.File, agent.Configuration,
			"its certificate, or one that signed it, may not be used for this; the issuer must replace it"},
	} {
		t.Run(name, func(t *testing.T) {
			cert := ca.Certificate(t, c.change)
			i := issuertest.StartWith(t, ca, &cert)
			wants(t, ask(t, Address{Issuer: i.URL, CAFile: c.caFile}), i.URL, c.kind, "issuer ISSUER: metadata: "+c.text)
		})
	}
}

func TestFaultsOfAConnection(t *testing.T) {
	refusing := issuertest.Start(t)
	refusing.Stop()
	wants(t, ask(t, Address{Issuer: refusing.URL, CAFile: refusing.CAFile}), refusing.URL, agent.Transient,
		"issuer ISSUER: metadata: connection refused at HOST; see whether it is up, and the port is right")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts for it
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	address := "https://" + silent.Addr().String()
	hurried := usual
	hurried.tls = time.Second
	wants(t, askWithin(t, hurried, Address{Issuer: address}), address, agent.Transient,
		"issuer ISSUER: metadata: no TLS handshake within 1s; see whether the issuer is overloaded, and the port is right")

	if err := ask(t, Address{Issuer: "https://iam.invalid"}); !strings.HasPrefix(err.Error(), "issuer https://iam.invalid: metadata: DNS ") { // RFC 6761 has nobody know it; a resolver may be missing too
		t.Errorf("got %v", err)
	}

	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	address = strings.Replace(plain.URL, "http:", "https:", 1)
	wants(t, ask(t, Address{Issuer: address}), address, agent.Transient,
		"issuer ISSUER: metadata: it does not speak TLS there; check the port")

	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = quiet
	old.StartTLS()
	defer old.Close()
	wants(t, ask(t, Address{Issuer: old.URL}), old.URL, agent.Transient,
		"issuer ISSUER: metadata: it ended the TLS handshake (tls: protocol version not supported); it must speak TLS 1.2 or 1.3")

	wants(t, ask(t, Address{TokenEndpoint: "http://127.0.0.1/token"}), "", agent.Configuration,
		"token endpoint http://127.0.0.1/token: http://127.0.0.1/token: it is http, over which secrets and tokens can be read on the way; only https is allowed, on the loopback interface too")
}

func TestAServerThatWantsACertificateSaysSo(t *testing.T) {
	ca := issuertest.NewCA(t)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, nil)}, ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = quiet
	server.StartTLS()
	defer server.Close()
	wants(t, ask(t, Address{TokenEndpoint: server.URL, CAFile: ca.File}), "", agent.Configuration,
		"token endpoint "+server.URL+": it refused the client's certificate (tls: certificate required); check client_cert_file and client_auth")
}

func TestFaultsOfAProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		through := NewServer(Address{}).transport(nil)
		through.Proxy = http.ProxyURL(address)
		req := httptest.NewRequest(http.MethodGet, "https://iam.example.org/", nil)
		_, err := through.RoundTrip(req)
		return unreachable(err, usual)
	}
	wants(t, ask(), "", agent.Transient, "the proxy that https_proxy names refuses the connection with 407 Proxy Authentication Required; check it, and whether it lets this host there")
	proxy.Close()
	wants(t, ask(), "", agent.Transient, "connection refused at the proxy that https_proxy names; see whether it is up, and the port is right")
}

// What a resolver says, and a network without a way, cannot be had everywhere.
func TestFaultsOfANetwork(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	for _, c := range []struct {
		err  error
		text string
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "iam.example.org", IsNotFound: true}}, "DNS knows no host iam.example.org; check the address, and this host's resolver"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "iam.example.org", IsTimeout: true}}, "DNS did not tell the address of iam.example.org; check this host's resolver"},
		{&net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Name: "proxy.example.org", IsNotFound: true}}}, "DNS knows no host proxy.example.org; check https_proxy, which names it, and this host's resolver"},
		{&net.OpError{Op: "dial", Addr: addr, Err: timeoutError{}}, "no connection within 10s at 192.0.2.1:443; see whether a firewall is between"},
		{&net.OpError{Op: "proxyconnect", Addr: addr, Err: timeoutError{}}, "no connection within 10s at the proxy that https_proxy names; see whether a firewall is between"},
		{&net.OpError{Op: "read", Addr: addr, Err: timeoutError{}}, "no complete answer in time, which is at most 30s; see whether the issuer is overloaded, or the network slow"},
		{&net.OpError{Op: "proxyconnect", Addr: addr, Err: errors.New("unknown")}, "the proxy that https_proxy names gives no connection; check it"},
		{errors.New("malformed HTTP response \"secret\""), "it does not answer as HTTP; see whether the address is right"},
	} {
		f := unreachable(fmt.Errorf("Get: %w", c.err), usual)
		if f.Kind != agent.Transient || f.Error() != c.text {
			t.Errorf("got %s: %v, want %s", f.Kind, f, c.text)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
