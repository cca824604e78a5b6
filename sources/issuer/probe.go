package issuer

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"time"
)

// A Report is what can be found out of an issuer without asking it for a token.
type Report struct {
	Metadata     Metadata      // the zero one where there is none
	MetadataErr  error         // why there is none
	Endpoint     string        // where tokens are asked for; "": nothing tells
	EndpointErr  error         // why nobody answers there
	KeysURL      string        // where the keys are; "": nothing tells
	KeySet                     // what is there
	KeysErr      error         // why they could not be read
	Certificates []Certificate // of each host that was asked, in that order
	Dated        bool          // an answer told the issuer's time
	Skew         time.Duration // our clock minus the issuer's, where Dated; see Answer
}

// A Certificate says how long a host can be trusted.
type Certificate struct {
	Host    string    // with its port, where that is not 443
	Ends    time.Time // when the first certificate of its chain ends
	Subject string    // of that one
}

// Probe asks the issuer for its metadata and keys, and whether anybody answers
// where the client asks for tokens, each once and within the limits of the
// Server. The zero Client asks for none. Its errors are faults.
func (s *Server) Probe(ctx context.Context, c Client) Report {
	var r Report
	if s.address.Issuer != "" {
		var seen chains
		r.Metadata, r.MetadataErr = s.Metadata(seen.watch(ctx))
		r.certify(s.address.Issuer, &seen)
	}
	if c != (Client{}) {
		r.Endpoint, _ = s.tokenEndpoint(ctx, c) // why not has been said, or is in the metadata
	}
	if r.Endpoint != "" {
		s.probeEndpoint(ctx, c, &r)
	}
	if r.KeysURL = cmp.Or(s.address.JWKSURI, r.Metadata.JWKSURI); r.KeysURL != "" {
		s.probeKeys(ctx, &r)
	}
	return r
}

// probeEndpoint sees whether anybody answers at the token endpoint. Few servers
// like a GET there; that they say so is an answer.
func (s *Server) probeEndpoint(ctx context.Context, c Client, r *Report) {
	var seen chains
	client := s.client(c.certificate())
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := get(seen.watch(ctx), client, r.Endpoint)
	r.certify(r.Endpoint, &seen)
	if err == nil && unavailable(answer.status) {
		err = transient("%s; %s", statusText(answer.status), nextAfter(answer.status))
	}
	if err != nil {
		r.EndpointErr = s.faultIn(r.Endpoint, err)
		return
	}
	r.date(answer)
}

func (s *Server) probeKeys(ctx context.Context, r *Report) {
	var seen chains
	set, answer, err := s.readKeys(seen.watch(ctx), r.KeysURL)
	r.certify(r.KeysURL, &seen)
	if err != nil {
		r.KeysErr = err
		return
	}
	r.KeySet = set
	r.date(answer)
}

// date takes the issuer's time from the answer.
func (r *Report) date(answer *reply) {
	if !answer.date.IsZero() {
		r.Dated, r.Skew = true, answer.skew()
	}
}

// chains are the certificates that the connections of requests were verified by.
type chains struct {
	mu  sync.Mutex
	all [][]*x509.Certificate
}

// watch has the connections of the context's requests seen.
func (c *chains) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if conn, ok := got.Conn.(*tls.Conn); ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.all = append(c.all, conn.ConnectionState().VerifiedChains...)
		}
	}})
}

// certify adds how long the host of the address can be trusted: of several chains
// that lead to an authority, the one that lasts longest counts.
func (r *Report) certify(address string, seen *chains) {
	u, err := url.Parse(address)
	if err != nil {
		return
	}
	best := Certificate{Host: u.Host}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, chain := range seen.all {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(best.Ends) {
			best.Ends, best.Subject = first.NotAfter, first.Subject.String()
		}
	}
	if !best.Ends.IsZero() && !slices.Contains(r.Certificates, best) {
		r.Certificates = append(r.Certificates, best)
	}
}
