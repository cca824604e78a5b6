package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// An Event is what happened to a token.
type Event string

// The events that a Hook can be run for.
const (
	OnFirst   Event = "on_first"   // a token was written where no acceptable one lay before
	OnChange  Event = "on_change"  // a changed file was written, the first included
	OnFailure Event = "on_failure" // a token began to fail
	OnRecover Event = "on_recover" // that came to an end
)

// events are in the order in which hooks that are due together are run.
var events = []Event{OnFirst, OnChange, OnFailure, OnRecover}

// A Hook is run when something happens to its token. Those that are due within
// a second for the same Event and Key are run once, for all their tokens.
type Hook struct {
	Event   Event
	Key     string // equal for hooks that do the same
	Command Command
}

// A Command is what a Hook runs: a program. Its error is best a [*Fault]; any
// other is taken for a transient one. It is run again until it succeeds.
type Command interface {
	Run(ctx context.Context, e Event, about []Notice) error
}

// A Notice tells a hook of one file.
type Notice struct {
	Token   string    `json:"token"`            // the name of the Renewer
	Path    string    `json:"path"`             // "" for a token that failed before it had a file
	Expires time.Time `json:"expires,omitzero"` // of the token in the file
}

// An Owed hook has not been run yet, or not with success.
type Owed struct {
	Event  Event  `json:"event"`
	Notice Notice `json:"notice"`
}

const gatherHooks = time.Second // from the first notice until a hook is run

// A run is a hook with the notices that it is to be run for.
type run struct {
	hook    Hook
	notices []Notice
	due     time.Time
	running bool
	trouble trouble
}

// Debts keep the hooks that have not been run, across restarts. A write of a
// token is recorded before it happens, so that a crash between the write and
// the hook loses none; the price is a hook that is run without need.
type Debts interface {
	// Owe adds to what is owed.
	Owe(...Owed) error
	// Settle takes from what is owed.
	Settle(...Owed) error
	// Owed is all that the last process owed.
	Owed() []Owed
}

// notify has the hooks of the entry for that event run soon.
func (a *Agent) notify(e *entry, event Event, n Notice) {
	for _, h := range e.Hooks {
		if h.Event == event {
			a.waitingRun(h).add(n)
		}
	}
}

// add takes on a notice, in the place of an older one of the same file.
func (r *run) add(n Notice) {
	r.notices = slices.DeleteFunc(r.notices, func(o Notice) bool { return o.Token == n.Token && o.Path == n.Path })
	r.notices = append(r.notices, n)
}

// waitingRun is the run of the hook that has not begun yet.
func (a *Agent) waitingRun(h Hook) *run {
	for _, r := range a.runs {
		if !r.running && r.hook.Event == h.Event && r.hook.Key == h.Key {
			return r
		}
	}
	r := &run{hook: h, due: a.now.Add(gatherHooks)}
	a.runs = append(a.runs, r)
	return r
}

// runHooks starts the hook that is due, one at a time. Renewals do not wait for it.
func (a *Agent) runHooks() {
	r := a.nextRun()
	if r == nil || r.due.After(a.now) {
		return
	}
	r.running = true
	ctx, hook, notices := a.ctx, r.hook, slices.Clone(r.notices)
	a.aside(func() func() {
		var err error
		if thrown := shielded(func() { err = hook.Command.Run(ctx, hook.Event, notices) }); thrown != nil {
			err = thrown
		}
		return func() { a.hookEnded(r, err) }
	})
}

// nextRun is the run that is to begin next; nil when one is running already,
// or none is waiting.
func (a *Agent) nextRun() (next *run) {
	for _, r := range a.runs {
		switch {
		case r.running:
			return nil
		case next == nil || r.due.Before(next.due) || r.due.Equal(next.due) && r.rank() < next.rank():
			next = r
		}
	}
	return next
}

func (r *run) rank() int { return slices.Index(events, r.hook.Event) }

// hookEnded takes in what came of a hook.
func (a *Agent) hookEnded(r *run, err error) {
	r.running = false
	if a.ctx.Err() != nil {
		return // it was ended because the agent stops, and is owed to the next one
	}
	log := a.log.WithFields(logrus.Fields{"hook": r.hook.Event, "command": r.hook.Key})
	if err == nil {
		if r.trouble.failures > 0 {
			log.WithField("outage", a.now.Sub(r.trouble.since).Round(time.Second)).Info("hook works again")
		}
		a.dropRun(r)
		a.settleDebt(r.debts())
		return
	}
	f := faultOf(err, Transient)
	r.trouble.add(f, a.now)
	r.due = a.now.Add(askWait(f, r.trouble.failures, 0))
	if r.trouble.failures == 1 || a.now.Sub(r.trouble.said) >= betweenLogLines {
		r.trouble.said = a.now
		log.WithFields(logrus.Fields{"error": f.Err, "failures": r.trouble.failures, "retry_at": stamp(r.due)}).Error("hook failed")
	}
	a.merge(r)
}

// merge adds the notices that came while the run was running.
func (a *Agent) merge(r *run) {
	for _, o := range a.runs {
		if o != r && o.hook.Event == r.hook.Event && o.hook.Key == r.hook.Key {
			a.dropRun(o)
			for _, n := range o.notices {
				r.add(n)
			}
			return
		}
	}
}

func (a *Agent) dropRun(r *run) {
	a.runs = slices.DeleteFunc(a.runs, func(o *run) bool { return o == r })
}

func (r *run) debts() (owed []Owed) {
	for _, n := range r.notices {
		owed = append(owed, Owed{r.hook.Event, n})
	}
	return owed
}

// A writing is what must be known of a sink to write there with hooks. It is a
// copy, as a reload may change the entry meanwhile.
type writing struct {
	sink    Sink
	hooks   []Hook
	decode  func(Secret) (Token, error)
	debts   Debts
	notice  Notice
	inPlace bool // a token that has not expired is known to lie there
	now     time.Time
}

func (a *Agent) writingFor(d *duty) writing {
	w := writing{
		sink: d.sink, hooks: d.entry.Hooks, decode: d.entry.Decode, now: a.now,
		notice:  Notice{Token: d.entry.Name, Path: d.path},
		inPlace: !d.inPlace.IsZero() && !d.inPlace.Expired(a.now),
	}
	if a.records != nil {
		w.debts = a.records
	}
	return w
}

// isFirst reports whether no acceptable token lies in the sink, whoever put it.
func (w writing) isFirst(ctx context.Context) bool {
	if w.inPlace || len(w.hooks) == 0 {
		return false
	}
	r, ok := w.sink.(Reader)
	if !ok || w.decode == nil {
		return true
	}
	text, err := r.Read(ctx)
	if err != nil {
		return true
	}
	t, err := w.decode(text)
	return err != nil || t.Expired(w.now)
}

// owe records the hooks that the write makes due. That it cannot be recorded is
// no reason not to write.
func (w writing) owe(first bool, t Token) (owed []Owed, warnings []string) {
	w.notice.Expires = t.Expires
	for _, h := range w.hooks {
		if h.Event == OnChange || h.Event == OnFirst && first {
			owed = append(owed, Owed{h.Event, w.notice})
		}
	}
	if w.debts == nil || len(owed) == 0 {
		return owed, nil
	}
	if err := w.debts.Owe(owed...); err != nil {
		warnings = append(warnings, fmt.Sprintf("a hook that is due would not survive a restart: %v", err))
	}
	return owed, warnings
}

// afterWrite notifies of a file that was written, and settles what was owed for
// one that did not change after all.
func (a *Agent) afterWrite(d *duty, o outcome) {
	n := Notice{Token: d.entry.Name, Path: d.path, Expires: o.token.Expires}
	if !o.changed {
		a.settleDebt(slices.DeleteFunc(o.owed, a.awaited))
		return
	}
	if o.first {
		a.notify(d.entry, OnFirst, n)
	}
	a.notify(d.entry, OnChange, n)
}

// awaited reports whether the hook is going to be run for another reason.
func (a *Agent) awaited(o Owed) bool {
	return slices.ContainsFunc(a.runs, func(r *run) bool {
		return r.hook.Event == o.Event && slices.Contains(r.notices, o.Notice)
	})
}

// noticeFailure notifies of a token that has begun to fail, or ended.
func (a *Agent) noticeFailure(e *entry, failed bool) {
	fails := e.failing()
	if fails == failed || len(e.Hooks) == 0 {
		return
	}
	event, n := OnRecover, Notice{Token: e.Name, Path: e.sinks()[0].path}
	if fails {
		event = OnFailure
	}
	if at := e.expiry(); at != never {
		n.Expires = at
	}
	a.notify(e, event, n)
	if a.records != nil {
		a.aside(func() func() {
			err := a.records.Owe(Owed{event, n})
			return func() { a.sayDebtError(err) }
		})
	}
}

func (e *entry) failing() bool {
	return slices.ContainsFunc(e.duties, func(d *duty) bool { return d.trouble.failures > 0 })
}

// settleDebt forgets what is owed no more.
func (a *Agent) settleDebt(owed []Owed) {
	if a.records == nil || len(owed) == 0 {
		return
	}
	a.aside(func() func() {
		err := a.records.Settle(owed...)
		return func() { a.sayDebtError(err) }
	})
}

func (a *Agent) sayDebtError(err error) {
	if err != nil {
		a.log.WithError(err).Warn("which hooks are due is not kept; after a restart some run again, or not at all")
	}
}

// owedBefore has the hooks run that an earlier process owed, as the entries of
// the same name want it now.
func (a *Agent) owedBefore() {
	for _, o := range a.records.Owed() {
		e := a.entries[o.Notice.Token]
		if e == nil || !slices.ContainsFunc(e.Hooks, func(h Hook) bool { return h.Event == o.Event }) {
			a.settleDebt([]Owed{o})
			continue
		}
		a.notify(e, o.Event, o.Notice)
	}
}

// rehook gives runs whose hook is no longer in the configuration to the hooks
// that their tokens have now for the same event, and tries failing ones at once.
func (a *Agent) rehook() {
	old := a.runs
	a.runs = nil
	for _, r := range old {
		switch {
		case r.running:
			a.runs = append(a.runs, r)
		case a.wants(r.hook):
			r.due = a.now
			a.runs = append(a.runs, r)
		}
	}
	for _, r := range old {
		if r.running || slices.Contains(a.runs, r) {
			continue
		}
		for _, n := range r.notices {
			if e := a.entries[n.Token]; e != nil {
				a.notify(e, r.hook.Event, n)
			}
		}
	}
}

// wants reports whether an entry has that hook.
func (a *Agent) wants(h Hook) bool {
	for _, e := range a.entries {
		if slices.ContainsFunc(e.Hooks, func(o Hook) bool { return o.Event == h.Event && o.Key == h.Key }) {
			return true
		}
	}
	return false
}
