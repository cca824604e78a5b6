package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A steppedClock is a wall clock that can be set.
type steppedClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *steppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Round(0).Add(c.offset)
}

func (c *steppedClock) step(by time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.offset += by }

// source is s by this clock, as it is when s is asked.
func (c *steppedClock) source(s *fakeSource) Source { return clockedSource{s, c} }

type clockedSource struct {
	*fakeSource
	clock *steppedClock
}

func (s clockedSource) Issue(ctx context.Context, r Request) (Token, error) {
	sent := s.clock.now()
	t, err := s.fakeSource.Issue(ctx, r)
	t.Issued, t.Expires = sent, sent.Add(s.life)
	return t, err
}

func (c *steppedClock) started(t *testing.T, r Records, renewers ...Renewer) *Agent {
	a := New(silent(), renewers)
	a.wall = c.now
	if r != nil {
		a.Remember(r)
	}
	return begun(t, a)
}

func TestTokenFromTheFutureIsReplacedThoughTheFirstAttemptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source, sink := &steppedClock{}, &fakeSource{life: 12 * time.Hour}, &fakeSink{path: "/t/a"}
		clock.started(t, nil, Renewer{Name: "a", Source: clock.source(source), Sinks: []Sink{sink}})
		source.set(func() {
			source.fail = func(time.Time) error {
				if source.asked() == 2 {
					return errors.New("connection reset")
				}
				return nil
			}
		})
		clock.step(-3 * time.Hour)
		time.Sleep(2 * time.Minute)
		if got, _ := sink.holds(); got.Issued.After(clock.now()) || source.asked() != 3 {
			t.Errorf("asked %d times; the token is of %v ahead", source.asked(), got.Issued.Sub(clock.now()))
		}
	})
}

func TestTokenThatWasOnItsWayWhenTheClockWasSetBackIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source, sink := &steppedClock{}, &fakeSource{life: time.Hour, takes: 40 * time.Second}, &fakeSink{path: "/t/a"}
		clock.started(t, nil, Renewer{Name: "a", Source: clock.source(source), Sinks: []Sink{sink}})
		time.Sleep(10 * time.Second)
		clock.step(-2 * time.Hour)
		time.Sleep(2 * time.Minute)
		if got, puts := sink.holds(); got.Issued.After(clock.now()) || puts != 2 {
			t.Errorf("%d puts; the token is of %v ahead", puts, got.Issued.Sub(clock.now()))
		}
	})
}

func TestRecordsAreKeptAfterTheClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source, disk := &steppedClock{}, &fakeSource{life: time.Hour}, &fakeDisk{}
		records := &fakeRecords{disk: disk}
		clock.started(t, records, onDisk(disk, clock.source(source), "a")...)
		time.Sleep(20 * time.Second)
		before := records.times()
		clock.step(-24 * time.Hour)
		time.Sleep(10 * time.Hour)
		if n := records.times() - before; n < 15 || n > 25 {
			t.Errorf("kept %d times, with %d renewals", n, source.asked()-1)
		}
	})
}
