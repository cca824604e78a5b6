package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

func expiring(r []Renewer, c hooks.Command, before ...time.Duration) []Renewer {
	for i := range r {
		r[i].Decode = decodeFake
		for _, b := range before {
			r[i].Hooks = append(r[i].Hooks, hooks.Hook{Event: hooks.OnExpiring, Key: b.String(), Before: b, Command: c})
		}
	}
	return r
}

func down(time.Time) error { return errors.New("the issuer is down") }

func TestOnExpiringIsRunOnceForATokenThatIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
		started(t, silent(), expiring(onDisk(disk, source, "a"), c, 20*time.Minute, 5*time.Minute)...)
		time.Sleep(10 * time.Hour)
		if c.times() > 0 {
			t.Fatalf("while all is well: run %q", c.said())
		}
		source.set(func() { source.fail = down })
		asked := source.times()
		last := asked[len(asked)-1]
		for _, step := range []struct {
			left time.Duration
			want string
		}{{20*time.Minute + time.Second, ""}, {19 * time.Minute, "on_expiring a"}, {6 * time.Minute, "on_expiring a"},
			{4 * time.Minute, "on_expiring a, on_expiring a"}, {-time.Hour, "on_expiring a, on_expiring a"}} {
			time.Sleep(time.Until(last.Add(time.Hour - step.left)))
			if c.said() != step.want {
				t.Errorf("with %v left: run %q, want %q", step.left, c.said(), step.want)
			}
		}
		source.set(func() { source.fail = nil })
		time.Sleep(10 * time.Hour)
		if c.times() != 2 {
			t.Errorf("when all is well again: run %q", c.said())
		}
		source.set(func() { source.fail = down })
		time.Sleep(2 * time.Hour)
		if c.times() != 4 {
			t.Errorf("at the next outage: run %q", c.said())
		}
	})
}

func TestOnExpiringThatFailsIsRunAgainUntilTheTokenIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{fail: errors.New("exit status 1")}
		a := started(t, silent(), expiring(onDisk(disk, source, "a"), c, 20*time.Minute)...)
		synctest.Wait()
		source.set(func() { source.fail = down })
		time.Sleep(50 * time.Minute)
		n := c.times()
		if s := must(a.Status(t.Context()))[0]; n < 2 || len(s.Hooks) != 1 {
			t.Errorf("run %d times; status has %v", n, s.Hooks)
		}
		source.set(func() { source.fail = nil })
		must(a.Refresh(t.Context()))
		time.Sleep(20 * time.Minute)
		if s := must(a.Status(t.Context()))[0]; c.times() > n+1 || len(s.Hooks) != 0 {
			t.Errorf("run %d times more; status has %v", c.times()-n, s.Hooks)
		}
	})
}

// The lifetime of a token is not always known when its hook is decoded.
func TestOnExpiringWaitsForTheNormalRenewalOfAShortToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, c := &fakeDisk{}, &fakeSource{life: 10 * time.Minute}, &fakeCommand{}
		started(t, silent(), expiring(onDisk(disk, source, "a"), c, time.Hour)...)
		time.Sleep(10 * time.Hour)
		if c.times() > 0 {
			t.Errorf("while all is well: run %d times", c.times())
		}
		source.set(func() { source.fail = down })
		time.Sleep(10 * time.Minute)
		if c.times() != 1 {
			t.Errorf("run %d times", c.times())
		}
	})
}

func TestOnExpiringIsNotRunAgainByTheNextAgent(t *testing.T) {
	for name, c := range map[string]struct {
		until time.Duration // of the first agent
		want  int
	}{"heard": {50 * time.Minute, 1}, "not heard": {31 * time.Minute, 1}} {
		synctest.Test(t, func(t *testing.T) {
			disk, source, command := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
			records := &fakeRecords{disk: disk}
			set := func() []Renewer { return expiring(onDisk(disk, source, "a"), command, 20*time.Minute) }
			time.AfterFunc(time.Minute, func() { source.set(func() { source.fail = down }) })
			runFor(t, c.until, records, set()...)
			runFor(t, 25*time.Minute, records, set()...)
			runFor(t, time.Hour, records, set()...)
			if command.times() != c.want {
				t.Errorf("%s: run %q", name, command.said())
			}
		})
	}
}

func TestOnExpiringHearsOfATokenThatWasWrittenBeforeTheHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
		a := started(t, silent(), onDisk(disk, source, "a")...)
		synctest.Wait()
		source.set(func() { source.fail = down })
		time.Sleep(50 * time.Minute)
		must(a.Replace(t.Context(), expiring(onDisk(disk, source, "a"), c, 20*time.Minute)))
		time.Sleep(time.Minute)
		if c.times() != 1 {
			t.Errorf("run %q", c.said())
		}
	})
}

func TestLeftIsWhatIsLeftAtANormalRenewal(t *testing.T) {
	for _, c := range []struct {
		s          Schedule
		life, want time.Duration
	}{
		{Schedule{}, time.Hour, 30 * time.Minute},
		{Schedule{Jitter: 0.9}, time.Hour, 30 * time.Minute},
		{Schedule{}, 9 * time.Hour, 3 * time.Hour},
		{Schedule{At: 0.75}, time.Hour, 15 * time.Minute},
		{Schedule{MinRemaining: 50 * time.Minute}, time.Hour, 50 * time.Minute},
		{Schedule{MinRemaining: 5 * time.Minute}, time.Hour, 30 * time.Minute},
	} {
		if got := c.s.Left(c.life); got != c.want {
			t.Errorf("%+v of %v: %v is left, want %v", c.s, c.life, got, c.want)
		}
	}
}
