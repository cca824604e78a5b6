package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// A core is what all parts of the loop share: the log, the clock, the queues, and what runs
// beside the loop. Only the loop uses it.
type core struct {
	clock
	set
	log     logrus.FieldLogger
	ctx     context.Context // of the loop
	pool    *queue.Pool
	issuers map[*queue.Queue]*issuer
	hooks   *hookRuns
	records *journal

	installed func(name, path string, t Token, why string) // see Agent.Installed; nil: nobody listens

	slot   time.Time   // of the last look that was scheduled
	done   chan func() // what the loop has to do after something was done beside it
	ended  chan struct{}
	active int // what runs beside the loop
}

func newCore(wall func() time.Time, log logrus.FieldLogger) *core {
	c := &core{
		clock:   clock{wall: wall},
		set:     set{leftovers: map[string]*placement{}, follow: map[string][]*entry{}},
		log:     log,
		issuers: map[*queue.Queue]*issuer{},
		done:    make(chan func()),
		ended:   make(chan struct{}),
	}
	c.clock.read()
	c.pool = queue.New(c.instant())
	c.hooks = &hookRuns{core: c}
	c.records = &journal{core: c}
	return c
}

// A set is the entries and leftovers, by what they are looked up by.
type set struct {
	entries   map[string]*entry     // by name
	named     map[string]*placement // of the entries, by the Name of their Target
	leftovers map[string]*placement // our files that no definition has any more, by name
	follow    map[string][]*entry   // the entries, by the path that their source follows
}

// aside runs f in a goroutine, and then in the loop what f returns.
func (c *core) aside(f func() (then func())) {
	c.active++
	go func() {
		then := func() {}
		if err := shielded(func() { then = f() }); err != nil {
			then = func() { c.log.WithError(err).Error("a part of the agent failed") }
		}
		select {
		case c.done <- then:
		case <-c.ended:
		}
	}()
}

// finish goes on in the loop after something was done beside it.
func (c *core) finish(then func()) {
	c.active--
	then()
}

// stops reports whether the agent has been told to stop.
func (c *core) stops() bool { return c.ctx.Err() != nil }

// shielded turns a panic of f into an error: one bad token must not stop all others. What was
// thrown may hold a secret, so only errors of the runtime are shown.
func shielded(f func()) (err error) {
	defer func() {
		thrown := recover()
		if thrown == nil {
			return
		}
		what := errors.New("panic; please report this defect of tokenagent")
		if e, ok := thrown.(runtime.Error); ok {
			what = fmt.Errorf("panic: %w; please report this defect of tokenagent", e)
		}
		err = &Fault{Kind: Configuration, Err: what}
	}()
	f()
	return nil
}

// A task is one thing that the loop does again and again: a renewal or a placement.
type task interface {
	begin()                  // starts one attempt
	urgency() queue.Urgency  // how long it can wait, as things are now
	patience() time.Duration // how long it has to wait, although it is due
	hung()                   // notes that its attempt hangs, or that it waits behind one that does
	hangsStill()             // is called each round while its attempt hangs
}

// work is what renewals, placements and trials have in common.
type work struct {
	*core
	queue.Job
	entry    *entry
	failures failures
	touched  bool // something happened to its file while it ran
}

func (w *work) patience() time.Duration { return 0 } // but see renewal

// failing says how it fails; nil when it does not.
func (w *work) failing() *Failing {
	if w.Stuck() {
		return w.failures.status(time.Time{}) // nobody knows when it is tried again
	}
	return w.failures.status(w.NextAt())
}

// about is the log for lines about the work.
func (w *work) about() logrus.FieldLogger {
	log := w.log.WithField("token", w.entry.Name)
	if w.Name != "" {
		log = log.WithField("path", w.Name)
	}
	return log
}

// shift moves the times that count from now, after the clock was set by step.
func (w *work) shift(step time.Duration) {
	w.Job.Shift(step)
	w.failures.shift(step)
}

// release enqueues what is due, and starts what may start.
func (c *core) release() {
	for j := c.pool.NextDue(); j != nil; j = c.pool.NextDue() {
		t := j.Value.(task)
		if wait := t.patience(); wait > 0 {
			c.pool.Schedule(j, c.now.Add(wait))
			continue
		}
		c.pool.Enqueue(j, t.urgency())
	}
	for j := c.pool.Start(); j != nil; j = c.pool.Start() {
		j.Value.(task).begin()
	}
}
