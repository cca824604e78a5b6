package issuer

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A tally is when an issuer was asked, and by whom.
type tally struct {
	mu     sync.Mutex
	asked  []time.Time
	tokens map[string][]time.Time // by the parameter scope
	now    int
	most   int
}

func (l *tally) begin(scope string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, time.Now())
	if scope != "" {
		l.tokens[scope] = append(l.tokens[scope], time.Now())
	}
	l.now++
	l.most = max(l.most, l.now)
}

func (l *tally) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
}

// within is the most of the times, which are in order, that lie within any one
// span of that length.
func within(times []time.Time, length time.Duration) int {
	most, first := 0, 0
	for n, at := range times {
		for at.Sub(times[first]) >= length {
			first++
		}
		most = max(most, n-first+1)
	}
	return most
}

// check reports limits that were broken: of the issuer, and of 12 requests a
// minute for a token, its share of metadata and keys with it.
func (l *tally) check(t *testing.T, what string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := within(l.asked, time.Second); float64(got) > queue.Usual().PerSecond {
		t.Errorf("%s: %d requests within a second", what, got)
	}
	if l.most > queue.Usual().AtOnce {
		t.Errorf("%s: %d requests at a time", what, l.most)
	}
	for scope, times := range l.tokens {
		if got := within(times, time.Minute); got > 12 {
			t.Errorf("%s: %d requests within a minute for %s", what, got, scope)
		}
	}
	if got := within(l.asked, time.Minute); len(l.tokens) == 1 && got > 12 {
		t.Errorf("%s: %d requests within a minute, all for one token", what, got)
	}
}

// over has the wire counted.
func (l *tally) over(next wire) wire {
	return func(req *http.Request) (*http.Response, error) {
		scope := ""
		if req.Method == http.MethodPost {
			data, _ := io.ReadAll(req.Body)
			form, _ := url.ParseQuery(string(data))
			scope = form.Get("scope")
		}
		l.begin(scope)
		defer l.end()
		return next(req)
	}
}

// A remote source asks the Server as those of package sources do.
type remote struct {
	*Server
	verify func() bool // now
}

func (r remote) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	answer, err := r.Token(ctx, robot, Grant{"client_credentials", url.Values{"scope": req.Scope}})
	if err != nil {
		return agent.Token{}, err
	}
	if r.verify() {
		if _, err := r.Verify(ctx, answer.Access); err != nil {
			return agent.Token{}, err
		}
	}
	life := answer.ExpiresIn
	if life == 0 {
		life = time.Hour
	}
	return agent.Token{Secret: answer.Access, Issued: answer.Sent, Expires: answer.Sent.Add(life)}, nil
}

// A shelf is a sink that takes everything.
type shelf struct{}

func (shelf) Put(context.Context, agent.Token) (agent.Written, error) {
	return agent.Written{Changed: true}, nil
}

// keepFresh runs an Agent over tokens of the Server for that long.
func keepFresh(ctx context.Context, s *Server, verify func() bool, tokens int, length time.Duration) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	var renewers []agent.Renewer
	for n := range tokens {
		name := fmt.Sprint("token", n)
		renewers = append(renewers, agent.Renewer{
			Name: name, Issuer: s.Issuer(), Source: remote{s, verify}, Request: agent.Request{Scope: []string{name}}, Sinks: []agent.Target{{Sink: &shelf{}}},
			Schedule: agent.Schedule{Jitter: agent.Jitter("machine", name)}, Digest: name,
		})
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	agent.New(agent.ClockOf(ctx), log, renewers).Run(ctx)
	time.Sleep(2 * usual.total) // what several could have waited for goes on until its own end
	synctest.Wait()
}

// What an answer can say.
var (
	statuses    = []int{200, 302, 400, 401, 404, 408, 425, 429, 500, 503}
	retryAfters = []string{"", "0", "1", "120", "9999999999", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"}
	lives       = []int{0, 1, 11, 30, 60, 300, 3600}
)

// says is an answer to a token request.
func says(req *http.Request, status int, code, retryAfter string) *http.Response {
	object := map[string]any{"error": code}
	if code == "" {
		object = nil
	}
	resp := respond(req, status, object)
	if retryAfter != "" {
		resp.Header.Set("Retry-After", retryAfter)
	}
	return resp
}

func grants(req *http.Request, life int) *http.Response {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	jwt := part(`{"alg":"ES256","kid":"new"}`) + "." + part(fmt.Sprintf(`{"iss":%q,"jti":%q}`, example, crand.Text())) + "." + part("signed")
	return respond(req, http.StatusOK, map[string]any{"access_token": jwt, "token_type": "Bearer", "expires_in": life})
}

func TestNoRefusalHasATokenAskedForTooOften(t *testing.T) {
	for _, status := range statuses {
		for _, code := range errorCodes {
			for _, retryAfter := range retryAfters {
				synctest.Test(t, func(t *testing.T) {
					l := &tally{tokens: map[string][]time.Time{}}
					first := rand.N(2) == 0 // so that a token is there, and runs out
					s := serverOver(l.over(func(req *http.Request) (*http.Response, error) {
						switch {
						case req.Method == http.MethodGet:
							return exampleMetadata(req), nil
						case first:
							first = false
							return grants(req, lives[rand.N(len(lives))]), nil
						}
						return says(req, status, code, retryAfter), nil
					}))
					keepFresh(t.Context(), s, never, 1, 10*time.Minute)
					l.check(t, fmt.Sprintf("%d %q Retry-After %q", status, code, retryAfter))
				})
			}
		}
	}
}

// An attempt that ends with metadata or keys takes two requests or more. It is the
// more frequent, the less remains of a token that was had before.
func TestNoMissingDocumentHasATokenAskedForTooOften(t *testing.T) {
	for _, status := range []int{200, 404, 429, 503} {
		for _, life := range []int{60, 120, 300, 3600} {
			for range 10 {
				synctest.Test(t, func(t *testing.T) {
					l := &tally{tokens: map[string][]time.Time{}}
					had := false
					s := serverOver(l.over(func(req *http.Request) (*http.Response, error) {
						if req.URL.Path == "/token" {
							return grants(req, life), nil
						}
						if req.URL.Path == "/jwks" {
							return respond(req, status, map[string]any{"keys": []any{}}), nil
						}
						return exampleMetadata(req), nil
					}))
					keepFresh(t.Context(), s, func() bool { defer func() { had = true }(); return had }, 1, 2*time.Hour)
					l.check(t, fmt.Sprintf("no keys, %d, a token of %d s", status, life))
				})
			}
		}
		synctest.Test(t, func(t *testing.T) {
			l := &tally{tokens: map[string][]time.Time{}}
			s := serverOver(l.over(func(req *http.Request) (*http.Response, error) { return respond(req, status, nil), nil }))
			keepFresh(t.Context(), s, never, 1, time.Hour)
			l.check(t, fmt.Sprintf("no metadata, %d", status))
		})
	}
}

func never() bool { return false }

// Of everything at once: answers of every kind, slow, lost and hanging, for a token
// request, metadata and keys.
func TestNoIssuerIsAskedTooOften(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			tokens := []int{1, 1, 3, 40}[seed%4]
			l := &tally{tokens: map[string][]time.Time{}}
			var mu sync.Mutex
			s := serverOver(l.over(func(req *http.Request) (*http.Response, error) {
				mu.Lock()
				c := chosen(random)
				mu.Unlock()
				select {
				case <-req.Context().Done():
					return nil, req.Context().Err()
				case <-time.After(c.delay):
				}
				return c.answer(req)
			}))
			keepFresh(t.Context(), s, func() bool { return seed%2 == 0 }, tokens, time.Hour)
			l.check(t, fmt.Sprintf("seed %d", seed))
			if len(l.asked) < 5 {
				t.Errorf("seed %d: it was asked %d times in an hour", seed, len(l.asked))
			}
		})
	}
}

// A choice is what becomes of one request.
type choice struct {
	what             int // of ten
	delay            time.Duration
	status           int
	code, retryAfter string
	life             int
}

func chosen(random *rand.Rand) choice {
	delays := []time.Duration{0, 0, 0, 10 * time.Millisecond, time.Second, 29 * time.Second, time.Hour}
	return choice{
		what:   random.IntN(10),
		delay:  delays[random.IntN(len(delays))],
		status: statuses[random.IntN(len(statuses))], code: errorCodes[random.IntN(len(errorCodes))],
		retryAfter: retryAfters[random.IntN(len(retryAfters))],
		life:       lives[random.IntN(len(lives))],
	}
}

func (c choice) answer(req *http.Request) (*http.Response, error) {
	switch {
	case c.what < 5:
		return says(req, c.status, c.code, c.retryAfter), nil
	case c.what == 5:
		return nil, io.ErrUnexpectedEOF
	case req.Method == http.MethodPost:
		return grants(req, c.life), nil
	case req.URL.Path == "/jwks":
		return respond(req, http.StatusOK, map[string]any{"keys": []any{}}), nil
	}
	return exampleMetadata(req), nil
}

func TestTheLimitsHoldForAllWhoAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &tally{tokens: map[string][]time.Time{}}
		s := serverOver(l.over(func(req *http.Request) (*http.Response, error) {
			time.Sleep(300 * time.Millisecond) // so that more could be under way at a time
			if req.Method == http.MethodGet {
				return exampleMetadata(req), nil
			}
			return grants(req, 3600), nil
		}))
		start := time.Now()
		var all sync.WaitGroup
		for n := range 50 {
			all.Go(func() {
				if _, err := s.Token(t.Context(), robot, Grant{"client_credentials", url.Values{"scope": {fmt.Sprint(n)}}}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		l.check(t, "fifty at once")
		if len(l.asked) != 51 {
			t.Errorf("%d requests were made, want one for the metadata and 50", len(l.asked))
		}
		if took, want := time.Since(start), 300*time.Millisecond+49*200*time.Millisecond+300*time.Millisecond; took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
	})
}

func TestLimitsOfAnIssuerHoldForEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &tally{tokens: map[string][]time.Time{}}
		s := serverOver(l.over(func(req *http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return grants(req, 3600), nil
		}))
		s.address.TokenEndpoint = example + "/token"
		s.limits = newLimiter(queue.Limits{AtOnce: 1, PerSecond: 0.5})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { _, _ = s.Token(t.Context(), robot, Grant{Type: "client_credentials"}) })
		}
		all.Wait()
		if l.most != 1 || within(l.asked, 2*time.Second) != 1 || len(l.asked) < 4 || s.Issuer().Limits.AtOnce != 1 {
			t.Errorf("asked %d times, %d at a time: %v", len(l.asked), l.most, l.asked)
		}
	})
}

// The limiter refuses at once who could not wait for the turn, when no context is
// done yet.
func TestATurnAfterTheDeadlineIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Address{TokenEndpoint: "https://iam.example.org/token"})
		s.limits.rate.Allow()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := s.Token(ctx, robot, Grant{Type: "client_credentials"})
		wants(t, err, "", agent.Transient, "token endpoint https://iam.example.org/token: no complete answer in time, which is at most 30s; see whether the issuer is overloaded, or the network slow")
		if len(s.limits.room) > 0 {
			t.Error("it still has its place")
		}
	})
}
