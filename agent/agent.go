package agent

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// An Agent keeps a set of Renewers going. One loop owns everything it knows;
// whoever wants something of it hands the loop a function. All of its methods
// may be called from any goroutine, and those that ask the loop wait until
// Run or Once has begun.
type Agent struct {
	log   logrus.FieldLogger
	wall  func() time.Time
	calls chan func()
	done  chan outcome
	ended chan struct{}             // closed when the loop has ended
	beat  atomic.Pointer[time.Time] // when the loop last went round, by the monotonic clock
	round func()                    // see EachRound

	// What follows belongs to the loop.
	ctx          context.Context
	entries      map[string]*entry
	paths        map[string]*duty // the sink duty for a path
	pool         *queue.Pool      // who may start now
	issuers      map[*queue.Queue]*issuer
	follow       map[string][]*entry // by the path that their source follows
	active       int                 // goroutines of ours that run
	hooks        hooks.Queue         // those that are to be run
	hookFailures map[hooks.ID]*hookFailures
	records      Records          // nil: none
	orphans      map[string]*duty // by path: the files of ours that no definition has any more
	stale        bool             // the records are not as kept
	keeping      bool             // they are being written
	kept         time.Time        // when that was last begun
	checked      time.Time        // when it was last looked whether they are there
	unkept       bool             // they, or hooks that are pending, could not be written
	lookSlot     time.Time        // the last place given away in the round of looks
	now          time.Time        // by the wall clock, when the loop last went round
	mono         time.Time        // the same by the monotonic clock
	base         queue.Instant    // both clocks when the wall clock was last seen to jump
	built        time.Time        // a clock before that is wrong, see Built
	steps        time.Time        // when small steps of the clock were last logged, by the monotonic clock
}

// New returns an Agent for the renewers. Those without a sink are left aside:
// there is nothing to keep fresh.
func New(log logrus.FieldLogger, renewers []Renewer) *Agent {
	return NewAt(hostClock, log, renewers)
}

// NewAt is New with another time of day than that of the host, for the Agent and for
// the Sources and Sinks that it calls (see [Now]).
func NewAt(wall func() time.Time, log logrus.FieldLogger, renewers []Renewer) *Agent {
	a := &Agent{
		log:     log,
		wall:    wall,
		calls:   make(chan func()),
		done:    make(chan outcome),
		ended:   make(chan struct{}),
		round:   func() {},
		entries: map[string]*entry{},
		paths:   map[string]*duty{},
		issuers: map[*queue.Queue]*issuer{},
		follow:  map[string][]*entry{},
		orphans: map[string]*duty{},

		hookFailures: map[hooks.ID]*hookFailures{},
	}
	a.now, a.mono = a.wall(), time.Now()
	a.base = a.instant()
	a.pool = queue.New(a.base)
	a.replace(renewers)
	return a
}

const (
	longestSleep = 30 * time.Second // timers stop while a host is suspended, so the loop looks at the wall clock this often
	stopLimit    = 7 * time.Second  // for what still runs when the agent stops
	keepLimit    = 9 * time.Second  // for that and the last records
)

// Run keeps the tokens fresh until ctx is done. Then it cancels what asks a
// source, lets what writes a file finish, and returns within 10 s. An Agent
// runs once.
func (a *Agent) Run(ctx context.Context) {
	a.loop(ctx, func() bool { return false })
}

// Once does the first pass of Run: it returns when each token is in its sinks,
// or has failed for a reason that waiting does not mend, or when ctx is done.
func (a *Agent) Once(ctx context.Context) []Status {
	a.loop(ctx, a.allFinal)
	a.now = a.wall()
	chosen := slices.DeleteFunc(a.selected(nil), func(e *entry) bool { return e.idle })
	return a.statuses(chosen)
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
		a.dispatch()
		a.noteBlocked()
		a.keepRecords()
		a.runHooks()
		a.beat.Store(new(time.Now()))
		a.round()
		timer.Reset(a.sleep())
		select {
		case <-ctx.Done():
		case call := <-a.calls:
			a.readClock()
			call()
		case o := <-a.done:
			a.readClock()
			a.finish(o)
		case <-timer.C:
		}
	}
	cancel()
	a.stop()
}

// stop waits for what still runs, but not for what hangs.
func (a *Agent) stop() {
	defer a.keepLast(time.After(keepLimit))
	limit := time.After(stopLimit)
	for a.active > len(a.pool.Hanging()) {
		select {
		case o := <-a.done:
			a.finish(o)
		case <-limit:
			a.log.WithField("hanging", a.active).Warn("stopped without waiting for a source, folder or hook that hangs")
			return
		}
	}
	if a.active > 0 {
		a.log.WithField("hanging", a.active).Warn("stopped without waiting for a source or folder that hangs")
	}
}

// sleep is how long nothing falls due, as far as can be known.
func (a *Agent) sleep() time.Duration {
	wait := a.pool.Wait(longestSleep)
	if a.recordsDue() {
		wait = min(wait, a.kept.Add(betweenKeeps).Sub(a.now))
	}
	if due, any := a.hooks.Next(); any {
		wait = min(wait, due.Sub(a.now))
	}
	return max(wait, 0)
}

// EachRound has the loop itself call f whenever it goes round, which is at least
// every 30 s: a watchdog that f feeds sees when the loop does not. f must not
// wait for anything. It is to be called before Run.
func (a *Agent) EachRound(f func()) { a.round = f }

// Heartbeat is when the loop last went round, by the clock as it is now; it does so
// at least every 30 s. The zero time before the first round.
func (a *Agent) Heartbeat() time.Time {
	if beat := a.beat.Load(); beat != nil {
		return a.wall().Add(-time.Since(*beat))
	}
	return time.Time{}
}
