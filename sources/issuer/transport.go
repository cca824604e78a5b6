package issuer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// bounds are what one request may take.
type bounds struct {
	connect time.Duration // until there is a connection
	tls     time.Duration // for its handshake
	header  time.Duration // until the answer begins
	total   time.Duration // until it is complete
	body    int64         // bytes
	idle    time.Duration // how long a connection is kept for the next request
}

// usual are the bounds outside of tests. Connections are kept for less than
// servers keep them (5 s by node.js): a POST on one that the server is about to
// close is lost, and perhaps a refresh token with it.
var usual = bounds{
	connect: 10 * time.Second,
	tls:     10 * time.Second,
	header:  20 * time.Second,
	total:   30 * time.Second,
	body:    1 << 20,
	idle:    4 * time.Second,
}

// mostRedirects are followed for metadata and keys.
const mostRedirects = 3

// A reply is an answer that has come in whole.
type reply struct {
	sent, received time.Time
	status         int
	date           time.Time      // when it was made, by the server's clock; zero: it did not say
	retryAfter     time.Duration  // 0: it did not say
	object         map[string]any // the members of the body; nil where it is not a JSON object
}

func (r *reply) ok() bool { return r.status >= 200 && r.status < 300 }

// A slot in the context of a request receives its reply, because libraries that make the
// request do not return it.
type slot = atomic.Pointer[reply]

type slotKey struct{}

func withSlot(ctx context.Context) (context.Context, *slot) {
	taken := new(slot)
	return context.WithValue(ctx, slotKey{}, taken), taken
}

// client asks over connections with that certificate.
func (s *Server) client(c certificate) *http.Client {
	return &http.Client{Transport: asking{s, c}, CheckRedirect: checkRedirect}
}

// asking makes every request to the issuer within the limits, and reads every answer within its
// bounds.
type asking struct {
	*Server
	certificate certificate
}

// RoundTrip makes the request and reads the whole answer. All of its errors are faults. An
// answer whose status refuses the request is not an error.
func (a asking) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := CheckURL(req.URL.String()); err != nil {
		return nil, misconfigured("%s: %w", cut(req.URL.Redacted()), err)
	}
	leave, err := a.enter(req.Context())
	if err != nil {
		return nil, unreachable(err, a.bounds)
	}
	defer leave()
	wire, err := a.line(req.Context(), a.certificate)
	if err != nil {
		return nil, &agent.Fault{Kind: agent.Configuration, Err: err}
	}
	ctx, cancel := context.WithTimeout(req.Context(), a.bounds.total)
	defer cancel()
	sent := agent.Now(ctx)
	resp, err := wire.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, unreachableAt(agent.Now(ctx), err, a.bounds)
	}
	defer resp.Body.Close()
	r, body, err := a.read(ctx, resp, sent)
	if err != nil {
		return nil, postponed(err, retryAfterOf(resp, agent.Now(ctx)))
	}
	a.note(r)
	if taken, ok := req.Context().Value(slotKey{}).(*slot); ok {
		taken.Store(r)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// enter waits until the limits of the issuer allow one more request. The caller calls leave when
// it is over.
func (s *Server) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.limits.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := s.limits.rate.Wait(ctx); err != nil {
		<-s.limits.room
		return nil, cmp.Or(context.Cause(ctx), context.DeadlineExceeded) // it is refused at once where the turn comes after the deadline
	}
	return func() { <-s.limits.room }, nil
}

// read reads the answer. What a server says beside a status that refuses need not
// be ours to understand: a proxy's page is taken for an empty body.
func (s *Server) read(ctx context.Context, resp *http.Response, sent time.Time) (*reply, []byte, error) {
	if resp.StatusCode == http.StatusSwitchingProtocols { // then nothing bounds what follows, and it may never end
		return nil, nil, transient("its answer has the status %s, though it was not asked for; see what stands between", statusText(resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, s.bounds.body+1))
	r := newReply(resp, sent, agent.Now(ctx))
	refused := !r.ok()
	switch {
	case err != nil && refused: // its status says enough
		return r, nil, nil
	case err != nil:
		return nil, nil, unreachable(err, s.bounds)
	case int64(len(body)) > s.bounds.body && !refused:
		return nil, nil, transient("its answer is larger than %d bytes, which no token response, metadata or key set is", s.bounds.body)
	}
	object, err := members(resp, body)
	if err != nil && ctx.Value(anyBody{}) != nil && !refused && !beginsPage(body) {
		return r, nil, nil
	}
	if err != nil && refused {
		if code := codeIn(resp, body); code != "" {
			r.object = map[string]any{"error": code}
		}
		return r, nil, nil
	}
	r.object = object
	return r, body, err
}

// postponed is the fault with the Retry-After of the answer that it is about, which
// holds whatever else that says.
func postponed(err error, retryAfter time.Duration) error {
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok {
		return err
	}
	return &agent.Fault{Kind: f.Kind, RetryAfter: retryAfter, Err: f.Err}
}

func newReply(resp *http.Response, sent, received time.Time) *reply {
	r := &reply{sent: sent, received: received, status: resp.StatusCode}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.Header.Get("Age") == "" {
		r.date = date // that of a cached answer tells nothing of a clock
	}
	r.retryAfter = retryAfterOf(resp, received)
	return r
}

// retryAfterOf is the Retry-After of an answer; a date is meant by the server's own
// clock, if it tells that.
func retryAfterOf(resp *http.Response, received time.Time) time.Duration {
	now := received
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		now = date
	}
	return parseRetryAfter(resp.Header.Get("Retry-After"), now)
}

// members reads the body of an answer.
func members(resp *http.Response, body []byte) (map[string]any, error) {
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, unfit("its answer is compressed, though it was not asked for; see what stands between")
	}
	object, err := decodeObject(body) // whatever its type says: web servers do not know that of a simple issuer's files
	if kind := resp.Header.Get("Content-Type"); err != nil && !isJSON(kind) && len(body) > 0 {
		return nil, unfit("its answer is %s and not JSON; see whether that is the issuer, or a page of something between", kindOfContent(kind))
	}
	if err != nil {
		return nil, unfit("its answer with status %d cannot be used: %w; see whether the address is right, and what answers there", resp.StatusCode, err)
	}
	return object, nil
}

// isJSON reports whether a Content-Type is that of JSON, or none in particular.
func isJSON(kind string) bool {
	media, _, _ := mime.ParseMediaType(kind)
	switch media {
	case "application/json", "", "text/plain", "application/octet-stream":
		return true
	}
	return strings.HasSuffix(media, "+json") // RFC 6839 section 3.1
}

// kindOfContent names a Content-Type in our own words, since it may hold anything.
func kindOfContent(kind string) string {
	media, _, _ := mime.ParseMediaType(kind)
	switch media {
	case "text/html", "application/xhtml+xml":
		return "an HTML page"
	case "application/x-www-form-urlencoded":
		return "a form"
	default:
		return "of another type"
	}
}

// decodeObject reads the body: one JSON object in which no name occurs twice, of
// which two readers could take different ones.
func decodeObject(body []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errors.New("it is empty")
	}
	value, err := profile.DecodeValue(body)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	switch {
	case !ok:
		return nil, errors.New("it is not a JSON object")
	case profile.HoldsNUL(object):
		return nil, profile.ErrNUL
	}
	return object, nil
}

// checkRedirect follows redirects of metadata and keys on the same host. A token
// request is followed nowhere: it holds secrets, and is counted.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	target := cut(req.URL.Scheme + "://" + req.URL.Host)
	switch {
	case via[0].Method != http.MethodGet:
		return transient("it redirects to %s, and a token request is not sent elsewhere; if the token endpoint has moved, give its address as token_endpoint; else the issuer must correct its metadata", target)
	case req.URL.Scheme != "https":
		return unfit("it redirects to %s, which is not https and not followed", target)
	case req.URL.Host != first.Host:
		return unfit("it redirects to another host, %s, which is not followed", target)
	case len(via) > mostRedirects:
		return unfit("it redirects more than %d times; see what answers there", mostRedirects)
	}
	return nil
}

// An instant is one moment by both clocks.
type instant struct{ wall, mono time.Time }

// suspended is how much further the time of day than the monotonic clock must
// have run for the host to have slept meanwhile.
const suspended = 5 * time.Second

// sleptSince reports whether the host was suspended since then: whatever was
// connected is no more, and nobody told us.
func (i instant) sleptSince(then instant) bool {
	return !then.mono.IsZero() && i.wall.Sub(then.wall)-i.mono.Sub(then.mono) > suspended
}

func transient(format string, args ...any) *agent.Fault {
	return &agent.Fault{Kind: agent.Transient, Err: fmt.Errorf(format, args...)}
}

func misconfigured(format string, args ...any) *agent.Fault {
	return &agent.Fault{Kind: agent.Configuration, Err: fmt.Errorf(format, args...)}
}
