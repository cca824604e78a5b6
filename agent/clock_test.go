package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A steppedClock is a wall clock that can be set.
type steppedClock struct {
	mu     sync.Mutex
	offset time.Duration
	stands time.Time // the time that it shows all the time; zero: it goes
}

func (c *steppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stands.IsZero() {
		return c.stands
	}
	return time.Now().Round(0).Add(c.offset)
}

// stand has the clock stand still; go on with it.
func (c *steppedClock) stand() { now := c.now(); c.mu.Lock(); defer c.mu.Unlock(); c.stands = now }

// set has it show that time, and go on.
func (c *steppedClock) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stands, c.offset = time.Time{}, time.Until(to)
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
	a := New(c.now, silent(), renewers)
	if r != nil {
		a.Remember(r)
	}
	return begun(t, a)
}

func TestTokenFromTheFutureIsReplacedThoughTheFirstAttemptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source, sink := &steppedClock{}, &fakeSource{life: 12 * time.Hour}, &fakeSink{path: "/t/a"}
		clock.started(t, nil, Renewer{Name: "a", Source: clock.source(source), Sinks: targets(sink)})
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
		clock.started(t, nil, Renewer{Name: "a", Source: clock.source(source), Sinks: targets(sink)})
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

// What a reader finds while the clock is stepped, looked at every second: a token that
// has expired stays no longer than the loop sleeps, and its source is not stormed.
func TestReadersFindAValidTokenWhereverTheClockGoes(t *testing.T) {
	const life, hour, day = 30 * time.Second, time.Hour, 24 * time.Hour
	born := time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC)
	for name, steps := range map[string][]func(*steppedClock){
		"an hour on":         {func(c *steppedClock) { c.step(hour) }},
		"an hour back":       {func(c *steppedClock) { c.step(-hour) }},
		"half a life back":   {func(c *steppedClock) { c.step(-life / 2) }},
		"ten days on":        {func(c *steppedClock) { c.step(10 * day) }},
		"ten days on, back":  {func(c *steppedClock) { c.step(10 * day) }, func(c *steppedClock) { c.step(-10 * day) }},
		"1970":               {func(c *steppedClock) { c.set(born) }},
		"1970, and right":    {func(c *steppedClock) { c.set(born) }, func(c *steppedClock) { c.set(time.Now()) }},
		"it stands":          {(*steppedClock).stand},
		"it stands, and on":  {(*steppedClock).stand, func(c *steppedClock) { c.set(time.Now()) }},
		"back and forth":     {func(c *steppedClock) { c.step(-hour) }, func(c *steppedClock) { c.step(hour) }, func(c *steppedClock) { c.step(-hour) }},
		"back by little":     {func(c *steppedClock) { c.step(-2 * time.Second) }, func(c *steppedClock) { c.step(-2 * time.Second) }},
		"a suspend of a day": {func(c *steppedClock) { c.step(day) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, source, sink := &steppedClock{}, &fakeSource{life: life}, &fakeSink{path: "/t/a"}
				clock.started(t, nil, Renewer{Name: "a", Source: clock.source(source), Sinks: targets(sink)})
				time.Sleep(time.Minute)
				for _, step := range steps {
					step(clock)
					before, stale := source.asked(), 0
					for range 300 {
						time.Sleep(time.Second)
						if got, _ := sink.holds(); got.Expired(clock.now()) || got.Issued.After(clock.now().Add(life)) {
							stale++
						}
					}
					if stale > int(longestSleep/time.Second) {
						t.Errorf("for %d s there was no valid token", stale)
					}
					if n := source.asked() - before; n < 15 || n > 35 {
						t.Errorf("asked %d times in 5 minutes; want about 20", n)
					}
				}
			})
		})
	}
}

// A host without a battery for its clock starts in 1970. What lies in the files is good
// for everybody whose clock is right, and is not replaced by tokens of 1970.
func TestAWrongClockAtTheStartReplacesNoGoodToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source, disk := &steppedClock{}, &fakeSource{life: 24 * time.Hour}, &fakeDisk{}
		records := &fakeRecords{disk: disk}
		runFor(t, time.Minute, records, onDisk(disk, source, "a")...)
		clock.set(time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC))
		a := New(clock.now, silent(), onDisk(disk, clock.source(source), "a"))
		a.Built(time.Now().Add(-24 * time.Hour))
		a.Remember(records)
		begun(t, a)
		time.Sleep(5 * time.Minute)
		if n := source.asked(); n != 1 {
			t.Errorf("before the clock is right the source was asked %d times", n-1)
		}
		clock.set(time.Now())
		time.Sleep(5 * time.Minute)
		if n := source.asked(); n != 1 {
			t.Errorf("though the token is good still, the source was asked %d times", n-1)
		}
		time.Sleep(24 * time.Hour)
		if n := source.asked(); n != 2 {
			t.Errorf("in a day the source was asked %d times", n-1)
		}
	})
}

// Without the build date, or when nobody sets the clock, verifiers on the same host are
// all there is to serve.
func TestAClockThatStaysWrongGetsTokensOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source, disk := &steppedClock{}, &fakeSource{life: 24 * time.Hour}, &fakeDisk{}
		records := &fakeRecords{disk: disk}
		runFor(t, time.Minute, records, onDisk(disk, source, "a")...)
		clock.set(time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC))
		a := New(clock.now, silent(), onDisk(disk, clock.source(source), "a"))
		a.Built(time.Now().Add(-24 * time.Hour))
		a.Remember(records)
		begun(t, a)
		time.Sleep(clockPatience + time.Minute)
		if n := source.asked(); n != 2 || disk.at("/t/a") != "token.2" {
			t.Errorf("asked %d times; %s lies there", n-1, disk.at("/t/a"))
		}
	})
}

// What fails because the clock is wrong, as the check of a certificate does, is tried
// again when it is set back, and the outage has the length that it had.
func TestWhatFailsIsTriedAgainWhenTheClockIsSet(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"ahead": 400 * 24 * time.Hour, "behind": -20 * 366 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, source, sink := &steppedClock{offset: wrong}, &fakeSource{life: time.Hour}, &fakeSink{path: "/t/a"}
				source.fail = func(time.Time) error {
					if time.Until(clock.now()).Abs() > time.Minute {
						return &Fault{Kind: Configuration, Err: errors.New("its certificate expired")}
					}
					return nil
				}
				log, text := recording()
				begun(t, New(clock.now, log, []Renewer{{Name: "a", Source: clock.source(source), Sinks: targets(sink)}}))
				time.Sleep(30 * time.Minute)
				clock.set(time.Now())
				time.Sleep(longestSleep + time.Second)
				if _, puts := sink.holds(); puts != 1 {
					t.Errorf("it was not tried again\n%s", text())
				}
				if out := text(); !strings.Contains(out, "outage=30m") {
					t.Errorf("the outage was not one of 30 minutes:\n%s", out)
				}
			})
		})
	}
}

func TestAClockThatStandsIsLoggedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source := &steppedClock{}, &fakeSource{life: time.Minute, takes: 3 * time.Second}
		log, text := recording()
		begun(t, New(clock.now, log, []Renewer{{Name: "a", Source: clock.source(source), Sinks: targets(&fakeSink{path: "/t/a"})}}))
		time.Sleep(time.Minute)
		clock.stand()
		time.Sleep(150 * time.Minute)
		if n := strings.Count(text(), "the clock was set back"); n != 3 {
			t.Errorf("in 150 minutes it was logged %d times", n)
		}
	})
}

func TestFilesAreLookedAtThoughTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, source, sink := &steppedClock{}, &fakeSource{life: 24 * time.Hour}, &fakeSink{path: "/t/a"}
		clock.started(t, nil, Renewer{Name: "a", Source: clock.source(source), Sinks: targets(sink)})
		time.Sleep(6 * time.Hour)
		clock.step(-2 * time.Hour)
		time.Sleep(time.Minute)
		sink.set(func() { sink.difference, sink.token = "it is gone", Token{} })
		time.Sleep(2 * betweenLooks)
		if sink.text() != "token.1" {
			t.Errorf("there is %q", sink.text())
		}
	})
}

func TestHeartbeatIsByTheClockAsItIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &steppedClock{}
		a := clock.started(t, nil)
		time.Sleep(10 * time.Second)
		for _, by := range []time.Duration{time.Hour, -10 * 24 * time.Hour} {
			clock.step(by)
			if age := clock.now().Sub(a.Heartbeat()); age < 0 || age > longestSleep {
				t.Errorf("after a step of %v the loop seems to have stood still for %v", by, age)
			}
		}
	})
}

func TestTheClockOfAContextIsThatOfTheHostUnlessGiven(t *testing.T) {
	if ago := time.Since(Now(t.Context())); ago < -time.Second || ago > time.Minute {
		t.Errorf("it is %v off", ago)
	}
	at := time.Unix(1000, 0)
	ctx := context.WithoutCancel(WithClock(t.Context(), func() time.Time { return at }))
	if got := fmt.Sprint(Now(ctx).Unix()); got != "1000" {
		t.Error(got)
	}
}
