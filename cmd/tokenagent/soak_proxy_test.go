package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// A chaoticIssuer is an issuer behind a proxy that harms answers at random. Both go by
// the clock of the test. Tokens are told apart by their scope.
type chaoticIssuer struct {
	*issuertest.Issuer
	clock *steppedClock

	mu       sync.Mutex
	rand     *rand.Rand
	harm     float64                // the share of answers that are harmed
	unharmed map[string][]time.Time // by scope, when an answer with that token was let through
	asked    map[string]time.Time   // by scope, when it was last asked for
	spoilt   time.Time              // when an answer with metadata or keys was last harmed
	requests int
	harms    map[string]int // by kind
}

func newChaoticIssuer(t *testing.T, clock *steppedClock, seed uint64) *chaoticIssuer {
	t.Helper()
	ca := issuertest.NewCA(t)
	p := &chaoticIssuer{
		Issuer: issuertest.StartWith(t, ca, nil), clock: clock, rand: rand.New(rand.NewPCG(seed, 1)),
		unharmed: map[string][]time.Time{}, asked: map[string]time.Time{}, harms: map[string]int{},
	}
	server := httptest.NewUnstartedServer(p)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, nil)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	p.URL = server.URL
	p.Change(func(b *issuertest.Behaviour) {
		b.Lifetime = soakLife
		b.Claims = func(_ url.Values, claims map[string]any) {
			now := clock.now()
			claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix()-60, now.Add(soakLife).Unix()
		}
	})
	return p
}

// spoil has that share of all answers harmed from now on.
func (p *chaoticIssuer) spoil(share float64) { p.mu.Lock(); defer p.mu.Unlock(); p.harm = share }

// ServeHTTP answers one request, or does not.
func (p *chaoticIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	scope := r.PostForm.Get("scope")
	harm := p.begin(scope)
	w.Header().Set("Date", p.clock.now().UTC().Format(http.TimeFormat))
	if harm != nil {
		harm(w, r)
		return
	}
	p.Issuer.ServeHTTP(w, r)
	if http.NewResponseController(w).Flush() == nil && scope != "" && r.Context().Err() == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unharmed[scope] = append(p.unharmed[scope], time.Now())
	}
}

// begin counts the request, and decides what harm is done to its answer; nil: none.
func (p *chaoticIssuer) begin(scope string) http.HandlerFunc {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	p.asked[scope] = time.Now()
	if p.rand.Float64() >= p.harm {
		return nil
	}
	if scope == "" {
		p.spoilt = time.Now()
	}
	n := p.rand.IntN(1 << 20)
	kinds := []struct {
		name string
		do   http.HandlerFunc
	}{
		{"dropped", drop},
		{"delayed", func(w http.ResponseWriter, r *http.Request) { p.delay(time.Duration(n%25000)*time.Millisecond, w, r) }},
		{"truncated", p.truncate},
		{"refused with 5xx", func(w http.ResponseWriter, _ *http.Request) { fail(n, w) }},
	}
	kind := kinds[p.rand.IntN(len(kinds))]
	p.harms[kind.name]++
	return kind.do
}

func drop(w http.ResponseWriter, _ *http.Request) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close()
	}
}

func (p *chaoticIssuer) delay(by time.Duration, w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(by):
		p.Issuer.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

// truncate ends the connection after half of the answer.
func (p *chaoticIssuer) truncate(w http.ResponseWriter, r *http.Request) {
	whole := httptest.NewRecorder()
	p.Issuer.ServeHTTP(whole, r)
	body := whole.Body.Bytes()
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:len(body)/2])
}

func fail(n int, w http.ResponseWriter) {
	if n%3 == 0 {
		w.Header().Set("Retry-After", fmt.Sprint(n%20))
	}
	http.Error(w, "<html>out of order</html>", []int{500, 502, 503, 504}[n%4])
}

// letThrough reports whether an answer with the token was let through between the two
// times, so that the agent could use it: what it was to be verified with, too.
func (p *chaoticIssuer) letThrough(scope string, from, to time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.spoilt.Before(from) {
		return false
	}
	all := p.unharmed[scope]
	for i := len(all) - 1; i >= 0 && all[i].After(from); i-- {
		if all[i].Before(to) {
			return true
		}
	}
	return false
}
