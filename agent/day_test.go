package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// TestADayOfTokensWithAnOutage holds the promise of the scheduler: with
// the issuer down for less than half of a token's life less two minutes, no
// reader finds an expired token.
func TestADayOfTokensWithAnOutage(t *testing.T) {
	lives := []time.Duration{time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour}
	tokens := 250
	if isLong() {
		tokens = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		outage := begin.Add(firstDue(tokens, lives).Sub(noon) - time.Second)
		down := func(now time.Time) error {
			if !now.Before(outage) && now.Before(outage.Add(28*time.Minute)) {
				return errors.New("connection refused")
			}
			return nil
		}
		var renewers []Renewer
		var sources []*fakeSource
		var sinks []*expirySink
		var most atomic.Int64 // goroutines while a source was asked
		for i := range tokens {
			source := &fakeSource{life: lives[i%len(lives)], takes: 100 * time.Millisecond, fail: down}
			sink := &expirySink{}
			sources, sinks = append(sources, source), append(sinks, sink)
			renewers = append(renewers, Renewer{
				Name: fmt.Sprint(i), Issuer: queue.Issuer{Name: fmt.Sprint("https://issuer", i%20)}, Source: remote{source, &most}, Sinks: targets(sink), Schedule: Schedule{Jitter: Jitter("host", fmt.Sprint(i))},
			})
		}
		started(t, mute(), renewers...)
		time.Sleep(24 * time.Hour)
		for i := range renewers {
			if gap := sinks[i].expired(); gap > 0 {
				t.Errorf("token %d of %v was expired for %v", i, sources[i].life, gap)
			}
			at := sources[i].times()
			if d := closest(at); d < betweenAttempts {
				t.Errorf("token %d: two attempts within %v", i, d)
			}
			if n, most := len(at), int(24*time.Hour/sources[i].life)*2*12/10+30; n > most {
				t.Errorf("token %d of %v: asked %d times in a day", i, sources[i].life, n)
			}
		}
		if n := most.Load(); n > 100 || n < 4 {
			t.Errorf("%d goroutines", n)
		}
	})
}

// firstDue is when the first one-hour token is due.
func firstDue(n int, lives []time.Duration) time.Time {
	first := noon.Add(time.Hour)
	for i := range n {
		if lives[i%len(lives)] == time.Hour {
			due := Schedule{Jitter: Jitter("host", fmt.Sprint(i))}.Next(lasting(time.Hour))
			first = slices.MinFunc([]time.Time{first, due}, time.Time.Compare)
		}
	}
	return first
}

func closest(at []time.Time) time.Duration {
	d := time.Hour
	for i := 1; i < len(at); i++ {
		d = min(d, at[i].Sub(at[i-1]))
	}
	return d
}

// remote is a source that counts the goroutines.
type remote struct {
	*fakeSource
	most *atomic.Int64
}

func (r remote) Issue(ctx context.Context, req Request) (Token, error) {
	if n := int64(runtime.NumGoroutine()); n > r.most.Load() {
		r.most.Store(n)
	}
	return r.fakeSource.Issue(ctx, req)
}

// expirySink adds up for how long its reader had an expired token.
type expirySink struct {
	mu   sync.Mutex
	last Token
	gap  time.Duration
}

func (s *expirySink) Put(_ context.Context, t Token) (Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !s.last.IsZero() && now.After(s.last.Expires) {
		s.gap += now.Sub(s.last.Expires)
	}
	s.last = t
	return Written{Changed: true}, nil
}

func (s *expirySink) token() Token { s.mu.Lock(); defer s.mu.Unlock(); return s.last }

func (s *expirySink) expired() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.After(s.last.Expires) {
		return s.gap + now.Sub(s.last.Expires)
	}
	return s.gap
}
