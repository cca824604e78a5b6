package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// Metadata is what an issuer says of itself (OpenID Connect Discovery 1.0 section
// 3, RFC 8414 section 2). What it does not say is "" or nil.
type Metadata struct {
	Issuer           string // equal to Address.Issuer, byte for byte
	TokenEndpoint    string
	TLSTokenEndpoint string // for tls_client_auth, where that is another one (RFC 8705 section 5)
	JWKSURI          string
	DeviceEndpoint   string   // RFC 8628 section 4
	GrantTypes       []string // the grants that it offers
	AuthMethods      []string // those of Auths that it offers, and others
	Scopes           []string
}

// When metadata is read again: rarely, and where that fails the last that was
// good counts.
const (
	metadataLife  = time.Hour
	metadataAgain = 10 * time.Minute
)

// known is the metadata that was last good.
type known struct {
	Metadata
	until time.Time // then it is read again
}

// Metadata is what the issuer says of itself, fetched now if it is not known, or
// not lately. Several who want it ask once.
func (s *Server) Metadata(ctx context.Context) (Metadata, error) {
	if s.address.Issuer == "" {
		return Metadata{}, s.fault(misconfigured("there is no metadata of a token endpoint; set issuer"))
	}
	s.mu.Lock()
	last := s.metadata
	s.mu.Unlock()
	if time.Now().Before(last.until) {
		return last.Metadata, nil
	}
	fresh := s.asked.DoChan("metadata", func() (any, error) { return s.refresh(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return Metadata{}, s.faultIn("metadata", unreachable(context.Cause(ctx), s.bounds))
	case got := <-fresh:
		if got.Err != nil {
			return Metadata{}, got.Err
		}
		return got.Val.(Metadata), nil
	}
}

// refresh fetches the metadata; the last good is kept where that fails.
func (s *Server) refresh(ctx context.Context) (Metadata, error) {
	found, err := s.discover(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.metadata = known{found, time.Now().Add(metadataLife)}
	case s.metadata.Issuer != "":
		s.metadata.until = time.Now().Add(metadataAgain)
	default:
		return Metadata{}, s.faultIn("metadata", err)
	}
	return s.metadata.Metadata, nil
}

// discover looks where OpenID Connect puts the metadata, and where there is
// nothing, where RFC 8414 does.
func (s *Server) discover(ctx context.Context) (Metadata, error) {
	first, second, err := wellKnown(s.address.Issuer)
	if err != nil {
		return Metadata{}, err
	}
	object, err := s.fetch(ctx, first)
	if missing(err) {
		object, err = s.fetch(ctx, second)
		if missing(err) {
			return Metadata{}, transient("there is none, neither at %s nor at %s; check issuer, or set token_endpoint", first, second)
		}
	}
	if err != nil {
		return Metadata{}, err
	}
	return s.readMetadata(object)
}

// wellKnown are the addresses of an issuer's metadata: by OpenID Connect
// Discovery 1.0 section 4, and by RFC 8414 section 3.1.
func wellKnown(issuer string) (oidc, oauth string, err error) {
	if err := CheckURL(issuer); err != nil {
		return "", "", misconfigured("issuer: %w", err)
	}
	u, err := url.Parse(issuer)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return "", "", misconfigured("issuer: it has a query (?…), which an issuer may not (RFC 8414 section 2)")
	}
	base := strings.TrimSuffix(issuer, "/")
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	root := strings.TrimSuffix(base, path)
	return base + "/.well-known/openid-configuration", root + "/.well-known/oauth-authorization-server" + path, nil
}

// readMetadata reads the metadata; that of another issuer is refused.
func (s *Server) readMetadata(object map[string]any) (Metadata, error) {
	m := reader{object: object}
	found := Metadata{
		Issuer:         m.text("issuer"),
		TokenEndpoint:  m.text("token_endpoint"),
		JWKSURI:        m.text("jwks_uri"),
		DeviceEndpoint: m.text("device_authorization_endpoint"),
		GrantTypes:     m.texts("grant_types_supported"),
		AuthMethods:    m.texts("token_endpoint_auth_methods_supported"),
		Scopes:         m.texts("scopes_supported"),
	}
	if aliases, ok := object["mtls_endpoint_aliases"].(map[string]any); ok {
		found.TLSTokenEndpoint, _ = aliases["token_endpoint"].(string)
	}
	switch {
	case m.err != nil:
		return Metadata{}, transient("%w", m.err)
	case found.Issuer == "":
		return Metadata{}, transient("it names no issuer, so it is no metadata")
	case found.Issuer != s.address.Issuer:
		return Metadata{}, misconfigured("it says that its issuer is %q; write just that, to the slash at its end, or ask whom you mean", cut(found.Issuer))
	}
	return found, nil
}

// tokenEndpoint is where the client asks for tokens.
func (s *Server) tokenEndpoint(ctx context.Context, c Client) (string, error) {
	if s.address.TokenEndpoint != "" {
		return s.address.TokenEndpoint, nil
	}
	m, err := s.Metadata(ctx)
	switch {
	case err != nil:
		return "", err
	case c.Auth == "tls_client_auth" && m.TLSTokenEndpoint != "":
		return m.TLSTokenEndpoint, nil
	case m.TokenEndpoint == "":
		return "", s.faultIn("metadata", misconfigured("it names no token_endpoint; set token_endpoint, if the issuer has one"))
	}
	return m.TokenEndpoint, nil
}

// A failure is what came of asking for a document that could not be had.
type failure struct {
	at    time.Time
	fault *agent.Fault
	none  bool // the server is there, but not the document
}

// failureLife is how long a document that could not be had is not asked for
// again: all who wait for it share the failure.
const failureLife = 20 * time.Second

// documents asks for metadata and keys, and takes for one only what comes with
// status 200: those who ask through it would show the body of anything else.
type documents struct{ asking }

// RoundTrip is that of asking; all of its errors are faults, or wrap one.
func (d documents) RoundTrip(req *http.Request) (*http.Response, error) {
	address := req.URL.String()
	if f, failed := d.failed(address); failed {
		return nil, f
	}
	resp, err := d.asking.RoundTrip(req)
	switch {
	case err == nil && resp.StatusCode == http.StatusOK, err == nil && resp.StatusCode/100 == 3:
		return resp, nil
	case req.Context().Err() != nil:
		return nil, unreachable(req.Context().Err(), d.bounds)
	}
	f := failureOf(resp, err, address)
	if f.fault.Kind == agent.Transient { // else somebody mends it, and tries at once
		d.mu.Lock()
		d.documents[address] = f
		d.mu.Unlock()
	}
	return nil, f
}

// failed is the failure of that address, while it counts.
func (s *Server) failed(address string) (f failure, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, failed = s.documents[address]
	if failed && time.Since(f.at) >= failureLife {
		delete(s.documents, address)
		failed = false
	}
	return f, failed
}

func failureOf(resp *http.Response, err error, address string) failure {
	f := failure{at: time.Now()}
	if err != nil {
		f.fault = unreachable(err, usual)
		return f
	}
	f.none = resp.StatusCode/100 == 4 && !unavailable(resp.StatusCode)
	f.fault = transient("%s at %s; %s", statusText(resp.StatusCode), address, nextAfter(resp.StatusCode))
	f.fault.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	return f
}

// Error is that of the fault.
func (f failure) Error() string { return f.fault.Error() }

// Unwrap returns the fault.
func (f failure) Unwrap() error { return f.fault }

// missing reports whether there is no document where there could be one.
func missing(err error) bool {
	f, ok := errors.AsType[failure](err)
	return ok && f.none
}

// fetch asks for a document: one JSON object.
func (s *Server) fetch(ctx context.Context, address string) (map[string]any, error) {
	ctx, taken := withSlot(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, misconfigured("its address is none; check issuer")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.documentClient().Do(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	r := taken.Load()
	if r == nil || r.status != http.StatusOK {
		return nil, transient("%s at %s, which leads nowhere; check the address", statusText(resp.StatusCode), address)
	}
	return r.object, nil
}

func (s *Server) documentClient() *http.Client {
	return &http.Client{Transport: documents{asking{s, certificate{}}}, CheckRedirect: checkRedirect}
}

// cut is a text from elsewhere as an error can show it.
func cut(text string) string {
	if runes := []rune(printable(text)); len(runes) > mostQuoted {
		return fmt.Sprint(string(runes[:mostQuoted]), "…")
	}
	return printable(text)
}
