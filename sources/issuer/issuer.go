// Package issuer is our side of an OAuth 2.0 authorization server: it finds its
// endpoints (OpenID Connect Discovery 1.0, RFC 8414), asks it for tokens (RFC
// 6749, 8628, 8693), and verifies the answers with its keys (RFC 7517).
//
// Token requests are made by golang.org/x/oauth2, and signatures verified by
// go-jose. The answers are read here, as strictly as anything that a stranger
// sends. Nothing is tried twice. Every error is an *agent.Fault of one line that
// says what to do next, and holds neither a secret nor the body of an answer.
package issuer

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// An Address is where an issuer is, and how to know it. All sources with the
// same Address share one Server.
type Address struct {
	Issuer        string // its identifier, an https URL, byte for byte as its metadata and tokens say it; "" with a TokenEndpoint alone
	TokenEndpoint string // an https URL; "": as the metadata says
	JWKSURI       string // an https URL; "": as the metadata says
	CAFile        string // the only authorities trusted for its certificate, in PEM, read again when they change; "": those of the system
}

// A Server is one authorization server as all who ask it share it: its metadata, keys
// and connections, and the limits of package queue for every request, for metadata
// and keys too. Some commands, such as check and login, ask without a queue.
// Its methods may be called from several goroutines at once.
type Server struct {
	address Address
	bounds  bounds
	wire    http.RoundTripper // in place of connections, in tests
	limits  *limiter
	asked   singleflight.Group // for metadata and keys

	mu       sync.Mutex
	lines    map[certificate]*line
	seen     instant // when it was last asked
	metadata known
	keys     keyring
	skew     time.Duration // see Answer
}

// NewServer returns the Server at the address. It reads and asks nothing yet.
func NewServer(a Address) *Server {
	return &Server{
		address: a,
		bounds:  usual,
		limits:  newLimiter(queue.Usual()),
		lines:   map[certificate]*line{},
	}
}

// A limiter holds all requests to one issuer to its Limits.
type limiter struct {
	queue.Limits
	room chan struct{}
	rate *rate.Limiter
}

func newLimiter(l queue.Limits) *limiter {
	return &limiter{Limits: l, room: make(chan struct{}, l.AtOnce), rate: rate.NewLimiter(rate.Limit(l.PerSecond), 1)}
}

// ShareLimits has both keep to the limits together, since they are at the same issuer
// and differ only in how they know it. It is called before s asks anything.
func (s *Server) ShareLimits(other *Server) { s.limits = other.limits }

// Issuer is the Server as its queue knows it. Every request keeps to its Limits.
func (s *Server) Issuer() queue.Issuer { return queue.Issuer{Name: s.Name(), Limits: s.limits.Limits} }

// Name is the issuer, or else the token endpoint.
func (s *Server) Name() string {
	if s.address.Issuer != "" {
		return s.address.Issuer
	}
	return s.address.TokenEndpoint
}

// String names the Server as every error begins: "issuer https://…", or else "token
// endpoint https://…".
func (s *Server) String() string {
	if s.address.Issuer != "" {
		return "issuer " + s.address.Issuer
	}
	return "token endpoint " + s.address.TokenEndpoint
}

// CheckURL is an error unless text can be the address of an issuer or of one of
// its endpoints: an https URL with a host, and without user, password, query or
// fragment where one of these would be lost or shown (RFC 8414 section 2).
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "":
		return errors.New("it is not a URL; write one such as https://iam.example.org/")
	case u.Scheme == "http":
		return errors.New("it is http, over which secrets and tokens can be read on the way; only https is allowed, on the loopback interface too")
	case u.Scheme != "https":
		return errors.New("it does not begin with https://, which it must")
	case u.Hostname() == "":
		return errors.New("it names no host; write one such as https://iam.example.org/")
	case u.User != nil:
		return errors.New("it holds a user or password; a client proves itself by client_id and client_auth")
	case u.Fragment != "":
		return errors.New("it has a fragment (#…), which no server is ever sent; leave it out")
	}
	return nil
}

// at puts where an error belongs before it.
func at(where string, err error) error { return fmt.Errorf("%s: %w", where, err) }
