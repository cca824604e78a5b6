package issuer

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tokenagent/tokenagent/agent"
)

// The grant types that have a URN for a name.
const (
	GrantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523 section 2.1
	GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 section 2.1
	grantDeviceCode    = "urn:ietf:params:oauth:grant-type:device_code"    // RFC 8628 section 3.4
)

// A Grant is what a token request asks for.
type Grant struct {
	Type       string     // the parameter grant_type
	Parameters url.Values // every other parameter but those of client authentication: scope, refresh_token, subject_token …
}

// An Answer is what the issuer gave.
type Answer struct {
	Access          agent.Secret  // one line of the characters that RFC 6750 allows, of at most agent.MaxText bytes
	Sent            time.Time     // when it was asked for, by our clock
	ExpiresIn       time.Duration // counted from Sent, at most ten years; 0: it did not say
	Refresh         agent.Secret  // zero: none came
	RefreshExpires  time.Time     // of that, or of the one that was used; zero: it did not say, as of one that never ends
	Scope           []string      // the words of scope
	ScopeSaid       bool          // it said scope at all; else it is as asked for (RFC 6749 section 5.1)
	IssuedTokenType string        // of a token exchange (RFC 8693 section 2.2.1)
	Odd             string        // what in it is not as RFC 6749 has it, and was understood all the same; "" for nothing
	Skew            time.Duration // our clock minus the issuer's, where that is more than 2 s; at most 300 s either way
}

// Token asks for a token, once; before that for the metadata, if it needs and
// does not have them. Its errors are faults whose RetryAfter is the issuer's.
func (s *Server) Token(ctx context.Context, c Client, g Grant) (Answer, error) {
	endpoint, err := s.tokenEndpoint(ctx, c)
	if err != nil {
		return Answer{}, err
	}
	return s.token(ctx, endpoint, c, g)
}

func (s *Server) token(ctx context.Context, endpoint string, c Client, g Grant) (Answer, error) {
	p, err := s.prove(ctx, c)
	if err != nil {
		return Answer{}, s.fault(err)
	}
	parameters := maps.Clone(g.Parameters)
	if parameters == nil {
		parameters = url.Values{}
	}
	parameters.Set("grant_type", g.Type)
	maps.Copy(parameters, p.parameters())
	config := clientcredentials.Config{
		ClientID: p.id, ClientSecret: p.secret, TokenURL: endpoint, AuthStyle: p.style, EndpointParams: parameters,
	}
	ctx, taken := withSlot(context.WithValue(ctx, oauth2.HTTPClient, s.client(c.certificate())))
	_, err = config.Token(ctx)
	answer, err := taken.Load().answer(err, demand{endpoint, c, g, p})
	if err != nil {
		return Answer{}, s.fault(err)
	}
	return answer, nil
}

// answer reads the reply. oauth2 only tells whether there was one: it takes expires_in for at
// most 68 years, repeats the refresh token that it was given, and shows the body in its errors.
func (r *reply) answer(err error, d demand) (Answer, error) {
	if f, ok := errors.AsType[*agent.Fault](err); ok {
		return Answer{}, f
	}
	if r == nil {
		return Answer{}, transient("the token request could not be made; check the address")
	}
	if r.refuses() {
		return Answer{}, r.refusal(d)
	}
	a, err := r.token(d.grant.Type)
	if d.echoed(r.object) {
		err = misconfigured("its answer repeats a secret that this client sent, which readers of the token and of the log would see; the issuer must leave it out")
	}
	if err != nil {
		return Answer{}, postponed(err, r.retryAfter)
	}
	return a, nil
}

// prove makes the client's proof for one request. Its audience is the issuer: servers that
// follow the revision of RFC 7523 take nothing else. Its errors are faults.
func (s *Server) prove(ctx context.Context, c Client) (proof, error) {
	p, err := c.prove(s.Name(), s.Now(ctx))
	if _, isFault := errors.AsType[*agent.Fault](err); err != nil && !isFault {
		err = &agent.Fault{Kind: agent.Configuration, Err: err}
	}
	return p, err
}

// fault adds whom the error is about.
func (s *Server) fault(err error) *agent.Fault { return s.faultIn("", err) }

// faultIn adds whom the error is about, and which part of what it serves, such as "metadata".
func (s *Server) faultIn(part string, err error) *agent.Fault {
	where := s.String()
	if part != "" {
		where += ": " + part
	}
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok {
		return &agent.Fault{Kind: agent.Transient, Err: at(where, err)}
	}
	return &agent.Fault{Kind: f.Kind, RetryAfter: f.RetryAfter, Err: at(where, f.Err)}
}

// note keeps what the reply tells of the issuer's clock.
func (s *Server) note(r *reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = r.skew()
}

// A smaller difference between two clocks is ignored, and a larger one counts as the most.
const (
	leastSkew = 2 * time.Second
	mostSkew  = 300 * time.Second
)

// skew is our clock minus the server's, as Answer has it. The server's date has whole seconds,
// and was made at some time between the request and the answer. The smallest difference that
// this allows counts.
func (r *reply) skew() time.Duration {
	if r.date.IsZero() {
		return 0
	}
	least, most := r.sent.Sub(r.date.Add(time.Second)), r.received.Sub(r.date)
	skew := max(least, 0) + min(most, 0) // at most one of them is not 0
	if skew.Abs() <= leastSkew {
		return 0
	}
	return min(max(skew, -mostSkew), mostSkew)
}
