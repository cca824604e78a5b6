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
	Issuer                string // equal to Address.Issuer, byte for byte
	TokenEndpoint         string
	TLSTokenEndpoint      string // for tls_client_auth, where that is another one (RFC 8705 section 5)
	JWKSURI               string
	DeviceEndpoint        string   // RFC 8628 section 4
	RevocationEndpoint    string   // RFC 7009
	TLSRevocationEndpoint string   // as TLSTokenEndpoint
	GrantTypes            []string // the grants that it offers
	AuthMethods           []string // those of Auths that it offers, and others
	Scopes                []string
}

// How long metadata is used, and how soon it is read again after a failure. The last good
// metadata stays in use meanwhile.
const (
	metadataLife  = time.Hour
	metadataAgain = 10 * time.Minute
)

// known is the metadata that was last good.
type known struct {
	Metadata
	until time.Time // then it is read again
}

// Metadata returns what the issuer says of itself. It asks the issuer if that is not known or
// is too old. Callers at the same time share one request.
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

// shared runs ask once for all callers that want the same thing at the same time. A caller that
// gives up does not end it for the others: it ends by the bounds of its requests.
func shared[T any](ctx context.Context, s *Server, what string, ask func(context.Context) (T, error)) (T, error) {
	var none T
	answer := s.asked.DoChan(what, func() (_ any, err error) {
		defer func() { // otherwise it ends the whole agent; what was thrown may hold a secret
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

// refresh fetches the metadata. Where that fails, the last good one stays in use.
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

// discover looks at each place of the metadata until one has it. A place may answer with
// something else, as a single-page application answers with its page at any path. Where
// the server itself does not work, no further place is asked.
func (s *Server) discover(ctx context.Context) (Metadata, error) {
	places, err := wellKnown(s.address.Issuer)
	if err != nil {
		return Metadata{}, err
	}
	var failed []*agent.Fault
	for _, place := range places {
		found, err := s.metadataAt(ctx, place)
		f, bad := errors.AsType[*agent.Fault](err)
		switch {
		case !bad:
			return found, err
		case !isUnfit(err) && len(failed) == 0:
			return Metadata{}, err
		}
		failed = append(failed, f)
		if !isUnfit(err) {
			break
		}
	}
	return Metadata{}, nowhere(places, failed)
}

// betweenPlaces is how long to wait for each place that was asked in vain; see leastPatience.
const betweenPlaces = 10 * time.Second

// nowhere is the fault of metadata that no place has. One that only a person can remove
// counts for all.
func nowhere(places []string, failed []*agent.Fault) *agent.Fault {
	f := transient("there is none, neither at %s; check issuer, or set token_endpoint", strings.Join(places, " nor at "))
	var texts []string
	missing := true
	for n, why := range failed {
		f.Kind = max(f.Kind, why.Kind)
		f.RetryAfter = max(f.RetryAfter, why.RetryAfter, time.Duration(len(places))*betweenPlaces)
		text := why.Error()
		if gone, ok := errors.AsType[missingError](why); ok {
			text = gone.status
		} else {
			missing = false
		}
		texts = append(texts, fmt.Sprintf("at %s: %s", places[n], text))
	}
	if !missing {
		f.Err = errors.New(strings.Join(texts, "; "))
	}
	return f
}

// metadataAt is what lies at the address.
func (s *Server) metadataAt(ctx context.Context, address string) (Metadata, error) {
	found, err := s.fetch(ctx, address)
	if err != nil {
		return Metadata{}, err
	}
	return s.readMetadata(found.object)
}

// wellKnown are the addresses where the metadata of an issuer may be: by OpenID Connect
// Discovery 1.0 section 4, by RFC 8414 section 3.1, and, for an issuer with a path, by
// each with the path where the other has it (RFC 8414 section 5).
func wellKnown(issuer string) (addresses []string, err error) {
	if err := CheckURL(issuer); err != nil {
		return nil, misconfigured("issuer: %w", err)
	}
	u, err := url.Parse(issuer)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return nil, misconfigured("issuer: it has a query (?…), which an issuer may not (RFC 8414 section 2)")
	}
	base := strings.TrimSuffix(issuer, "/")
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	root := strings.TrimSuffix(base, path)
	const oidc, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	addresses = []string{base + oidc, root + oauth + path}
	if path != "" {
		addresses = append(addresses, base+oauth, root+oidc+path)
	}
	return addresses, nil
}

// readMetadata reads the metadata, and refuses that of another issuer.
func (s *Server) readMetadata(object map[string]any) (Metadata, error) {
	m := reader{object: object}
	found := Metadata{
		Issuer:             m.text("issuer"),
		TokenEndpoint:      m.address("token_endpoint"),
		JWKSURI:            m.address("jwks_uri"),
		DeviceEndpoint:     m.address("device_authorization_endpoint"),
		RevocationEndpoint: m.address("revocation_endpoint"),
		GrantTypes:         m.texts("grant_types_supported"),
		AuthMethods:        m.texts("token_endpoint_auth_methods_supported"),
		Scopes:             m.texts("scopes_supported"),
	}
	if aliases, ok := object["mtls_endpoint_aliases"].(map[string]any); ok {
		a := reader{object: aliases}
		found.TLSTokenEndpoint, found.TLSRevocationEndpoint = a.address("token_endpoint"), a.address("revocation_endpoint")
		if a.err != nil {
			m.fault("mtls_endpoint_aliases", a.err)
		}
	}
	switch {
	case m.err != nil:
		return Metadata{}, unfit("%w", m.err)
	case found.Issuer == "":
		return Metadata{}, unfit("it names no issuer, so it is not metadata")
	case found.Issuer != s.address.Issuer:
		f := unfit("it says that its issuer is %q; write just that, to the slash at its end, or ask whom you mean", cut(found.Issuer))
		f.Kind = agent.Configuration
		return Metadata{}, f
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

// leastPatience is the least wait after a document that could not be fetched. The attempt took
// two requests, and one token may cause at most 12 a minute, even when so little of it remains
// that only half of this is waited.
const leastPatience = 20 * time.Second

func patient(err error) error {
	if f, ok := errors.AsType[*agent.Fault](err); ok && f.Kind == agent.Transient {
		f.RetryAfter = max(f.RetryAfter, leastPatience)
	}
	return err
}

// An unfitError is that of a server that works, and has something else than what was asked for.
type unfitError struct{ error }

// Unwrap returns the error itself.
func (u unfitError) Unwrap() error { return u.error }

// A missingError is that of a document that is not there.
type missingError struct {
	error
	status string // 404 Not Found
}

func unfit(format string, args ...any) *agent.Fault {
	return &agent.Fault{Kind: agent.Transient, Err: unfitError{fmt.Errorf(format, args...)}}
}

func isUnfit(err error) bool {
	_, ok := errors.AsType[unfitError](err)
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
	if !unavailable(r.status) {
		f.Err = unfitError{missingError{f.Err, statusText(r.status)}}
	}
	return nil, f
}

// get asks for what lies at the address, and returns an answer of any status.
func get(ctx context.Context, client *http.Client, address string) (*reply, error) {
	ctx, taken := withSlot(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, misconfigured("its address is not one that can be asked")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreachable(err, usual)
	}
	resp.Body.Close()
	return taken.Load(), nil
}

// cut shortens a text from elsewhere for an error, and covers what a terminal might obey.
func cut(text string) string {
	if runes := []rune(host.Printable(text, "", '?')); len(runes) > mostQuoted {
		return fmt.Sprint(string(runes[:mostQuoted]), "…")
	}
	return host.Printable(text, "", '?')
}
