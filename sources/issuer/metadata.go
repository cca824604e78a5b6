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
	if isMissing(err) {
		object, err = s.fetch(ctx, second)
		if isMissing(err) {
			return Metadata{}, patient(transient("there is none, neither at %s nor at %s; check issuer, or set token_endpoint", first, second))
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

// documents asks for metadata and keys, and takes for one only what comes with
// status 200: those who ask through it would show the body of anything else.
type documents struct{ asking }

// RoundTrip is that of asking; all of its errors are faults, or wrap one.
func (d documents) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.asking.RoundTrip(req)
	if err != nil {
		return nil, patient(unreachable(err, d.bounds))
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode/100 == 3 {
		return resp, nil
	}
	f := transient("%s at %s; %s", statusText(resp.StatusCode), req.URL, nextAfter(resp.StatusCode))
	f.RetryAfter = retryAfterOf(resp, time.Now())
	if resp.StatusCode/100 == 4 && !unavailable(resp.StatusCode) {
		return nil, missing{patient(f)}
	}
	return nil, patient(f)
}

// leastPatience is how long to wait after a document that could not be had: an
// attempt then takes two requests, one for the token or for each place of the
// metadata.
const leastPatience = 10 * time.Second

func patient(f *agent.Fault) *agent.Fault {
	if f.Kind == agent.Transient {
		f.RetryAfter = max(f.RetryAfter, leastPatience)
	}
	return f
}

// A missing is the fault of a document that is not where it could be.
type missing struct{ *agent.Fault }

// Unwrap returns the fault itself.
func (m missing) Unwrap() error { return m.Fault }

func isMissing(err error) bool {
	_, ok := errors.AsType[missing](err)
	return ok
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
