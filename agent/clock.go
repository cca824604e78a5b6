package agent

import (
	"context"
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// hostClock is the time of day of this host, without a monotonic part. It goes on while the
// host is suspended, and jumps when somebody sets it.
func hostClock() time.Time { return time.Now().Round(0) }

type clockKey struct{}

// WithClock returns ctx with another time of day than that of the host, for tests that step
// the clock of the whole program.
func WithClock(ctx context.Context, wall func() time.Time) context.Context {
	return context.WithValue(ctx, clockKey{}, wall)
}

// Now is the time of day for work with ctx. Sources and Sinks use it instead of time.Now for
// times that others read, such as the expiry of a token.
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
	leastStep        = time.Second          // smaller steps of the wall clock are ignored
	clockBackAllowed = time.Minute          // a token may be issued this far in the future
	mostSuspended    = 366 * 24 * time.Hour // a clock that goes ahead by more was wrong before
	clockPatience    = 10 * time.Minute     // how long a clock may be wrong at the start, before a token from its future is replaced
)

// A clock is the time as the loop last read it.
type clock struct {
	wall  func() time.Time
	now   time.Time     // by the wall clock
	mono  time.Time     // by the monotonic clock
	base  queue.Instant // when the wall clock last jumped
	built time.Time     // a wall clock before it is wrong, see Agent.Built
	steps time.Time     // when small steps were last logged, by the monotonic clock
}

// read reads both clocks. It returns by how much the wall clock was set since the last time. A
// clock that stands still counts as one that is set back again and again.
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

// Built tells the Agent when the program was built. A clock that shows an earlier time is
// wrong, as on a host without a battery until it has asked for the time. While the clock is
// wrong, a token that was issued in its future stays: it is good where the clock is right.
// Call Built before Remember.
func (a *Agent) Built(at time.Time) { a.built = at }

// readClock reads the clock. If it was set, it corrects the times that were read from it.
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

// clockWentBack moves all times by the step: a token is renewed when the old or the new clock
// says so. Tokens that are now issued in the future are renewed at once. What fails is tried
// at once, since the clock may have been the reason.
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

// clockWasWrong turns times of the wrong clock into times of the right one. What is due by the
// right one is due now.
func (c *core) clockWasWrong(step time.Duration) {
	c.log.WithField("step", step.Round(time.Second)).Info("the clock was wrong and has been set; tokens that are due by it are renewed now")
	c.shift(step)
	for _, e := range c.entries {
		if r := e.renewal; r.Scheduled() && !r.failures.any() && !e.newest().IsZero() {
			r.schedule(e.Schedule.Next(e.newest()))
		}
	}
}

// shift moves the times of the past after the clock was set by step.
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
