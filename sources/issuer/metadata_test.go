package issuer_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

func TestMetadataIsWhatTheIssuerSays(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Metadata = func(m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]any{"token_endpoint": "https://mtls.example/token"}
			m["scopes_supported"] = nil
		}
	})
	got, err := serverOf(i).Metadata(t.Context())
	want := issuer.Metadata{
		Issuer: i.URL, TokenEndpoint: i.URL + "/token", TLSTokenEndpoint: "https://mtls.example/token", JWKSURI: i.URL + "/jwks", DeviceEndpoint: i.URL + "/device", RevocationEndpoint: i.URL + "/revoke",
		GrantTypes:  []string{"client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:device_code"},
		AuthMethods: issuer.Auths(),
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestMetadataIsAskedForOnce(t *testing.T) {
	i := issuertest.Start(t)
	s := serverOf(i)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := s.Metadata(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := len(i.Requests()); got != 1 {
		t.Errorf("it was asked for %d times", got)
	}
}

// Of a simple issuer on a web server that does not know what the file is.
func TestMetadataNeedsNoContentType(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeMetadata = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Write([]byte(`{"issuer":"` + i.URL + `"}`))
		}
	})
	if _, err := serverOf(i).Metadata(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMetadataIsFoundWhereRFC8414HasIt(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeMetadata = http.NotFound
		b.ServeOAuth = func(w http.ResponseWriter, r *http.Request) {
			issuertest.Reply(w, http.StatusOK, map[string]any{"issuer": i.URL, "token_endpoint": i.URL + "/token"})
		}
	})
	if _, err := serverOf(i).Token(t.Context(), robot, clientCredentials("a")); err != nil {
		t.Error(err)
	}
}

func TestFaultsOfMetadata(t *testing.T) {
	const none = "there is none, neither at ISSUER/.well-known/openid-configuration nor at ISSUER/.well-known/oauth-authorization-server; check issuer, or set token_endpoint"
	metadata := func(change func(i *issuertest.Issuer, m map[string]any)) func(*issuertest.Issuer) issuertest.Behaviour {
		return func(i *issuertest.Issuer) issuertest.Behaviour {
			return issuertest.Behaviour{Metadata: func(m map[string]any) { change(i, m) }}
		}
	}
	serve := func(serve http.HandlerFunc) func(*issuertest.Issuer) issuertest.Behaviour {
		return func(*issuertest.Issuer) issuertest.Behaviour { return issuertest.Behaviour{ServeMetadata: serve} }
	}
	for name, c := range map[string]struct {
		how   func(*issuertest.Issuer) issuertest.Behaviour
		kind  agent.Kind
		text  string
		unfit bool // the second place was asked too
	}{
		"nowhere":         {serve(http.NotFound), agent.Transient, none, false},
		"busy":            {serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }), agent.Transient, "429 Too Many Requests at ISSUER/.well-known/openid-configuration; the issuer or something before it is overloaded or down", false},
		"other issuer":    {metadata(func(i *issuertest.Issuer, m map[string]any) { m["issuer"] = i.URL + "/" }), agent.Configuration, `it says that its issuer is "ISSUER/"; write just that, to the slash at its end, or ask whom you mean`, true},
		"no issuer":       {metadata(func(_ *issuertest.Issuer, m map[string]any) { delete(m, "issuer") }), agent.Transient, "it names no issuer, so it is not metadata", true},
		"issuer a number": {metadata(func(_ *issuertest.Issuer, m map[string]any) { m["issuer"] = 5 }), agent.Transient, "issuer: it is not a string", true},
		"grants a word":   {metadata(func(_ *issuertest.Issuer, m map[string]any) { m["grant_types_supported"] = "a" }), agent.Transient, "grant_types_supported: it is not a list of strings", true},
		"scopes numbers":  {metadata(func(_ *issuertest.Issuer, m map[string]any) { m["scopes_supported"] = []int{5} }), agent.Transient, "scopes_supported: it is not a list of strings", true},
		"line end":        {metadata(func(_ *issuertest.Issuer, m map[string]any) { m["jwks_uri"] = "https://x.example/\nlevel=info" }), agent.Transient, "jwks_uri: it is not a URL of at most 2000 visible ASCII characters (RFC 3986)", true},
		"turned text":     {metadata(func(_ *issuertest.Issuer, m map[string]any) { m["token_endpoint"] = "https://x.example/\u202e" }), agent.Transient, "token_endpoint: it is not a URL of at most 2000 visible ASCII characters (RFC 3986)", true},
		"long alias": {metadata(func(_ *issuertest.Issuer, m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]any{"token_endpoint": "https://x.example/" + strings.Repeat("a", 2000)}
		}), agent.Transient, "mtls_endpoint_aliases: token_endpoint: it is not a URL of at most 2000 visible ASCII characters (RFC 3986)", true},
		"no endpoint": {metadata(func(_ *issuertest.Issuer, m map[string]any) { delete(m, "token_endpoint") }), agent.Configuration, "it names no token_endpoint; set token_endpoint, if the issuer has one", false},
		"to http":     {serve(http.RedirectHandler("http://127.0.0.1/", http.StatusFound).ServeHTTP), agent.Transient, "it redirects to http://127.0.0.1, which is not https and not followed", true},
		"to another":  {serve(http.RedirectHandler("https://other.example/", http.StatusFound).ServeHTTP), agent.Transient, "it redirects to another host, https://other.example, which is not followed", true},
		"in a circle": {serve(http.RedirectHandler("/.well-known/openid-configuration", http.StatusFound).ServeHTTP), agent.Transient, "it redirects more than 3 times; see what answers there", true},
		"page":        {serve(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }), agent.Transient, "its answer is an HTML page and not JSON; see whether that is the issuer, or a page of something between", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := issuertest.Start(t)
			i.Change(func(b *issuertest.Behaviour) { *b = c.how(i) })
			_, err := serverOf(i).Token(t.Context(), robot, clientCredentials("a"))
			if c.unfit {
				c.text = "at ISSUER/.well-known/openid-configuration: " + c.text + "; at ISSUER/.well-known/oauth-authorization-server: 404 Not Found"
			}
			wantFault(t, err, i, c.kind, "issuer ISSUER: metadata: "+c.text)
		})
	}
}

// A single-page application answers with its page at every path, and other servers with
// what they think of.
func TestMetadataIsFoundBesideWhatIsNone(t *testing.T) {
	answer := func(kind, text string) func(string) http.HandlerFunc {
		return func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				w.Write([]byte(text))
			}
		}
	}
	for name, first := range map[string]func(issuer string) http.HandlerFunc{
		"a page":              answer("text/html", "<html>"),
		"a page called JSON":  answer("application/json", "<html>"),
		"nothing":             answer("application/json", ""),
		"a list":              answer("application/json", "[]"),
		"null":                answer("application/json", "null"),
		"an error":            answer("application/json", `{"error":"not_found"}`),
		"a name twice":        answer("application/json", `{"issuer":"a","issuer":"b"}`),
		"no issuer":           answer("application/json", `{"token_endpoint":"https://x.example/"}`),
		"another issuer":      answer("application/json", `{"issuer":"https://x.example"}`),
		"an endpoint in list": answer("application/json", `{"issuer":"ISSUER","token_endpoint":["https://x.example/"]}`),
		"no permission": func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }
		},
		"no content": func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }
		},
		"a login page": func(string) http.HandlerFunc {
			return http.RedirectHandler("https://sso.example/", http.StatusFound).ServeHTTP
		},
		"a circle": func(string) http.HandlerFunc {
			return http.RedirectHandler(issuertest.MetadataPath, http.StatusFound).ServeHTTP
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := issuertest.Start(t)
			i.Change(func(b *issuertest.Behaviour) {
				b.ServeMetadata = first(i.URL)
				b.ServeOAuth = func(w http.ResponseWriter, r *http.Request) {
					issuertest.Reply(w, http.StatusOK, map[string]any{"issuer": i.URL, "token_endpoint": i.URL + "/token"})
				}
			})
			if _, err := serverOf(i).Token(t.Context(), robot, clientCredentials("a")); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where one place has a page and the other does not work, both are told.
func TestBothPlacesOfMetadataAreTold(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeMetadata = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }
		b.ServeOAuth = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "33")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	_, err := serverOf(i).Metadata(t.Context())
	wantFault(t, err, i, agent.Transient, "issuer ISSUER: metadata: at ISSUER/.well-known/openid-configuration: its answer is an HTML page and not JSON; see whether that is the issuer, or a page of something between; "+
		"at ISSUER/.well-known/oauth-authorization-server: 503 Service Unavailable at ISSUER/.well-known/oauth-authorization-server; the issuer or something before it is overloaded or down")
	if f, _ := errors.AsType[*agent.Fault](err); f.RetryAfter != 33*time.Second {
		t.Errorf("it is tried after %s", f.RetryAfter)
	}
}

// Each of the four places is enough for an issuer with a path, and all four are named
// where there is nothing.
func TestMetadataOfAnIssuerWithAPathIsFoundAtEachPlace(t *testing.T) {
	ca := issuertest.NewCA(t)
	places := []string{
		"/realms/x/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/x",
		"/realms/x/.well-known/oauth-authorization-server", "/.well-known/openid-configuration/realms/x",
	}
	for _, place := range append(places, "") {
		cert := ca.Certificate(t, nil)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != place {
				io.WriteString(w, "<html>") // of a single-page application
				return
			}
			issuertest.Reply(w, http.StatusOK, map[string]any{"issuer": "https://" + r.Host + "/realms/x"})
		}))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		server.StartTLS()
		_, err := issuer.NewServer(issuer.Address{Issuer: server.URL + "/realms/x", CAFile: ca.File}).Metadata(t.Context())
		server.Close()
		if (err == nil) != (place != "") {
			t.Errorf("at %q: %v", place, err)
		}
		f, _ := errors.AsType[*agent.Fault](err)
		for _, named := range places {
			if err != nil && (!strings.Contains(err.Error(), "at "+server.URL+named+": its answer is an HTML page and not JSON") || f.RetryAfter != 40*time.Second) {
				t.Errorf("%s is not in %v, after %s", named, err, f.RetryAfter)
			}
		}
	}
}

func TestARedirectOnTheSameHostIsFollowed(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeMetadata = http.RedirectHandler(issuertest.OAuthPath, http.StatusFound).ServeHTTP
		b.ServeOAuth = func(w http.ResponseWriter, r *http.Request) {
			issuertest.Reply(w, http.StatusOK, map[string]any{"issuer": i.URL})
		}
	})
	if _, err := serverOf(i).Metadata(t.Context()); err != nil {
		t.Error(err)
	}
}

// An endpoint that the metadata names is no better than one that a person names.
func TestAnEndpointWithoutTLSIsNotAsked(t *testing.T) {
	i := issuertest.Start(t)
	plain := strings.Replace(i.URL, "https", "http", 1) + "/token"
	i.Change(func(b *issuertest.Behaviour) { b.Metadata = func(m map[string]any) { m["token_endpoint"] = plain } })
	_, err := serverOf(i).Token(t.Context(), robot, clientCredentials("a"))
	wantFault(t, err, i, agent.Configuration, "issuer ISSUER: "+plain+": it is http, over which secrets and tokens can be read on the way; only https is allowed, on the loopback interface too")
	if got := len(i.Requests(issuertest.TokenPath)); got != 0 {
		t.Error("it was asked")
	}
}

func TestCheckURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://iam.example.org/":      "",
		"https://iam.example.org:8443/": "",
		"https://[::1]/realms/x":        "",
		"":                              "https://",
		"iam.example.org":               "https://",
		"iam.example.org:443":           "not a URL",
		"http://localhost/":             "only https is allowed",
		"https:///token":                "names no host",
		"https://a:b@host/":             "user or password",
		"https://host/#a":               "fragment",
		"https://host/%zz":              "not a URL",
		"ftp://host/":                   "https://",
	} {
		err := issuer.CheckURL(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}
