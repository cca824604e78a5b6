package agent

import (
	"context"
	"time"
)

// hostClock is the time of day of this host. It goes on while the host is suspended,
// and jumps when somebody sets it.
func hostClock() time.Time { return time.Now().Round(0) }

type clockKey struct{}

// WithClock returns ctx with another time of day than that of the host, in wall. It is
// for tests that step the clock of a whole program.
func WithClock(ctx context.Context, wall func() time.Time) context.Context {
	return context.WithValue(ctx, clockKey{}, wall)
}

// Now is the time of day for whoever works with ctx. Sources and Sinks ask it in place
// of time.Now where they count in what others read, such as the expiry of a token.
func Now(ctx context.Context) time.Time { return ClockOf(ctx)() }

// ClockOf is the clock that Now reads. It has no monotonic part.
func ClockOf(ctx context.Context) func() time.Time {
	if wall, ok := ctx.Value(clockKey{}).(func() time.Time); ok {
		return wall
	}
	return hostClock
}

const (
	leastStep        = time.Second          // of the wall clock that is noticed
	clockBackAllowed = time.Minute          // by which a token may be issued in the future
	mostSuspended    = 366 * 24 * time.Hour // a clock that runs ahead by more was wrong before
	clockPatience    = 10 * time.Minute     // for a clock that is wrong at the start, before a token from its future is replaced
)

// Built tells the Agent when the program was made: a clock before that is wrong, as
// that of a host without a battery is until it has asked for the time. Then a token
// that is issued in the future is left in its place, since it is good for everybody
// whose clock is right. It is to be called before Remember.
func (a *Agent) Built(at time.Time) { a.built = at }

func (a *Agent) clockIsWrong() bool { return a.now.Before(a.built) }

// readClock reads the wall clock and notices when it was set. A clock that stands
// still is one that is set back all the time.
func (a *Agent) readClock() {
	a.now, a.mono = a.wall(), time.Now()
	a.pool.Tell(a.instant())
	step := a.now.Sub(a.base.Wall) - a.mono.Sub(a.base.Mono)
	if step.Abs() <= leastStep {
		return
	}
	a.base = a.instant()
	switch {
	case step < 0:
		a.clockWentBack(step)
	case step > mostSuspended:
		a.clockWasWrong(step)
	}
}

// clockWentBack moves all that was counted by the old time: a token is renewed when
// either clock says so. Tokens that verifiers would now find issued in the future are
// renewed at once, and so is what fails, since that may have been the clock's fault.
func (a *Agent) clockWentBack(step time.Duration) {
	a.sayStep(step)
	a.lookSlot = a.lookSlot.Add(step)
	a.shift(step)
	for _, e := range a.entries {
		for _, d := range e.duties {
			due := d.Due.Add(step)
			switch {
			case d.sink != nil:
			case e.fromTheFuture(a.now) && !a.clockIsWrong(), d.Running() && step < -clockBackAllowed:
				d.asked = true
			case step < -clockBackAllowed && d.trouble.failures > 0:
				due = a.now
			}
			if d.Scheduled() {
				a.schedule(d, due)
			}
		}
	}
	if step < -clockBackAllowed {
		a.pool.RetryNow()
	}
	a.kept, a.checked = earlier(a.kept, a.now), earlier(a.checked, a.now)
}

// sayStep logs that the clock was set back, but small steps only once an hour.
func (a *Agent) sayStep(step time.Duration) {
	mono := time.Now()
	if step >= -clockBackAllowed {
		if !a.steps.IsZero() && mono.Sub(a.steps) < betweenLogLines {
			return
		}
		a.steps = mono
	}
	what := "tokens from the future are renewed now"
	if a.clockIsWrong() {
		what = "it is before this program was built, so tokens stay until they are due"
	}
	a.log.WithField("step", step.Round(time.Second)).Warn("the clock was set back; " + what)
}

// clockWasWrong makes of times that were read from a wrong clock those that the right
// one would have shown. What is due by the right one is due now.
func (a *Agent) clockWasWrong(step time.Duration) {
	a.log.WithField("step", step.Round(time.Second)).Info("the clock was wrong and has been set; tokens that are due by it are renewed now")
	a.shift(step)
	for _, e := range a.entries {
		if ask := e.ask(); ask.Scheduled() && ask.trouble.failures == 0 && !e.token.IsZero() {
			a.schedule(ask, e.Schedule.Next(e.token))
		}
	}
}

// shift moves what was counted from the old time, after the clock was set by step.
func (a *Agent) shift(step time.Duration) {
	for _, e := range a.entries {
		for _, d := range e.duties {
			d.shift(step)
		}
	}
	for _, d := range a.orphans {
		d.shift(step)
		if d.Scheduled() && step < 0 {
			a.schedule(d, d.Due.Add(step))
		}
	}
	a.hooks.Shift(step)
	for _, f := range a.hookFailures {
		f.shift(step)
	}
	a.pool.Shift(step)
	for _, i := range a.issuers {
		i.trouble.shift(step)
	}
}

// fromTheFuture reports whether verifiers would find the entry's token issued in the
// future.
func (e *entry) fromTheFuture(now time.Time) bool {
	return now.Before(e.token.Issued.Add(-clockBackAllowed))
}
