package agent

import (
	"context"
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
		o := guarded(run)
		o.duty = d
		select {
		case a.done <- o:
		case <-a.ended:
		}
	}()
}

// guarded turns a panic of a Source or Sink into an error: one bad token must
// not end the service of all others. What was thrown may hold a secret, so
// only the runtime's own errors are shown.
func guarded(run func() outcome) (o outcome) {
	defer func() {
		thrown := recover()
		if thrown == nil {
			return
		}
		err := errors.New("panic; please report this defect of tokenagent")
		if e, ok := thrown.(runtime.Error); ok {
			err = fmt.Errorf("panic: %w; please report this defect of tokenagent", e)
		}
		o = outcome{err: &Fault{Kind: Configuration, Err: err}}
	}()
	return run()
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

// seeToSink prepares to put the token, or to look. Neither is cancelled when
// the agent stops: a rename in flight is finished.
func (a *Agent) seeToSink(d *duty) func() outcome {
	token, owed, sink := d.entry.token, d.owed, d.sink
	return func() outcome {
		ctx, cancel := context.WithTimeout(context.Background(), sinkLimit)
		defer cancel()
		if owed {
			changed, err := sink.Put(ctx, token)
			return outcome{token: token, changed: changed, err: err}
		}
		difference, err := sink.(Looker).Look(ctx)
		return outcome{looked: true, difference: difference, err: err}
	}
}

// finish takes in what came of an attempt.
func (a *Agent) finish(o outcome) {
	d := o.duty
	d.running = false
	d.lane.running--
	a.active--
	if i := slices.Index(a.young, d); i >= 0 {
		a.young = slices.Delete(a.young, i, i+1)
	}
	if a.busy[d.path] == d {
		delete(a.busy, d.path)
	}
	a.reopen(d.lane)
	if d.entry.gone || a.ctx.Err() != nil {
		return
	}
	switch {
	case d.sink == nil:
		a.issued(d, o)
	case o.looked:
		a.lookedAt(d, o)
	default:
		a.written(d, o)
	}
	a.settle(d.entry)
}
