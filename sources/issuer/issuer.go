// Package issuer is our side of an OAuth 2.0 authorization server: it finds its
// endpoints (OpenID Connect Discovery 1.0, RFC 8414), asks it for tokens (RFC
// 6749, 8628, 8693), and holds what comes back against its keys (RFC 7517).
//
// Requests are made by golang.org/x/oauth2, signatures verified by go-oidc; the
// answers are read here, as strictly as anything that strangers send. Nothing
// is tried twice, and every error is an *agent.Fault of one line, that says what
// to do next and holds neither a secret nor what the server wrote.
package issuer

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// An Address is where an issuer is, and how to know it. All sources with the
// same Address share one Server.
type Address struct {
	Issuer        string // its identifier, an https URL, byte for byte as its metadata and tokens say it; "" with a TokenEndpoint alone
	TokenEndpoint string // an https URL; "": as the metadata says
	JWKSURI       string // an https URL; "": as the metadata says
	CAFile        string // the only authorities trusted for its certificate, in PEM; "": those of the system
}

// A Server is one authorization server as all who ask it share it: its metadata,
// keys and connections, and the limits of 2 requests at a time and 5 a second
// over everything that it is asked.
type Server struct{ address Address }

// NewServer returns the Server at the address. It reads and asks nothing yet.
func NewServer(a Address) *Server { return &Server{address: a} }

// Name is the issuer, or else the token endpoint: what agent.Remote wants.
func (s *Server) Name() string {
	if s.address.Issuer != "" {
		return s.address.Issuer
	}
	return s.address.TokenEndpoint
}

// A Client is who asks, and how it proves that. Its files are read at each use.
type Client struct {
	ID         string
	Auth       string // one of Auths
	SecretFile string // for client_secret_basic and client_secret_post; the line end at its end is not part of it
	KeyFile    string // the private key for private_key_jwt and tls_client_auth
	CertFile   string // the certificate chain for tls_client_auth, in PEM
}

// Auths are the ways in which a Client can prove who it is, as OpenID Connect
// Core section 9 and RFC 8705 name them.
func Auths() []string {
	return []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none"}
}

// Check is an error unless the client's files are there, well kept and readable.
func (c Client) Check() error { return nil }

// A Grant is what a token request asks for.
type Grant struct {
	Type       string     // the parameter grant_type
	Parameters url.Values // every other parameter but those of client authentication: scope, refresh_token, subject_token …
}

// An Answer is what the issuer gave.
type Answer struct {
	Access          agent.Secret
	Sent            time.Time     // when it was asked for, by our clock
	ExpiresIn       time.Duration // counted from Sent; 0: it did not say
	Refresh         agent.Secret  // zero: none came
	Scope           []string      // the words of scope
	ScopeSaid       bool          // it said scope at all; else it is as asked for (RFC 6749 section 5.1)
	IssuedTokenType string        // of a token exchange (RFC 8693 section 2.2.1)
	Skew            time.Duration // our clock minus the issuer's, where that is more than 2 s; at most 300 s either way
}

// Token asks for a token, once; before that for the metadata, if it has none.
func (s *Server) Token(ctx context.Context, c Client, g Grant) (Answer, error) {
	return Answer{}, errors.ErrUnsupported
}

// Verify holds the signature of a JWT against the issuer's keys.
func (s *Server) Verify(ctx context.Context, text agent.Secret) (profile.Token, error) {
	return profile.Token{}, errors.ErrUnsupported
}

// Metadata is what an issuer says of itself (RFC 8414 section 2).
type Metadata struct {
	Issuer         string
	TokenEndpoint  string
	JWKSURI        string
	DeviceEndpoint string
	GrantTypes     []string
	AuthMethods    []string
	Scopes         []string
}

// Metadata is what the issuer says of itself, fetched now if it is not known.
func (s *Server) Metadata(ctx context.Context) (Metadata, error) {
	return Metadata{}, errors.ErrUnsupported
}

// A Device is what a person needs to let the client in (RFC 8628 section 3.2).
type Device struct {
	UserCode    string
	URI         string
	URIComplete string // with the code in it; "": the issuer gave none
	Expires     time.Time
}

// Device asks for a token by the device flow; show is called once.
func (s *Server) Device(ctx context.Context, c Client, scope []string, parameters url.Values, show func(Device)) (Answer, error) {
	return Answer{}, errors.ErrUnsupported
}
