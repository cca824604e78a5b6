package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// doing is what one attempt at a duty does.
type doing int

const (
	asking doing = iota
	putting
	looking
	adopting // to look whether the file is as an earlier process left it
	removing
)

// An outcome is what came of one attempt at a duty.
type outcome struct {
	duty       *duty
	token      Token // what was issued or put
	written    Written
	difference string       // what a look found
	lost       bool         // and that readers no longer find the token
	first      bool         // no acceptable token lay in the sink before
	level      *hooks.Level // what hooks hear of when the file was written; nil: no hook is for it
	unkept     error        // why they would not survive a power cut
	then       func()       // of what was done aside: what is left to do in the loop
	err        error
}

const (
	askLimit  = 2 * time.Minute // a Source has its own, shorter limits; this one is for those that forgot
	sinkLimit = time.Minute
)

// begin starts one attempt in a goroutine that ends with it.
func (a *Agent) begin(d *duty) {
	d.forced = d.asked || d.forced && d.trouble.failures > 0 || d.sink == nil && d.entry.fromTheFuture(a.now)
	d.asked = false
	a.active++
	run := a.attempt(d)
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

// attempt prepares what the duty needs most. All that the goroutine needs is
// copied here, because a reload may change the entry meanwhile.
func (a *Agent) attempt(d *duty) func() outcome {
	d.doing = d.next(a.now)
	var act func(context.Context) outcome
	switch d.doing {
	case asking:
		return a.askNow(d)
	case putting:
		act = a.put(d)
	case adopting:
		act = d.adopt
	case removing:
		act = d.takeAway
	default:
		act = a.look(d)
	}
	return func() outcome { // not cancelled when the agent stops: a rename in flight is finished
		ctx, cancel := context.WithTimeout(WithClock(context.Background(), a.wall), sinkLimit)
		defer cancel()
		return act(ctx)
	}
}

// next is what the duty needs most.
func (d *duty) next(now time.Time) doing {
	switch {
	case d.sink == nil:
		return asking
	case d.owed:
		return putting
	case d.recalled:
		return adopting
	case d.remove || d.hasExpired(now):
		return removing
	default:
		return looking
	}
}

// hasExpired reports whether what lies in the sink has expired, and is to be
// taken away for it.
func (d *duty) hasExpired(now time.Time) bool {
	return d.removesExpired() && !d.inPlace.IsZero() && d.inPlace.Expired(now)
}

// removesExpired reports whether a token that expires in the sink is taken away.
func (d *duty) removesExpired() bool {
	return d.store != nil && d.entry.RemoveExpired && !d.entry.idle && !d.orphan
}

func (a *Agent) askNow(d *duty) func() outcome {
	source, request, accept, parent := d.entry.Source, d.entry.Request, d.entry.Accept, WithClock(a.ctx, a.wall)
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

func (a *Agent) put(d *duty) func(context.Context) outcome {
	t, r, w := d.entry.token, a.readersOf(d), a.writingFor(d)
	return func(ctx context.Context) (o outcome) {
		o.token = t
		o.first = w.first || w.level != nil && !w.inPlace && !r.find(ctx)
		o.level, o.unkept = w.begin(ctx, o.first, t)
		o.written, o.err = d.sink.Put(ctx, t)
		return o
	}
}

func (a *Agent) look(d *duty) func(context.Context) outcome {
	r := a.readersOf(d)
	return func(ctx context.Context) (o outcome) {
		o.difference, o.err = d.store.Look(ctx)
		o.lost = o.difference != "" && !r.find(ctx)
		return o
	}
}

func (d *duty) adopt(ctx context.Context) (o outcome) {
	o.difference, o.err = d.store.Adopt(ctx, d.record.Mark)
	return o
}

// takeAway removes the file if it still is the one that was put.
func (d *duty) takeAway(ctx context.Context) (o outcome) {
	if o.difference, _ = d.store.Look(ctx); o.difference == "" {
		o.err = d.store.Remove(ctx)
	}
	return o
}

// readers are those who look for a token in a sink.
type readers struct {
	store  Store  // nil: nobody can tell
	token  Secret // what they should find; the zero Secret: any that is acceptable
	decode func(Secret) (Token, error)
	now    time.Time
}

func (a *Agent) readersOf(d *duty) readers {
	r := readers{store: d.store, decode: d.entry.Decode, now: a.now}
	if d.doing == looking {
		r.token = d.entry.token.Secret
	}
	return r
}

// find reports whether they find it, whoever put it there.
func (r readers) find(ctx context.Context) bool {
	if r.store == nil {
		return false
	}
	text, err := r.store.Read(ctx)
	if err != nil {
		return false
	}
	if r.token != (Secret{}) {
		return text.Equal(r.token)
	}
	if r.decode == nil {
		return false
	}
	t, err := r.decode(text)
	return err == nil && !t.Expired(r.now)
}

// finish takes in what came of an attempt.
func (a *Agent) finish(o outcome) {
	a.active--
	if o.then != nil {
		o.then()
		return
	}
	d := o.duty
	a.pool.Done(&d.Job)
	for _, w := range o.written.Warnings {
		a.about(d).Warn(w)
	}
	if o.unkept != nil {
		a.notKept(o.unkept)
	}
	if d.doing == asking {
		a.finishAsk(d, o)
		return
	}
	a.conclude(d, o)
}

// finishAsk takes in the answer of a source.
func (a *Agent) finishAsk(d *duty, o outcome) {
	if a.ctx.Err() != nil {
		return
	}
	o.token.Issued, o.token.Expires = o.token.Issued.Round(0), o.token.Expires.Round(0) // by the wall clock alone
	if o.err == nil {
		o.err = admit(o.token, a.now)
	}
	a.answered(d, o)
	a.conclude(d, o)
}

// conclude takes in what came of an attempt.
func (a *Agent) conclude(d *duty, o outcome) {
	if d.entry.gone {
		a.bequeath(d, o)
	}
	switch {
	case d.orphan:
		a.orphanSeen(d, o)
	case d.entry.gone:
	default:
		a.takeIn(d, o)
		if o.err == nil && (d.doing == looking || d.doing == adopting) { // it hung
			a.recovered(d)
		}
		a.noteFailing(d.entry)
		if d.sink == nil && d.touched {
			d.touched = false
			a.followed(d.entry)
		}
		a.settle(d.entry)
	}
}

// takeIn takes in what came of an attempt for an entry of the configuration.
func (a *Agent) takeIn(d *duty, o outcome) {
	switch d.doing {
	case asking:
		a.issued(d, o)
	case putting:
		a.written(d, o)
	case adopting:
		a.adopted(d, o)
	case removing:
		a.removed(d, o)
	case looking:
		a.lookedAt(d, o)
	}
}
