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

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// A fakeCommand remembers how it was run.
type fakeCommand struct {
	mu    sync.Mutex
	calls []string // "on_first a b"
	at    []time.Time
	takes time.Duration
	fail  error
	busy  bool
	twice bool // it was run while it ran
}

func (c *fakeCommand) Run(ctx context.Context, e hooks.Event, about []hooks.Notice) error {
	c.mu.Lock()
	words := []string{string(e)}
	for _, n := range about {
		words = append(words, n.Token)
	}
	c.calls, c.at = append(c.calls, strings.Join(words, " ")), append(c.at, time.Now())
	c.twice = c.twice || c.busy
	c.busy = true
	fail, takes := c.fail, c.takes
	c.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		fail = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	return fail
}

func (c *fakeCommand) set(f func()) { c.mu.Lock(); defer c.mu.Unlock(); f() }
func (c *fakeCommand) times() int   { c.mu.Lock(); defer c.mu.Unlock(); return len(c.calls) }
func (c *fakeCommand) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.calls, ", ")
}

func hooked(r []Renewer, c hooks.Command, on ...hooks.Event) []Renewer {
	for i := range r {
		r[i].Decode = decodeFake
		for _, e := range on {
			r[i].Hooks = append(r[i].Hooks, hooks.Hook{Event: e, Key: "condor_reconfig", Command: c})
		}
	}
	return r
}

// decodeFake takes any text that begins so for a token that lives for ever.
func decodeFake(s Secret) (Token, error) {
	if !strings.HasPrefix(s.Reveal(), "token.") {
		return Token{}, errors.New("no token")
	}
	return Token{Secret: s}, nil
}

func (s *diskSink) Read(context.Context) (Secret, error) {
	if text := s.disk.at(s.path); text != "" {
		return NewSecret(text), nil
	}
	return Secret{}, errors.New("it is not there")
}

func (c *fakeCommand) overlapped() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.twice }

func TestHooksRunOnceForAllTokensThatAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{takes: time.Second}
		started(t, silent(), hooked(onDisk(disk, source, "a", "b"), c, hooks.OnChange, hooks.OnFirst)...)
		time.Sleep(10 * time.Second)
		got := c.said()
		if got != "on_first a b, on_change a b" && got != "on_first b a, on_change b a" || c.overlapped() {
			t.Errorf("run: %s (two at a time: %v)", got, c.overlapped())
		}
		time.Sleep(40 * time.Minute)
		if again := strings.TrimPrefix(c.said(), got+", "); again != "on_change a b" && again != "on_change b a" {
			t.Errorf("at the renewal: %s", again)
		}
	})
}

func TestOnFirstIsOnlyForAPlaceWithoutAnAcceptableToken(t *testing.T) {
	for name, c := range map[string]struct{ before, want string }{
		"nothing": {"", "on_first a"},
		"rubbish": {"null", "on_first a"},
		"a token": {"token.of.another", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk, source, command := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
			disk.put("/t/a", c.before)
			started(t, silent(), hooked(onDisk(disk, source, "a"), command, hooks.OnFirst)...)
			time.Sleep(2 * time.Hour)
			if got := command.said(); got != c.want {
				t.Errorf("%s: run %q, want %q", name, got, c.want)
			}
		})
	}
}

func TestAnExpiredTokenIsNoAcceptableOneForOnFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, c := &fakeSource{life: time.Hour}, &fakeCommand{}
		r := hooked([]Renewer{{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"})}}, c, hooks.OnFirst)
		started(t, silent(), r...)
		time.Sleep(20 * time.Minute)
		source.set(func() { source.fail = down })
		time.Sleep(time.Hour)
		source.set(func() { source.fail = nil })
		time.Sleep(time.Hour)
		if c.said() != "on_first a, on_first a" {
			t.Errorf("run %q", c.said())
		}
	})
}

func TestFailingHookIsRunAgainAndDelaysNoRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out hosttest.Buffer
		log := silent()
		log.Out = &out
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		c := &fakeCommand{takes: 30 * time.Second, fail: errors.New("exit status 1")}
		a := started(t, log, hooked(onDisk(disk, source, "a"), c, hooks.OnFirst)...)
		time.Sleep(50 * time.Minute)
		if source.asked() != 2 {
			t.Errorf("asked %d times", source.asked())
		}
		all, _ := a.Status(t.Context())
		if len(all[0].Hooks) != 1 || all[0].Hooks[0].Failing.Error != "exit status 1" || all[0].State != Valid {
			t.Errorf("status %+v", all[0])
		}
		if n := c.times(); n < 15 || n > 40 {
			t.Errorf("run %d times in 50 minutes", n)
		}
		c.set(func() { c.fail = nil })
		time.Sleep(10 * time.Minute)
		n := c.times()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if c.times() != n {
			t.Error("it is run again after it succeeded")
		}
		if strings.Count(out.String(), "hook failed") != 1 || strings.Count(out.String(), "hook works again") != 1 {
			t.Errorf("log:\n%s", out.String())
		}
	})
}

func TestAHookThatIsTooEarlyIsTriedAgainQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out hosttest.Buffer
		log := silent()
		log.Out = &out
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		c := &fakeCommand{fail: &Fault{Expected: true, Err: errors.New("nobody to talk to")}}
		a := started(t, log, hooked(onDisk(disk, source, "a"), c, hooks.OnFirst)...)
		time.Sleep(5 * time.Hour)
		told, err := a.Status(t.Context())
		if err != nil || len(told[0].Hooks) != 1 || !told[0].Hooks[0].Early {
			t.Errorf("status says %+v, %v", told, err)
		}
		before := c.times()
		c.set(func() { c.fail = nil })
		time.Sleep(tooEarly + time.Second)
		synctest.Wait()
		if c.times() != before+1 {
			t.Errorf("run %d times in the half minute after there was somebody", c.times()-before)
		}
		if got := out.String(); strings.Count(got, "too early") != 1 || strings.Contains(got, "level=error") || strings.Contains(got, "hook failed") || !strings.Contains(got, "hook works again") {
			t.Errorf("log:\n%s", got)
		}
	})
}

func TestPendingHookRunsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		records, c := &fakeRecords{disk: disk}, &fakeCommand{}
		runFor(t, 500*time.Millisecond, records, hooked(onDisk(disk, source, "a"), c, hooks.OnFirst, hooks.OnChange)...) // stopped before the hooks were due
		if got := c.said(); got != "" || len(records.due()) != 2 {
			t.Fatalf("run %q, due %v", got, records.due())
		}
		runFor(t, time.Minute, records, hooked(onDisk(disk, source, "a"), c, hooks.OnFirst, hooks.OnChange)...)
		if got := c.said(); got != "on_first a, on_change a" || len(records.due()) != 0 || source.asked() != 1 {
			t.Errorf("run %q, due %v, asked %d times", got, records.due(), source.asked())
		}
		runFor(t, time.Minute, records, hooked(onDisk(disk, source, "a"), c, hooks.OnFirst, hooks.OnChange)...)
		if got := c.said(); got != "on_first a, on_change a" {
			t.Errorf("run again: %q", got)
		}
	})
}

func TestHookThatIsInterruptedByTheEndStaysPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		records, c := &fakeRecords{disk: disk}, &fakeCommand{takes: time.Hour}
		runFor(t, 5*time.Second, records, hooked(onDisk(disk, source, "a"), c, hooks.OnFirst)...)
		if len(records.due()) != 1 || c.said() != "on_first a" {
			t.Errorf("due %v, run %q", records.due(), c.said())
		}
	})
}

func TestHooksTellOfFailureAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		source := &fakeSource{life: time.Hour, fail: func(now time.Time) error {
			if d := now.Sub(begin); d > time.Minute && d < 40*time.Minute {
				return errors.New("down")
			}
			return nil
		}}
		c := &fakeCommand{}
		started(t, silent(), hooked(onDisk(&fakeDisk{}, source, "a"), c, hooks.OnFailure, hooks.OnRecover)...)
		time.Sleep(50 * time.Minute)
		if got := c.said(); got != "on_failure a, on_recover a" {
			t.Errorf("run %q", got)
		}
	})
}

// A commandFor remembers of which files it was told.
type commandFor struct {
	mu    sync.Mutex
	paths []string
}

func (c *commandFor) Run(_ context.Context, e hooks.Event, about []hooks.Notice) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range about {
		c.paths = append(c.paths, string(e)+" "+n.Path)
	}
	return nil
}

func TestAFailureIsToldOfAFileThatTheTokenHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{life: 24 * time.Hour, fail: func(time.Time) error { return errors.New("down") }}
		disk, c := &fakeDisk{}, &commandFor{}
		a := started(t, silent(), hooked(onDisk(disk, source, "a"), c, hooks.OnFailure)...)
		moved := hooked(onDisk(disk, source, "a"), c, hooks.OnFailure)
		moved[0].Digest, moved[0].Sinks = "2", targets(&diskSink{disk: disk, path: "/t/b"})
		if _, err := a.Replace(t.Context(), moved); err != nil { // while the hook waits
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		c.mu.Lock()
		defer c.mu.Unlock()
		if got := strings.Join(c.paths, ", "); got != "on_failure /t/b" {
			t.Errorf("run: %s", got)
		}
	})
}

func TestAFailureIsToldOfTheFileThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &commandFor{}
		good, bad := &fakeSink{path: "/t/good"}, &fakeSink{path: "/t/bad", fail: errors.New("disk full")}
		started(t, silent(), hooked([]Renewer{{Name: "a", Source: &fakeSource{life: 24 * time.Hour}, Sinks: targets(good, bad)}}, c, hooks.OnFailure)...)
		time.Sleep(time.Minute)
		c.mu.Lock()
		defer c.mu.Unlock()
		if got := strings.Join(c.paths, ", "); got != "on_failure /t/bad" {
			t.Errorf("run: %s", got)
		}
	})
}

func TestAHookThatFailsIsLoggedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		c := &fakeCommand{fail: errors.New("no")}
		started(t, log, hooked(onDisk(&fakeDisk{}, &fakeSource{life: 24 * time.Hour}, "a"), c, hooks.OnFirst)...)
		time.Sleep(5*time.Hour + 30*time.Minute)
		if n := strings.Count(text(), `msg="hook failed"`); n < 4 || n > 6 || c.times() <= n {
			t.Errorf("it was run %d times, and logged %d times", c.times(), n)
		}
	})
}

// A hook for failures that fails is no longer due when the token works again.
func TestAHookThatIsDueForTheNextFailureHasNotFailedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := func(time.Time) error { return errors.New("down") }
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour, fail: down}
		c := &fakeCommand{fail: errors.New("exit status 1")}
		a := started(t, silent(), hooked(onDisk(disk, source, "a"), c, hooks.OnFailure)...)
		time.Sleep(10 * time.Minute)
		source.set(func() { source.fail = nil })
		time.Sleep(10 * time.Minute)
		c.set(func() { c.calls = nil })
		source.set(func() { source.fail = down })
		for c.times() == 0 {
			time.Sleep(time.Second)
		}
		all, _ := a.Status(t.Context())
		if len(all[0].Hooks) != 1 || all[0].Hooks[0].Failing.Failures != 1 {
			t.Errorf("after its first run for the next failure: %+v", all[0].Hooks)
		}
	})
}

func TestReloadMendsAHookThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		wrong, right := &fakeCommand{fail: &Fault{Kind: Configuration, Err: errors.New("no such file")}}, &fakeCommand{}
		a := started(t, silent(), hooked(onDisk(disk, source, "a"), wrong, hooks.OnFirst)...)
		time.Sleep(time.Hour)
		mended := hooked(onDisk(disk, source, "a"), right, hooks.OnFirst)
		mended[0].Hooks[0].Key = "another"
		if _, err := a.Replace(t.Context(), mended); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		n := wrong.times()
		time.Sleep(time.Hour)
		if right.said() != "on_first a" || wrong.times() != n || source.asked() != 1 {
			t.Errorf("run %q; the wrong one went on %d times; asked %d times", right.said(), wrong.times()-n, source.asked())
		}
	})
}

func TestAReloadRunsAHookThatFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, c := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}, &fakeCommand{fail: errors.New("no")}
		set := func() []Renewer { return hooked(onDisk(disk, source, "a"), c, hooks.OnFirst) }
		a := started(t, silent(), set()...)
		time.Sleep(time.Hour)
		for n := c.times(); c.times() == n; { // then the next attempt is minutes away
			time.Sleep(time.Second)
		}
		n := c.times()
		c.set(func() { c.fail = nil })
		must(a.Replace(t.Context(), set()))
		time.Sleep(5 * time.Second)
		if c.times() != n+1 || len(statusOf(t, a, "a").Hooks) != 0 {
			t.Errorf("it ran %d times; the status has %+v", c.times()-n, statusOf(t, a, "a").Hooks)
		}
	})
}

// There is a record of what hooks have heard, though there is none of the file itself.
func TestAHookOfAFileThatCannotBeAdoptedRunsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records, source, c := &fakeRecords{disk: &fakeDisk{}}, &fakeSource{life: time.Hour}, &fakeCommand{fail: errors.New("no")}
		set := func() []Renewer {
			return hooked([]Renewer{{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"}), Digest: "1"}}, c, hooks.OnChange)
		}
		runFor(t, 30*time.Second, records, set()...)
		source.set(func() { source.fail = down })
		c.set(func() { c.calls, c.fail = nil, nil })
		runFor(t, 30*time.Second, records, set()...)
		if c.said() != "on_change a" || len(records.due()) != 0 {
			t.Errorf("run %q, due %v", c.said(), records.due())
		}
	})
}

func TestOnceRunsTheHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := &fakeCommand{takes: 5 * time.Second}, &fakeCommand{fail: errors.New("exit status 1")}
		set := hooked(onDisk(&fakeDisk{}, &fakeSource{life: time.Hour}, "a"), good, hooks.OnFirst)
		set[0].Hooks = append(set[0].Hooks, hooks.Hook{Event: hooks.OnChange, Key: "bad", Command: bad})
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		all := New(hostClock, silent(), set).Once(ctx)
		if n := bad.times(); good.said() != "on_first a" || n < 3 || len(all[0].Hooks) != 1 {
			t.Errorf("run %q, and the failing one %d times; %+v", good.said(), n, all[0].Hooks)
		}
		if took := time.Since(begin); took != 2*time.Minute {
			t.Errorf("took %v, though a hook might have come to work", took)
		}
		bad.set(func() { bad.fail = &Fault{Kind: Configuration, Err: errors.New("no such file")} })
		begin = time.Now()
		New(hostClock, silent(), set).Once(ctx)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("took %v, though the hook cannot come to work", took)
		}
	})
}

func TestHookThatPanicsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := started(t, silent(), hooked(onDisk(&fakeDisk{}, &fakeSource{life: time.Hour}, "a"), wildCommand{}, hooks.OnFirst)...)
		time.Sleep(10 * time.Second)
		all, err := a.Status(t.Context())
		if err != nil || len(all[0].Hooks) != 1 || !strings.Contains(fmt.Sprint(all[0].Hooks), "panic") {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

type wildCommand struct{}

func (wildCommand) Run(context.Context, hooks.Event, []hooks.Notice) error { panic("eyJ") }

// A lastWord is what hooks heard last of each token.
type lastWord struct {
	mu   sync.Mutex
	last map[string]hooks.Event
}

func (w *lastWord) Run(_ context.Context, e hooks.Event, about []hooks.Notice) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range about {
		w.last[n.Token] = e
	}
	return nil
}

func TestTheLastThatIsHeardOfATokenIsHowItIs(t *testing.T) {
	down := func(time.Time) error { return &Fault{Kind: Configuration, Err: errors.New("x")} }
	for _, last := range []hooks.Event{hooks.OnFailure, hooks.OnRecover} {
		synctest.Test(t, func(t *testing.T) {
			w := &lastWord{last: map[string]hooks.Event{}}
			both := []hooks.Hook{{Event: hooks.OnFailure, Key: "f", Command: w}, {Event: hooks.OnRecover, Key: "r", Command: w}}
			x, y := &fakeSource{life: time.Hour}, &fakeSource{life: time.Hour}
			a := started(t, silent(), Renewer{Name: "x", Source: x, Sinks: targets(&expirySink{}), Hooks: both},
				Renewer{Name: "y", Source: y, Sinks: targets(&expirySink{}), Hooks: both})
			turn := func(name string, s *fakeSource, to hooks.Event) {
				s.set(func() { s.fail = nil })
				if to == hooks.OnFailure {
					s.set(func() { s.fail = down })
				}
				must(a.Refresh(t.Context(), name))
			}
			other := map[hooks.Event]hooks.Event{hooks.OnFailure: hooks.OnRecover, hooks.OnRecover: hooks.OnFailure}[last]
			turn("x", x, last)
			turn("y", y, other)
			time.Sleep(10 * time.Second)
			turn("y", y, last) // whose hook will be run for x as well
			time.Sleep(200 * time.Millisecond)
			turn("x", x, other)
			time.Sleep(300 * time.Millisecond)
			turn("x", x, last)
			time.Sleep(10 * time.Second)
			w.mu.Lock()
			defer w.mu.Unlock()
			if x, told := w.last["x"]; w.last["y"] != last || told && x != last || !told && last == hooks.OnFailure {
				t.Errorf("heard last %v; both end with %s", w.last, last) // of x no hook heard that it failed
			}
		})
	}
}
