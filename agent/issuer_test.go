package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A fakeIssuer is a server that several sources ask.
type fakeIssuer struct {
	mu      sync.Mutex
	life    time.Duration
	takes   time.Duration
	fail    func(now time.Time) error
	hangs   bool
	at      []time.Time // when it was asked
	who     []string    // by which token, in that order
	running int
	most    int // requests at a time
}

// An issuerSource is a remote source that asks it.
type issuerSource struct {
	*fakeIssuer
	name string
	life time.Duration // zero: that of the issuer
}

func (s *issuerSource) Issue(ctx context.Context, _ Request) (Token, error) {
	s.mu.Lock()
	now, i := time.Now(), len(s.at)
	s.at, s.who = append(s.at, now), append(s.who, s.name)
	s.running++
	s.most = max(s.most, s.running)
	fail, hangs := s.fail, s.hangs
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.running--; s.mu.Unlock() }()
	if hangs {
		<-ctx.Done()
		return Token{}, ctx.Err()
	}
	time.Sleep(s.takes)
	if fail != nil {
		if err := fail(now); err != nil {
			return Token{}, err
		}
	}
	return Token{Secret: NewSecret(fmt.Sprintf("%s.%d", s.name, i)), Issued: now, Expires: now.Add(cmp.Or(s.life, s.fakeIssuer.life))}, nil
}

func (s *fakeIssuer) set(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

func (s *fakeIssuer) asked() []time.Time { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.at) }

func (s *fakeIssuer) names() []string { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.who) }

func (s *fakeIssuer) together() int { s.mu.Lock(); defer s.mu.Unlock(); return s.most }

// within is the most requests that began within a span of that length.
func within(at []time.Time, span time.Duration) (most int) {
	first := 0
	for i, t := range at {
		for t.Sub(at[first]) >= span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// crowd are n tokens of one issuer, with the jitter of that machine.
func crowd(i *fakeIssuer, n int, machine string) (renewers []Renewer, sinks []*expirySink) {
	for k := range n {
		name, sink := fmt.Sprintf("token%04d", k), &expirySink{}
		sinks = append(sinks, sink)
		renewers = append(renewers, Renewer{Name: name, Issuer: queue.Issuer{Name: "https://issuer.example.org"}, Source: &issuerSource{fakeIssuer: i, name: name}, Sinks: targets(sink), Schedule: Schedule{Jitter: Jitter(machine, name)}})
	}
	return renewers, sinks
}

var errDown = &Fault{Kind: Transient, Err: errors.New("connection refused")}

func TestAColdStartKeepsThePaceOfTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: time.Hour, takes: 300 * time.Millisecond}
		renewers, sinks := crowd(i, 1000, "host")
		started(t, silent(), renewers...)
		time.Sleep(210 * time.Second)
		for k, s := range sinks {
			if s.token().IsZero() {
				t.Fatalf("token %d is not there after 210 s", k)
			}
		}
		if n := within(i.asked(), time.Second); n > 5 {
			t.Errorf("%d requests within a second", n)
		}
		if i.together() > 2 {
			t.Errorf("%d requests at a time", i.together())
		}
	})
}

func TestAnOutageOf25MinutesLetsNoneOfAThousandExpire(t *testing.T) {
	seeds := 2
	if isLong() {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			outage(t, fmt.Sprintf("host%d", seed))
		})
	}
}

// isLong says whether tests that are shortened run in full, as in make test and CI.
func isLong() bool {
	return os.Getenv("TOKENAGENT_LONG") == "1" || os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1"
}

func outage(t *testing.T, machine string) {
	const n = 1000
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: time.Hour, takes: 200 * time.Millisecond}
		renewers, sinks := crowd(i, n, machine)
		started(t, mute(), renewers...)
		time.Sleep(n/5*time.Second + 10*time.Second)
		first := never // when the first is due
		expires := map[string]time.Time{}
		for k, s := range sinks {
			first = queue.Earlier(first, renewers[k].Schedule.Next(s.token()))
			expires[renewers[k].Name] = s.token().Expires
		}
		from := first.Add(-time.Second)
		back := from.Add(25 * time.Minute)
		i.set(func() {
			i.fail = func(now time.Time) error {
				if now.After(from) && now.Before(back) {
					return errDown
				}
				return nil
			}
		})
		time.Sleep(time.Until(back))
		during := len(i.asked())
		time.Sleep((n/5 + 60) * time.Second)
		for k, s := range sinks {
			if s.expired() > 0 {
				t.Errorf("token %d was expired for %v", k, s.expired())
			}
			if !s.token().Issued.After(from) {
				t.Errorf("token %d was not renewed within N/5 + 60 s", k)
			}
		}
		if asked := during - n; asked > 150 {
			t.Errorf("%d requests while the issuer was down", asked)
		}
		if within(i.asked(), time.Second) > 5 || i.together() > 2 {
			t.Errorf("%d requests within a second, %d at a time", within(i.asked(), time.Second), i.together())
		}
		inOrder(t, i.names()[during:], expires)
	})
}

// inOrder checks that those who had to wait went by what was left to them. A
// few that were probed last may come a little later.
func inOrder(t *testing.T, who []string, expires map[string]time.Time) {
	t.Helper()
	late, last := 0, time.Time{}
	for _, w := range who[:min(len(who), 900)] {
		if expires[w].Before(last) {
			late++
		}
		last = queue.Later(last, expires[w])
	}
	if late > 30 {
		t.Errorf("%d of the first 900 were asked for after one that had more time left", late)
	}
}

func TestASilentIssuerIsProbedByOneTokenAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		i := &fakeIssuer{life: time.Hour, takes: time.Second, fail: func(time.Time) error { return errDown }}
		renewers, _ := crowd(i, 100, "host")
		a := started(t, log, renewers...)
		time.Sleep(time.Hour)
		at := i.asked()
		if n := len(at); n < 25 || n > 90 {
			t.Errorf("%d requests in an hour of silence", n)
		}
		if n := within(at[10:], 5*time.Second); n > 1 {
			t.Errorf("%d probes within 5 s", n)
		}
		if n := strings.Count(text(), "issuer does not answer"); n != 1 {
			t.Errorf("said %d times that the issuer does not answer", n)
		}
		for _, s := range must(a.Status(t.Context())) {
			if s.Failing == nil || !strings.Contains(s.Failing.Error, "connection refused") || s.Failing.Retry.IsZero() {
				t.Errorf("%s fails with %+v", s.Name, s.Failing)
			}
		}
		i.set(func() { i.fail = nil })
		time.Sleep(3 * time.Minute)
		for _, s := range must(a.Status(t.Context())) {
			if s.State != Valid || s.Failing != nil {
				t.Errorf("%s is %s, fails with %+v", s.Name, s.State, s.Failing)
			}
		}
		if n := strings.Count(text(), "issuer answers again"); n != 1 {
			t.Errorf("said %d times that the issuer answers again", n)
		}
	})
}

func TestEachTokenThatReadersLackIsNamedWhenItsIssuerIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		i := &fakeIssuer{life: time.Hour}
		renewers, _ := crowd(i, 50, "host")
		heard := &heardCommand{}
		for k := range renewers {
			renewers[k].Hooks = []hooks.Hook{{Event: hooks.OnFailure, Key: "mail", Command: heard}}
		}
		started(t, log, renewers...)
		time.Sleep(20 * time.Minute)
		i.set(func() { i.fail = func(time.Time) error { return errDown } })
		time.Sleep(50 * time.Minute)
		for _, r := range renewers {
			if n := strings.Count(text(), "token="+r.Name+"\n"); n == 0 && !strings.Contains(text(), "token="+r.Name) {
				t.Errorf("%s has expired, and nothing was said of it", r.Name)
			}
		}
		for _, r := range renewers {
			if !heard.has(r.Name) {
				t.Errorf("no hook heard that %s fails", r.Name)
			}
		}
	})
}

// Only the token that was asked for fails. The others are good, and not due or in the queue.
func TestATokenThatNobodyAskedForDoesNotFailWithItsIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, heard := &fakeIssuer{life: 24 * time.Hour}, &heardCommand{}
		renewers, _ := crowd(i, 30, "host")
		for k := range renewers {
			renewers[k].Hooks = []hooks.Hook{{Event: hooks.OnFailure, Key: "mail", Command: heard}}
		}
		a := started(t, silent(), renewers...)
		time.Sleep(time.Hour)
		i.set(func() { i.fail, i.who = func(time.Time) error { return errDown }, nil })
		go a.Refresh(t.Context(), "token0000")
		time.Sleep(time.Hour)
		if s := statusOf(t, a, "token0001"); s.Failing != nil {
			t.Errorf("a token that is not due fails: %+v", s.Failing)
		}
		time.Sleep(16 * time.Hour) // most are due
		asked := i.names()
		for _, r := range renewers {
			if !slices.Contains(asked, r.Name) && heard.has(r.Name) {
				t.Errorf("a hook heard that %s fails, and nobody asked for it", r.Name)
			}
		}
	})
}

func TestAllTokensAreRenewedOnceTheirIssuerAnswersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: 24 * time.Hour}
		renewers, sinks := crowd(i, 8, "host")
		a := started(t, silent(), renewers...)
		time.Sleep(12 * time.Hour)
		i.set(func() { i.fail = func(time.Time) error { return errDown } })
		for range 4 { // some fail several times, and wait for long before they ask again; others are in the queue
			must(a.Refresh(t.Context()))
			time.Sleep(time.Second)
		}
		i.set(func() { i.fail = nil })
		must(a.Refresh(t.Context(), "token0007"))
		time.Sleep(5 * time.Second)
		for k, s := range sinks {
			if left := time.Until(s.token().Expires); left < 23*time.Hour {
				t.Errorf("token %d has %v left", k, left)
			}
		}
	})
}

// Each outage is counted by itself, by a clock that may be set meanwhile, and goes on over a
// reload.
func TestAnOutageIsToldAsLongAsItLasted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		clock, i := &steppedClock{}, &fakeIssuer{life: 24 * time.Hour}
		renewers, _ := crowd(i, 10, "host")
		a := begun(t, New(clock.now, log, renewers))
		for range 2 {
			time.Sleep(time.Hour)
			i.set(func() { i.fail = func(time.Time) error { return errDown } })
			go a.Refresh(t.Context())
			time.Sleep(30 * time.Minute)
			clock.step(-10 * time.Minute)
			time.Sleep(30 * time.Minute)
			must(a.Replace(t.Context(), renewers[:9]))
			i.set(func() { i.fail = nil })
			time.Sleep(time.Hour)
		}
		for _, line := range strings.Split(text(), "\n") {
			if _, outage, told := strings.Cut(line, "outage="); told && strings.Contains(line, "issuer answers again") && !strings.HasPrefix(outage, "1h") {
				t.Error(line)
			}
		}
		wantLines(t, text(), "issuer answers again", 2)
	})
}

func TestAReloadEndsTheWaitThatAnIssuerAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: 24 * time.Hour}
		renewers, sinks := crowd(i, 1, "host")
		a := started(t, silent(), renewers...)
		i.set(func() {
			i.fail = func(time.Time) error {
				return &Fault{Kind: Transient, RetryAfter: time.Hour, Err: errors.New("429")}
			}
		})
		time.Sleep(time.Minute)
		must(a.Refresh(t.Context()))
		i.set(func() { i.fail = nil })
		time.Sleep(time.Minute)
		n := len(i.asked())
		must(a.Replace(t.Context(), renewers))
		time.Sleep(time.Second)
		if len(i.asked()) != n+1 || time.Until(sinks[0].token().Expires) < 24*time.Hour-time.Minute {
			t.Errorf("asked %d times after the reload", len(i.asked())-n)
		}
	})
}

func TestRefreshComesBackThoughTheIssuerIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: time.Hour, takes: time.Second, fail: func(time.Time) error { return errDown }}
		renewers, _ := crowd(i, 50, "host")
		a := started(t, silent(), renewers...)
		time.Sleep(30 * time.Minute)
		before, begin := len(i.asked()), time.Now()
		all, err := a.Refresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := len(i.asked()) - before; n < 1 || n > 2 {
			t.Errorf("the issuer was asked %d times for it", n)
		}
		for _, s := range all {
			if s.Failing == nil {
				t.Errorf("%s does not fail", s.Name)
			}
		}
	})
}

func TestRetryAfterHoldsForAllTokensOfTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: time.Hour}
		renewers, _ := crowd(i, 20, "host")
		a := started(t, silent(), renewers...)
		time.Sleep(10 * time.Minute)
		asked := len(i.asked())
		i.set(func() {
			i.fail = func(time.Time) error {
				return &Fault{Kind: Transient, RetryAfter: 10 * time.Minute, Err: errors.New("429")}
			}
		})
		time.Sleep(22 * time.Minute) // the first falls due at 27 min
		if n := len(i.asked()) - asked; n != 1 {
			t.Errorf("%d requests within the time that the issuer asked for", n)
		}
		must(a.Refresh(t.Context(), "token0001"))
		if n := len(i.asked()) - asked; n != 2 {
			t.Errorf("%d requests, and a person asked for the second", n)
		}
		i.set(func() { i.fail = nil })
		time.Sleep(10*time.Minute + 10*time.Second)
		if n := len(i.asked()) - asked; n != 22 {
			t.Errorf("%d requests when that was over", n)
		}
	})
}

func TestRetryAfterNeverOutlivesAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: time.Hour}
		renewers, sinks := crowd(i, 20, "host")
		for k := range 10 { // these fall due first, and could wait for hours
			renewers[k].Source.(*issuerSource).life = 8 * time.Hour
			renewers[k].Schedule.At = 0.05
		}
		started(t, silent(), renewers...)
		time.Sleep(10 * time.Minute)
		busy := time.Now().Add(30 * time.Minute)
		i.set(func() {
			i.fail = func(now time.Time) error {
				if now.Before(busy) {
					return &Fault{Kind: Transient, RetryAfter: 24 * time.Hour, Err: errors.New("429")}
				}
				return nil
			}
		})
		time.Sleep(3 * time.Hour)
		for k, s := range sinks {
			if s.expired() > 0 {
				t.Errorf("token %d was expired for %v", k, s.expired())
			}
		}
	})
}

// One definition with several sinks is asked for once; several definitions are asked
// for each by itself, though they want the same.
func TestADefinitionIsAskedForByItselfWhateverItsSinks(t *testing.T) {
	for name, c := range map[string]struct{ definitions, sinks, least, most int }{
		"ten definitions":           {10, 1, 200, 230},
		"one definition, ten sinks": {1, 10, 20, 23},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := &fakeIssuer{life: time.Hour, takes: time.Second}
				shared := &issuerSource{fakeIssuer: i, name: "shared"}
				var renewers []Renewer
				var sinks []*expirySink
				for k := range c.definitions {
					r := Renewer{Name: fmt.Sprint(k), Issuer: queue.Issuer{Name: "https://issuer.example.org"}, Source: shared, Schedule: Schedule{Jitter: Jitter("host", fmt.Sprint(k))}}
					for range c.sinks {
						sinks = append(sinks, &expirySink{})
						r.Sinks = append(r.Sinks, Target{Sink: sinks[len(sinks)-1]})
					}
					renewers = append(renewers, r)
				}
				started(t, silent(), renewers...)
				time.Sleep(10 * time.Hour)
				if n := len(i.asked()); n < c.least || n > c.most {
					t.Errorf("asked %d times in ten hours", n)
				}
				for k, s := range sinks {
					if s.expired() > 0 || s.token().IsZero() {
						t.Errorf("sink %d was expired for %v", k, s.expired())
					}
				}
			})
		})
	}
}

func TestAHangingIssuerMakesNoLocalTokenLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{hangs: true}
		renewers, _ := crowd(i, 1000, "host")
		local := &fakeSource{life: time.Minute}
		late := &lateSink{}
		schedule := Schedule{Jitter: 0.5}
		renewers = append(renewers, Renewer{Name: "local", Source: local, Sinks: targets(late), Schedule: schedule})
		late.schedule = schedule
		started(t, silent(), renewers...)
		time.Sleep(time.Hour)
		late.mu.Lock()
		defer late.mu.Unlock()
		if late.most > time.Second || late.puts < 100 {
			t.Errorf("a local token was late by %v, of %d", late.most, late.puts)
		}
	})
}

// A lateSink tells how late its tokens come.
type lateSink struct {
	mu       sync.Mutex
	schedule Schedule
	last     Token
	most     time.Duration
	puts     int
}

func (s *lateSink) Put(_ context.Context, t Token) (Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() {
		s.most = max(s.most, time.Since(s.schedule.Next(s.last)))
	}
	s.last = t
	s.puts++
	return Written{Changed: true}, nil
}

func TestTheClockSetBackDoesNotCloseAnIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var step time.Duration
		i := &fakeIssuer{life: time.Hour}
		renewers, _ := crowd(i, 20, "host")
		a := New(hostClock, silent(), renewers)
		var mu sync.Mutex
		a.wall = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Round(0).Add(step) }
		begun(t, a)
		time.Sleep(time.Minute)
		mu.Lock()
		step = -2 * time.Hour
		mu.Unlock()
		n := len(i.asked())
		time.Sleep(time.Minute)
		if len(i.asked()) == n {
			t.Error("no token was renewed after the clock was set back")
		}
	})
}

// must is v where there is no error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A heardCommand remembers for which tokens it was run.
type heardCommand struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (c *heardCommand) Run(_ context.Context, _ hooks.Event, about []hooks.Notice) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range about {
		fmt.Fprintln(&c.all, n.Token)
	}
	return nil
}

func (c *heardCommand) has(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.all.String(), token+"\n")
}
