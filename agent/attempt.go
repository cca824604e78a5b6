package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// An outcome is what came of one attempt at a duty.
type outcome struct {
	duty       *duty
	token      Token  // what was issued or put
	changed    bool   // the sink's file is another one now
	difference string // what a look found
	looked     bool
	adopted    bool            // what was looked at was left by an earlier process
	removed    bool            // the sink's file was to be removed
	mark       json.RawMessage // see Keeper
	warnings   []string        // see Warner
	first      bool            // no acceptable token lay in the sink before
	owed       []Owed          // the hooks that were recorded before the write
	then       func()          // of what was done aside: what is left to do in the loop
	err        error
}

const (
	askLimit  = 2 * time.Minute // a Source has its own, shorter limits; this one is for those that forgot
	sinkLimit = time.Minute
)

// begin starts one attempt in a goroutine that ends with it.
func (a *Agent) begin(d *duty) {
	d.running, d.free, d.asked = true, d.asked, false
	d.begun, d.started = a.now, time.Now()
	d.lane.running++
	a.active++
	a.young = append(a.young, d)
	if d.path != "" {
		a.busy[d.path] = d
	}
	attempt := a.askNow
	if d.sink != nil {
		attempt = a.seeToSink
	}
	run := attempt(d)
	go func() {
		var o outcome
		if err := shielded(func() { o = run() }); err != nil {
			o = outcome{err: err}
		}
		o.duty = d
		a.tell(o)
	}()
}

// aside runs f in a goroutine of its own, and then what it returns in the loop.
func (a *Agent) aside(f func() (then func())) {
	a.active++
	go func() {
		o := outcome{then: func() {}}
		if err := shielded(func() { o.then = f() }); err != nil {
			o.then = func() { a.log.WithError(err).Error("a part of the agent failed") }
		}
		a.tell(o)
	}()
}

// tell hands an outcome to the loop, if it still runs.
func (a *Agent) tell(o outcome) {
	select {
	case a.done <- o:
	case <-a.ended:
	}
}

// shielded turns a panic of f into an error: one bad token must not end the
// service of all others. What was thrown may hold a secret, so only the
// runtime's own errors are shown.
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

// askNow prepares to ask the source. All that the goroutine needs is copied
// here, because a reload may change the entry meanwhile.
func (a *Agent) askNow(d *duty) func() outcome {
	source, request, accept, parent := d.entry.Source, d.entry.Request, d.entry.Accept, a.ctx
	return func() outcome {
		ctx, cancel := context.WithTimeout(parent, askLimit)
		defer cancel()
		t, err := source.Issue(ctx, request)
		if err == nil && accept != nil {
			err = accept(t)
		}
		return outcome{token: t, err: err}
	}
}

// seeToSink prepares whatever the sink needs most. None of it is cancelled when
// the agent stops: a rename in flight is finished.
func (a *Agent) seeToSink(d *duty) func() outcome {
	act := d.look
	switch {
	case d.orphan && d.recalled:
		act = d.adopt
	case d.remove || d.hasExpired(a.now):
		d.remove = true
		act = d.takeAway
	case d.owed:
		act = a.put(d)
	case d.recalled:
		act = d.adopt
	}
	return func() outcome {
		ctx, cancel := context.WithTimeout(context.Background(), sinkLimit)
		defer cancel()
		return act(ctx)
	}
}

func (a *Agent) put(d *duty) func(context.Context) outcome {
	t, w := d.entry.token, a.writingFor(d)
	return func(ctx context.Context) (o outcome) {
		o.token = t
		o.first = w.isFirst(ctx)
		o.owed, o.warnings = w.owe(o.first, t)
		o.changed, o.err = d.sink.Put(ctx, t)
		if w, ok := d.sink.(Warner); ok {
			o.warnings = append(o.warnings, w.Warnings()...)
		}
		if k, ok := d.sink.(Keeper); ok && o.err == nil {
			o.mark = k.Mark()
		}
		return o
	}
}

func (d *duty) look(ctx context.Context) (o outcome) {
	o.looked = true
	o.difference, o.err = d.sink.(Looker).Look(ctx)
	return o
}

func (d *duty) adopt(ctx context.Context) (o outcome) {
	o.adopted = true
	o.difference, o.err = d.sink.(Keeper).Adopt(ctx, d.record.Mark)
	return o
}

func (d *duty) takeAway(ctx context.Context) outcome {
	return outcome{removed: true, err: d.sink.(Remover).Remove(ctx)}
}

// hasExpired reports whether what lies in the sink has expired, is to be taken
// away for it, and is not about to be replaced.
func (d *duty) hasExpired(now time.Time) bool {
	_, can := d.sink.(Remover)
	return can && d.entry.RemoveExpired && !d.owed && !d.recalled && !d.orphan && !d.inPlace.IsZero() && d.inPlace.Expired(now)
}

// finish takes in what came of an attempt.
func (a *Agent) finish(o outcome) {
	a.active--
	if o.then != nil {
		o.then()
		return
	}
	d := o.duty
	d.running = false
	d.lane.running--
	if i := slices.Index(a.young, d); i >= 0 {
		a.young = slices.Delete(a.young, i, i+1)
	}
	if a.busy[d.path] == d {
		delete(a.busy, d.path)
	}
	a.reopen(d.lane)
	for _, w := range o.warnings {
		a.about(d).Warn(w)
	}
	switch {
	case d.orphan:
		a.orphanSeen(d, o)
	case d.entry.gone || d.sink == nil && a.ctx.Err() != nil:
	default:
		failed := d.entry.failing()
		a.takeIn(d, o)
		a.noticeFailure(d.entry, failed)
		a.settle(d.entry)
	}
}

// takeIn takes in what came of an attempt for an entry of the configuration.
func (a *Agent) takeIn(d *duty, o outcome) {
	switch {
	case d.sink == nil:
		a.issued(d, o)
	case o.removed:
		a.removed(d, o)
	case o.adopted:
		a.adopted(d, o)
	case o.looked:
		a.lookedAt(d, o)
	default:
		a.written(d, o)
	}
}
