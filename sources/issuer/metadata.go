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
	"github.com/tokenagent/tokenagent/agent/host"
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
	return shared(ctx, s, "metadata", s.refresh)
}

// shared is what ask finds out, under that name, for all who want it at the same
// time. Who gives up ends it for nobody else, so it ends by the bounds of its
// requests.
func shared[T any](ctx context.Context, s *Server, what string, ask func(context.Context) (T, error)) (T, error) {
	var none T
	answer := s.asked.DoChan(what, func() (_ any, err error) {
		defer func() { // nobody above could catch it there, and it would end the whole agent; what was thrown may hold a secret
			if recover() != nil {
				err = s.faultIn(what, misconfigured("panic; please report this defect of tokenagent"))
			}
		}()
		return ask(context.WithoutCancel(ctx))
	})
	select {
	case <-ctx.Done():
		return none, s.faultIn(what, unreachable(context.Cause(ctx), s.bounds))
	case got := <-answer:
		if got.Err != nil {
			return none, got.Err
		}
		return got.Val.(T), nil
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
		return Metadata{}, patient(s.faultIn("metadata", err))
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
	found, err := s.fetch(ctx, first)
	if isMissing(err) {
		found, err = s.fetch(ctx, second)
		if isMissing(err) {
			return Metadata{}, transient("there is none, neither at %s nor at %s; check issuer, or set token_endpoint", first, second)
		}
	}
	if err != nil {
		return Metadata{}, err
	}
	return s.readMetadata(found.object)
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
		TokenEndpoint:  m.address("token_endpoint"),
		JWKSURI:        m.address("jwks_uri"),
		DeviceEndpoint: m.address("device_authorization_endpoint"),
		GrantTypes:     m.texts("grant_types_supported"),
		AuthMethods:    m.texts("token_endpoint_auth_methods_supported"),
		Scopes:         m.texts("scopes_supported"),
	}
	if aliases, ok := object["mtls_endpoint_aliases"].(map[string]any); ok {
		a := reader{object: aliases}
		if found.TLSTokenEndpoint = a.address("token_endpoint"); a.err != nil {
			m.fault("mtls_endpoint_aliases", a.err)
		}
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

// leastPatience is how long to wait after a document that could not be had: the
// attempt took two requests, one for the token or for each place of the metadata,
// and no token is to cause more than 12 a minute, also when so little remains of it
// that only half of this is waited for.
const leastPatience = 20 * time.Second

func patient(err error) error {
	if f, ok := errors.AsType[*agent.Fault](err); ok && f.Kind == agent.Transient {
		f.RetryAfter = max(f.RetryAfter, leastPatience)
	}
	return err
}

// A missing is the fault of a document that is not where it could be.
type missing struct{ *agent.Fault }

// Unwrap returns the fault itself.
func (m missing) Unwrap() error { return m.Fault }

func isMissing(err error) bool {
	_, ok := errors.AsType[missing](err)
	return ok
}

// fetch asks for a document, which comes with status 200: one JSON object.
func (s *Server) fetch(ctx context.Context, address string) (*reply, error) {
	r, err := get(ctx, s.client(certificate{}), address)
	switch {
	case err != nil:
		return nil, err
	case r.status == http.StatusOK:
		return r, nil
	}
	f := transient("%s at %s; %s", statusText(r.status), address, nextAfter(r.status))
	f.RetryAfter = r.retryAfter
	if r.status/100 == 4 && !unavailable(r.status) {
		return nil, missing{f}
	}
	return nil, f
}

// get asks for what lies at the address. An answer of any status is one.
func get(ctx context.Context, client *http.Client, address string) (*reply, error) {
	ctx, taken := withSlot(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, misconfigured("its address is none that can be asked")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreachable(err, usual)
	}
	resp.Body.Close()
	return taken.Load(), nil
}

// cut is a text from elsewhere as an error can show it.
func cut(text string) string {
	if runes := []rune(host.Printable(text, "", '?')); len(runes) > mostQuoted {
		return fmt.Sprint(string(runes[:mostQuoted]), "…")
	}
	return host.Printable(text, "", '?')
}
