package issuer

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// A span is the least and the most that something lasts.
type span struct{ least, most time.Duration }

func (s span) has(d time.Duration) bool { return d >= s.least && d <= s.most+time.Second }

// waits are what follows the first and the fourth failure in a row, of a token of
// an hour that was due at half of its life: by the kind of the failure, and by its
// Retry-After. That of days ends each time at half of what remains of the token.
var waits = map[agent.Kind]map[string][2]span{
	agent.Transient: {
		"":   {{5 * time.Second, 10 * time.Second}, {40 * time.Second, 80 * time.Second}},
		"2m": {{2 * time.Minute, 2 * time.Minute}, {2 * time.Minute, 2 * time.Minute}},
		"1d": {{15 * time.Minute, 1000 * time.Second}, {110 * time.Second, 125 * time.Second}},
	},
	agent.Configuration: {
		"":   {{5 * time.Second, 10 * time.Second}, {10 * time.Minute, 30 * time.Minute}},
		"2m": {{2 * time.Minute, 2 * time.Minute}, {10 * time.Minute, 30 * time.Minute}},
		"1d": {{15 * time.Minute, 1000 * time.Second}, {10 * time.Minute, 30 * time.Minute}},
	},
}

// means is which of waits belongs to each of retryAfters.
var means = map[string]string{
	"": "", "0": "", "1": "", "120": "2m", "9999999999": "1d",
	"Thu, 01 Jan 1970 00:00:00 GMT": "", "Fri, 31 Dec 9999 23:59:59 GMT": "1d", "soon": "",
}

// Every status, with every error of OAuth and every Retry-After, has an Agent wait
// as it should.
func TestTheWaitAfterEveryRefusal(t *testing.T) {
	for status, kinds := range kindsByStatus() {
		for n, code := range errorCodes {
			for _, retryAfter := range retryAfters {
				what := fmt.Sprintf("%d %q Retry-After %q", status, code, retryAfter)
				want, known := waits[kinds[n]][means[retryAfter]]
				if !known {
					t.Fatalf("%s: nothing is said of it", what)
				}
				failed := failures(t, status, code, retryAfter)
				if len(failed) < 5 {
					t.Fatalf("%s: it was asked %d times", what, len(failed))
				}
				if first, fourth := failed[1].Sub(failed[0]), failed[4].Sub(failed[3]); !want[0].has(first) || !want[1].has(fourth) {
					t.Errorf("%s: it was asked again after %v, and after the fourth time after %v; want %v", what, first, fourth, want)
				}
			}
		}
	}
}

// failures are the times at which an issuer was asked that has given a token once,
// and refuses it from then on.
func failures(t *testing.T, status int, code, retryAfter string) (at []time.Time) {
	synctest.Test(t, func(t *testing.T) {
		ctx, enough := context.WithCancel(t.Context())
		had := false
		s := serverOver(func(req *http.Request) (*http.Response, error) {
			switch {
			case req.Method == http.MethodGet:
				return exampleMetadata(req), nil
			case !had:
				had = true
				return grants(req, 3600), nil
			}
			if at = append(at, time.Now()); len(at) == 5 {
				enough()
			}
			return says(req, status, code, retryAfter), nil
		})
		keepFresh(ctx, s, never, 1, 2*time.Hour)
	})
	return at
}
