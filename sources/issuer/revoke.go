package issuer

import (
	"bytes"
	"cmp"
	"context"
	"net/url"

	"github.com/tokenagent/tokenagent/agent"
)

// revocation stands for the type of a grant in what errors say.
const revocation = "revocation"

// Revoke ends the refresh token at the issuer (RFC 7009). A token that the issuer does not
// know has ended too. Its errors are faults.
func (s *Server) Revoke(ctx context.Context, c Client, token agent.Secret) error {
	m, err := s.Metadata(ctx)
	if err != nil {
		return err
	}
	endpoint := m.RevocationEndpoint
	if c.Auth == "tls_client_auth" {
		endpoint = cmp.Or(m.TLSRevocationEndpoint, endpoint)
	}
	if endpoint == "" {
		return s.faultIn("metadata", misconfigured("it names no revocation_endpoint: the issuer takes no refresh token back in this way; see its pages"))
	}
	parameters := url.Values{"token": {token.Reveal()}, "token_type_hint": {"refresh_token"}}
	r, asked, err := s.post(context.WithValue(ctx, anyBody{}, true), endpoint, c, Grant{revocation, parameters})
	switch {
	case err != nil:
		return s.fault(err)
	case r.refuses():
		return s.fault(r.refusal(asked))
	}
	return nil
}

// anyBody in a request's context says that the body of an answer that is well does not
// matter: that of a revocation is empty (RFC 7009 section 2.2). A page in its place, such as
// one to log in, comes of something before the issuer.
type anyBody struct{}

func beginsPage(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }
