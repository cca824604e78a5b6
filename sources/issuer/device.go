package issuer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// A Device is what a person needs to let this client in (RFC 8628 section 3.2).
type Device struct {
	UserCode    string // to be typed at URI
	URI         string
	URIComplete string    // with the code in it; "": the issuer gave none
	Expires     time.Time // until then it can be done, by our clock

	code     string
	interval time.Duration
}

// Device asks for a token by the device flow (RFC 8628). It calls show once with what a person
// needs. Then it asks the issuer until somebody has let the client in or refused it, the code
// has expired, or ctx is done. parameters go with each request, as in Grant.
//
// The requests are made here, because oauth2 leaves client_secret_basic out of the first one,
// and sends the same client assertion with all others, though it is good once.
func (s *Server) Device(ctx context.Context, c Client, scope []string, parameters url.Values, show func(Device)) (Answer, error) {
	parameters = cloned(parameters)
	if len(scope) > 0 {
		parameters.Set("scope", strings.Join(scope, " "))
	}
	d, err := s.authorize(ctx, c, parameters)
	if err != nil {
		return Answer{}, err
	}
	show(d)
	ctx, cancel := context.WithTimeout(ctx, d.Expires.Sub(agent.Now(ctx)))
	defer cancel()
	return s.poll(ctx, c, d, parameters)
}

// leastPoll is the time between two requests where the issuer names none (RFC 8628 section
// 3.2), and what is added to it after slow_down (section 3.5).
const leastPoll = 5 * time.Second

// mostPoll is the longest that a person waits who has let the client in.
const mostPoll = time.Minute

// poll asks until there is an answer, and changes parameters. A transient failure does not end it, because a person is
// waiting.
func (s *Server) poll(ctx context.Context, c Client, d Device, parameters url.Values) (Answer, error) {
	parameters.Set("device_code", d.code)
	for wait := d.interval; ; {
		select {
		case <-ctx.Done():
			return Answer{}, s.fault(ended(ctx))
		case <-time.After(wait):
		}
		answer, err := s.Token(ctx, c, Grant{grantDeviceCode, parameters})
		f, failed := errors.AsType[*agent.Fault](err)
		switch {
		case !failed:
			return answer, err
		case f.Kind != agent.Transient:
			return Answer{}, err
		case !pending(err): // slow_down, or what the network did
			wait += leastPoll
		}
		wait = max(wait, f.RetryAfter)
	}
}

// pending reports whether only a person is missing.
func pending(err error) bool {
	d, ok := errors.AsType[*Denied](err)
	return ok && d.Code == "authorization_pending"
}

// ended is the error of a wait that is over.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return misconfigured("expired_token: %s; %s", oauthErrors["expired_token"].what, oauthErrors["expired_token"].next)
	}
	return &agent.Fault{Kind: agent.Transient, Err: ctx.Err()}
}

// authorize asks for a code for a person to type (RFC 8628 section 3.1).
func (s *Server) authorize(ctx context.Context, c Client, parameters url.Values) (Device, error) {
	m, err := s.Metadata(ctx)
	if err != nil {
		return Device{}, err
	}
	if m.DeviceEndpoint == "" {
		return Device{}, s.faultIn("metadata", misconfigured("it names no device_authorization_endpoint: the issuer has no device flow; get a refresh token in another way, and name it in refresh_token_file"))
	}
	r, asked, err := s.post(ctx, m.DeviceEndpoint, c, Grant{grantDeviceCode, parameters})
	if err != nil {
		return Device{}, s.fault(err)
	}
	d, err := r.device(asked)
	if err != nil {
		return Device{}, s.fault(err)
	}
	return d, nil
}

// post makes a request of our own to an endpoint, with the proof of the client.
func (s *Server) post(ctx context.Context, endpoint string, c Client, g Grant) (*reply, demand, error) {
	p, err := s.prove(ctx, c)
	if err != nil {
		return nil, demand{}, err
	}
	body := cloned(g.Parameters)
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	p.apply(header, body)
	if c.ID != "" {
		body.Set("client_id", c.ID) // also where the header says who asks
	}
	ctx, taken := withSlot(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(body.Encode()))
	if err != nil {
		return nil, demand{}, misconfigured("the endpoint %s is not a URL", cut(endpoint))
	}
	req.Header = header
	resp, err := s.client(c.certificate()).Do(req)
	if err != nil {
		return nil, demand{}, unreachable(err, s.bounds)
	}
	resp.Body.Close()
	return taken.Load(), demand{endpoint, c, g, p}, nil
}

// device reads the answer (RFC 8628 section 3.2).
func (r *reply) device(asked demand) (Device, error) {
	if r.refuses() {
		return Device{}, r.refusal(asked)
	}
	m := reader{object: r.object}
	d := Device{
		UserCode:    cut(m.text("user_code")),
		URI:         m.address("verification_uri"),
		URIComplete: m.address("verification_uri_complete"),
		Expires:     r.sent.Add(m.seconds("expires_in")),
		code:        m.visible("device_code"),
		interval:    min(m.seconds("interval"), mostPoll),
	}
	if d.URI == "" {
		d.URI = m.address("verification_url") // as some wrote it before the RFC
	}
	if d.interval == 0 {
		d.interval = leastPoll
	}
	switch {
	case m.err != nil:
		return Device{}, transient("its answer is not a device authorization: %w", m.err)
	case d.code == "" || d.UserCode == "" || d.URI == "" || !d.Expires.After(r.sent):
		return Device{}, transient("its answer is not a device authorization: it lacks device_code, user_code, verification_uri or expires_in")
	case !isPage(d.URI) || d.URIComplete != "" && !isPage(d.URIComplete):
		return Device{}, transient("its answer is not a device authorization: a verification_uri does not begin with https://, and a person is to give a password there")
	}
	return d, nil
}

// isPage reports whether nobody on the way can have made the page at the address.
func isPage(address string) bool { return strings.HasPrefix(address, "https://") }

// cloned is a copy that can be changed.
func cloned(parameters url.Values) url.Values {
	clone := url.Values{}
	for name, values := range parameters {
		clone[name] = values
	}
	return clone
}
