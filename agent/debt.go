package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// An Owed hook has not been run yet, or not with success.
type Owed struct {
	Event  hooks.Event  `json:"event"`
	Notice hooks.Notice `json:"notice"`
}

// Debts keep the hooks that have not been run, across restarts. A write of a
// token is recorded before it happens, so that a crash between the write and
// the hook loses none; the price is a hook that is run without need.
type Debts interface {
	// Owe adds to what is owed, and returns when that survives a power cut, or an
	// error when it does not, or ctx is done. It is owed in any case.
	Owe(context.Context, ...Owed) error
	// Settle takes from what is owed.
	Settle(context.Context, ...Owed) error
	// Owed is all that the last process owed.
	Owed() []Owed
}

// A debtChange tells Debts of one change.
type debtChange func(context.Context) error

// A writing is what must be known to write to a sink with hooks. It is a copy,
// as a reload may change the entry meanwhile.
type writing struct {
	hooks   []hooks.Hook
	debts   Debts // nil: nothing is recorded
	notice  hooks.Notice
	first   bool // an attempt that failed found no acceptable token there
	inPlace bool // a token that has not expired is known to lie there
}

func (a *Agent) writingFor(d *duty) writing {
	w := writing{
		hooks:   d.entry.Hooks,
		notice:  hooks.Notice{Token: d.entry.Name, Path: d.Path},
		first:   d.first,
		inPlace: !d.inPlace.IsZero() && !d.inPlace.Expired(a.now) && !d.lost,
	}
	if a.records != nil {
		w.debts = a.records
	}
	return w
}

// oweLimit is how long a write waits until the hooks that it makes due are
// recorded. A disk that is only slow has done so by then.
const oweLimit = 3 * time.Second

// owe records the hooks that the write makes due. That it cannot be recorded is
// no reason not to write.
func (w writing) owe(ctx context.Context, first bool, t Token) (owed []Owed, err error) {
	w.notice.Expires = t.Expires
	for _, h := range w.hooks {
		if h.Event == hooks.OnChange || h.Event == hooks.OnFirst && first {
			owed = append(owed, Owed{h.Event, w.notice})
		}
	}
	if w.debts == nil || len(owed) == 0 {
		return owed, nil
	}
	ctx, cancel := context.WithTimeout(ctx, oweLimit)
	defer cancel()
	return owed, w.debts.Owe(ctx, owed...)
}

// afterWrite notifies of a file that was written, and settles what was owed for
// one that did not change after all.
func (a *Agent) afterWrite(d *duty, o outcome) {
	changed, debts := o.written.Changed || d.unsure, d.debts
	d.unsure, d.first, d.debts = false, false, nil
	for _, owed := range o.owed {
		if changed && a.notify(d.entry, owed) {
			continue
		}
		debts = append(debts, owed)
	}
	a.settleDebts(slices.DeleteFunc(debts, a.awaited))
}

// awaited reports whether the hook is going to be run.
func (a *Agent) awaited(o Owed) bool {
	return slices.ContainsFunc(a.runs, func(r *run) bool { return slices.Contains(r.owed, o) })
}

// noticeFailure notifies of a token that has begun to fail, or ended.
func (a *Agent) noticeFailure(e *entry, failed bool) {
	fails := e.failing()
	if fails == failed {
		return
	}
	o := Owed{hooks.OnRecover, hooks.Notice{Token: e.Name, Path: e.failingPath()}}
	if fails {
		o.Event = hooks.OnFailure
	}
	if at := e.expiry(); at != never {
		o.Notice.Expires = at
	}
	if a.notify(e, o) {
		a.tellDebts(func(ctx context.Context) error { return a.records.Owe(ctx, o) })
	}
}

func (e *entry) failing() bool {
	return slices.ContainsFunc(e.duties, func(d *duty) bool { return d.trouble.failures > 0 })
}

// failingPath is the file that a failure is about: of several the first that
// cannot be written.
func (e *entry) failingPath() string {
	for _, d := range e.sinks() {
		if d.trouble.failures > 0 {
			return d.Path
		}
	}
	return e.sinks()[0].Path
}

// settleDebts forgets what is owed no more.
func (a *Agent) settleDebts(owed []Owed) {
	if len(owed) > 0 {
		a.tellDebts(func(ctx context.Context) error { return a.records.Settle(ctx, owed...) })
	}
}

// tellDebts has the debts changed: one after the other, in a goroutine of their
// own, as the disk may be slow.
func (a *Agent) tellDebts(change debtChange) {
	if a.records == nil {
		return
	}
	a.debts = append(a.debts, change)
	a.payDebts()
}

func (a *Agent) payDebts() {
	if a.paying || len(a.debts) == 0 {
		return
	}
	changes := a.debts
	a.debts, a.paying = nil, true
	a.aside(func() func() {
		var errs []error
		for _, change := range changes {
			ctx, cancel := context.WithTimeout(context.Background(), oweLimit)
			errs = append(errs, change(ctx))
			cancel()
		}
		return func() {
			a.paying = false
			if err := errors.Join(errs...); err != nil {
				a.notKept(err)
			}
			a.payDebts()
		}
	})
}

// handOver has hooks run that are owed, as the entries of the same names want it
// now, and settles those that none wants.
func (a *Agent) handOver(owed []Owed) {
	var unwanted []Owed
	for _, o := range owed {
		if e := a.entries[o.Notice.Token]; e == nil || !a.notify(e, o) {
			unwanted = append(unwanted, o)
		}
	}
	a.settleDebts(unwanted)
}
