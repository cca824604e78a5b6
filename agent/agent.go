package agent

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// An Agent keeps a set of Renewers going. One loop owns all its data; the methods give the
// loop a function to run.
//
// Built, Remember, Only, Force and EachRound prepare an Agent: call them before Run or
// Once, in one goroutine. All other methods may be called from any goroutine. Those that
// need the loop wait until it has begun. After its end they return [ErrStopped].
type Agent struct {
	*core
	calls chan func()
	beat  atomic.Pointer[time.Time] // when the loop last went round, by the monotonic clock
	round func()                    // see EachRound
}

// New returns an Agent for the renewers. It leaves out those without a sink. The Agent, and
// the Sources and Sinks that it calls (see [Now]), read the time of day from wall; see
// [ClockOf].
func New(wall func() time.Time, log logrus.FieldLogger, renewers []Renewer) *Agent {
	a := &Agent{core: newCore(wall, log), calls: make(chan func()), round: func() {}}
	a.replace(renewers)
	return a
}

const (
	longestSleep = 30 * time.Second // timers stop while a host is suspended, so the loop reads the wall clock this often
	stopLimit    = 7 * time.Second  // for what still runs when the agent stops
	keepLimit    = 9 * time.Second  // for that and the last records
)

// Run keeps the tokens fresh until ctx is done. Then it cancels requests to sources, lets
// writes finish, and returns within 10 s. An Agent runs once.
func (a *Agent) Run(ctx context.Context) {
	a.loop(ctx, func() bool { return false })
}

// Once does the first pass of Run. It returns when each token is in its sinks or has failed
// for a reason that waiting does not remove, or when ctx is done.
func (a *Agent) Once(ctx context.Context) []Status {
	a.loop(ctx, a.allFinal)
	a.now = a.wall()
	chosen := slices.DeleteFunc(a.selected(nil), func(e *entry) bool { return e.idle })
	return statuses(chosen)
}

func (a *Agent) loop(ctx context.Context, enough func() bool) {
	defer close(a.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.ctx = ctx
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil && !enough() {
		a.readClock()
		a.noteHanging()
		a.release()
		a.noteBlocked()
		a.records.keep()
		a.hooks.noteExpiring()
		a.hooks.run()
		a.beat.Store(new(time.Now()))
		a.round()
		timer.Reset(a.sleep())
		select {
		case <-ctx.Done():
		case call := <-a.calls:
			a.readClock()
			call()
		case then := <-a.done:
			a.readClock()
			a.finish(then)
		case <-timer.C:
		}
	}
	cancel()
	a.stop()
}

// stop waits for what still runs, but not for what hangs.
func (a *Agent) stop() {
	defer a.records.keepLast(time.After(keepLimit))
	limit := time.After(stopLimit)
	for a.active > len(a.pool.Hanging()) {
		select {
		case then := <-a.done:
			a.finish(then)
		case <-limit:
			a.log.WithField("hanging", a.active).Warn("stopped without waiting for a source, folder or hook that hangs")
			return
		}
	}
	if a.active > 0 {
		a.log.WithField("hanging", a.active).Warn("stopped without waiting for a source or folder that hangs")
	}
}

// sleep is the time until the next thing is due.
func (a *Agent) sleep() time.Duration {
	wait := a.pool.Wait(longestSleep)
	if due, any := a.records.due(); any {
		wait = min(wait, due.Sub(a.now))
	}
	wait = min(wait, a.hooks.expiring.Sub(a.now))
	if due, any := a.hooks.queue.Next(); any {
		wait = min(wait, due.Sub(a.now))
	}
	return max(wait, 0)
}

// Installed makes the loop call f for each new token in a sink: with the names of its Renewer
// and Target, the token without its text, and why it was asked for ("due", "start"). f must
// not wait for anything. Call Installed before Run or Once.
func (a *Agent) Installed(f func(name, path string, t Token, why string)) { a.installed = f }

// EachRound makes the loop call f each time it goes round, at least every 30 s: a watchdog
// that f feeds notices when the loop hangs. f must not wait for anything.
func (a *Agent) EachRound(f func()) { a.round = f }

// Heartbeat is when the loop last went round, by the clock as it is now. It goes round
// at least every 30 s. Before the first round it is the zero time.
func (a *Agent) Heartbeat() time.Time {
	if beat := a.beat.Load(); beat != nil {
		return a.wall().Add(-time.Since(*beat))
	}
	return time.Time{}
}
