package agent

import (
	"context"
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// hostClock is the time of day of this host. It goes on while the host is suspended,
// and jumps when somebody sets it.
func hostClock() time.Time { return time.Now().Round(0) }

type clockKey struct{}

// WithClock returns ctx with wall as the time of day, in place of that of the host. It
// is for tests that step the clock of a whole program.
func WithClock(ctx context.Context, wall func() time.Time) context.Context {
	return context.WithValue(ctx, clockKey{}, wall)
}

// Now is the time of day for work with ctx. Sources and Sinks call it in place of
// time.Now for times that others read, such as the expiry of a token.
func Now(ctx context.Context) time.Time { return ClockOf(ctx)() }

// ClockOf is the clock that Now reads: that of the host, unless WithClock has set
// another. It has no monotonic part.
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

// A clock is the time as the loop read it last.
type clock struct {
	wall  func() time.Time
	now   time.Time     // by the wall clock
	mono  time.Time     // by the monotonic clock
	base  queue.Instant // both when the wall clock was last seen to jump
	built time.Time     // a wall clock before that is wrong, see Agent.Built
	steps time.Time     // when small steps were last logged, by the monotonic clock
}

// read reads both clocks, and tells by how much the wall clock was set since. A clock
// that stands still is one that is set back all the time.
func (c *clock) read() (step time.Duration) {
	c.now, c.mono = c.wall(), time.Now()
	if c.base == (queue.Instant{}) {
		c.base = c.instant()
	}
	step = c.now.Sub(c.base.Wall) - c.mono.Sub(c.base.Mono)
	if step.Abs() <= leastStep {
		return 0
	}
	c.base = c.instant()
	return step
}

func (c *clock) instant() queue.Instant { return queue.Instant{Wall: c.now, Mono: c.mono} }

// isWrong reports whether the clock shows a time before the program was made.
func (c *clock) isWrong() bool { return c.now.Before(c.built) }

// Built tells the Agent when the program was made. A clock that shows an earlier time is
// wrong: a host without a battery has such a clock until it has asked for the time. While
// the clock is wrong, a token that was issued in the future stays in its place, since it
// is good for all hosts whose clock is right. Call Built before Remember.
func (a *Agent) Built(at time.Time) { a.built = at }

// readClock reads the clock, and puts right what was counted by it when it was set.
func (c *core) readClock() {
	step := c.clock.read()
	c.pool.Tell(c.instant())
	switch {
	case step < 0:
		c.clockWentBack(step)
	case step > mostSuspended:
		c.clockWasWrong(step)
	}
}

// clockWentBack moves all that was counted by the old time: a token is renewed when
// either clock says so. Tokens that verifiers would now find issued in the future are
// renewed at once, and so is what fails, since that may have been the clock's fault.
func (c *core) clockWentBack(step time.Duration) {
	c.sayStep(step)
	c.slot = c.slot.Add(step)
	c.shift(step)
	for _, e := range c.entries {
		e.renewal.clockWentBack(step)
		for _, p := range e.sinks {
			if p.Scheduled() {
				p.schedule(p.Due.Add(step))
			}
		}
	}
	for _, p := range c.leftovers {
		if p.Scheduled() {
			p.schedule(p.Due.Add(step))
		}
	}
	if step < -clockBackAllowed {
		c.pool.RetryNow()
	}
	c.records.clockWentBack()
}

func (r *renewal) clockWentBack(step time.Duration) {
	due, far := r.Due.Add(step), step < -clockBackAllowed
	switch {
	case r.entry.fromTheFuture(r.now) && !r.isWrong(), r.Running() && far:
		r.wanted = true
	case far && r.failures.any():
		due = r.now
	}
	if r.Scheduled() {
		r.schedule(due)
	}
}

// sayStep logs that the clock was set back, but small steps only once an hour.
func (c *core) sayStep(step time.Duration) {
	if step >= -clockBackAllowed {
		if !c.steps.IsZero() && c.mono.Sub(c.steps) < betweenLogLines {
			return
		}
		c.steps = c.mono
	}
	what := "tokens from the future are renewed now"
	if c.isWrong() {
		what = "it is before this program was built, so tokens stay until they are due"
	}
	c.log.WithField("step", step.Round(time.Second)).Warn("the clock was set back; " + what)
}

// clockWasWrong makes of times that were read from a wrong clock those that the right
// one would have shown. What is due by the right one is due now.
func (c *core) clockWasWrong(step time.Duration) {
	c.log.WithField("step", step.Round(time.Second)).Info("the clock was wrong and has been set; tokens that are due by it are renewed now")
	c.shift(step)
	for _, e := range c.entries {
		if r := e.renewal; r.Scheduled() && !r.failures.any() && !e.newest().IsZero() {
			r.schedule(e.Schedule.Next(e.newest()))
		}
	}
}

// shift moves what was counted from the old time, after the clock was set by step.
func (c *core) shift(step time.Duration) {
	for _, e := range c.entries {
		e.renewal.shift(step)
		if e.trial != nil {
			e.trial.shift(step)
		}
		for _, p := range e.sinks {
			p.shift(step)
		}
	}
	for _, p := range c.leftovers {
		p.shift(step)
	}
	c.hooks.shift(step)
	c.pool.Shift(step)
	for _, i := range c.issuers {
		i.failures.shift(step)
	}
}
