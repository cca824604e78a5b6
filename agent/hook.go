package agent

import (
	"context"
	"errors"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

const (
	tooEarly   = 30 * time.Second // at most, until a hook that was too early is tried again
	beginLimit = 3 * time.Second  // for the disk to record a write that begins; one that is only slow has done so by then
)

// hookFailures are those of one hook.
type hookFailures struct {
	trouble
	early bool // the last failure was expected; see Fault
}

// fitHooks gives the token and its files the hooks of its definition. What they
// have heard of before stays known.
func (e *entry) fitHooks() {
	e.hooked = e.fitted(e.hooked, hooks.Token, hooks.Notice{Path: e.sinks()[0].Path})
	for _, d := range e.sinks() {
		d.hooked = e.fitted(d.hooked, hooks.File, hooks.Notice{Path: d.Path, Expires: d.inPlace.Expires})
	}
}

// fitted is the subject with the hooks of the entry, or a new one; nil without hooks.
func (e *entry) fitted(s *hooks.Subject, make func(hooks.Notice, []hooks.Hook, *hooks.Level) *hooks.Subject, n hooks.Notice) *hooks.Subject {
	n.Token = e.Name
	switch {
	case s != nil:
		s.SetHooks(e.Hooks)
	case len(e.Hooks) > 0:
		s = make(n, e.Hooks, nil)
	}
	if len(e.Hooks) == 0 {
		return nil
	}
	return s
}

// recallHooks goes on where the hooks of an earlier process stopped.
func (e *entry) recallHooks(recalled map[string]Record) {
	if len(e.Hooks) == 0 {
		return
	}
	var failures *hooks.Level
	for _, d := range e.sinks() {
		k := recalled[d.Path]
		failures = hooks.Merge(failures, k.Failures)
		d.hooked = hooks.File(hooks.Notice{Token: e.Name, Path: d.Path, Expires: k.Expires}, e.Hooks, k.Hooks)
	}
	e.hooked = hooks.Token(e.hooked.Notice, e.Hooks, failures)
}

// subjects are what the entry's hooks hear of.
func (e *entry) subjects() []*hooks.Subject {
	all := []*hooks.Subject{e.hooked}
	for _, d := range e.sinks() {
		all = append(all, d.hooked)
	}
	return all
}

// dropHooks ends what the entry's hooks wait for.
func (e *entry) dropHooks() {
	for _, s := range e.subjects() {
		if s != nil {
			s.SetHooks(nil)
		}
	}
}

// restHooks leaves the entry's hooks to the next process.
func (e *entry) restHooks() {
	for _, s := range e.subjects() {
		if s != nil {
			s.Idle = true
		}
	}
}

// queueHooks has all hooks of the entry run that are due.
func (a *Agent) queueHooks(e *entry) {
	for _, s := range e.subjects() {
		a.hooks.Update(s, a.now)
	}
}

// A writing is what must be known to write to a sink with hooks. It is a copy,
// as a reload may change the entry meanwhile.
type writing struct {
	records Records      // nil: nothing is recorded
	record  Record       // names the file
	level   *hooks.Level // nil: no hook hears of the file
	first   bool         // an attempt that failed found no acceptable token there
	inPlace bool         // a token that has not expired is known to lie there
}

func (a *Agent) writingFor(d *duty) writing {
	return writing{
		records: a.records,
		record:  Record{Token: d.entry.Name, Path: d.Path},
		level:   d.hooked.Level(),
		first:   d.first,
		inPlace: !d.inPlace.IsZero() && !d.inPlace.Expired(a.now) && !d.lost,
	}
}

// begin records that the write begins, where it makes hooks due: should the agent
// end before it can record more, the next one runs them. That it cannot be recorded
// is no reason not to write.
func (w writing) begin(ctx context.Context, first bool, t Token) (written *hooks.Level, err error) {
	if w.level == nil {
		return nil, nil
	}
	written = w.level.Written(first, t.Expires)
	if w.records == nil || w.record.Path == "" || len(written.Due()) == 0 {
		return written, nil
	}
	w.record.Hooks = written
	return written, beginWithin(ctx, w.records, w.record)
}

func beginWithin(ctx context.Context, to Records, records ...Record) error {
	ctx, cancel := context.WithTimeout(ctx, beginLimit)
	defer cancel()
	return to.Begin(ctx, records...)
}

// afterWrite has the hooks run for a file that was written.
func (a *Agent) afterWrite(d *duty, o outcome) {
	if d.hooked != nil && o.level != nil {
		d.hooked.Wrote(o.level, o.written.Changed || d.unsure)
		d.hooked.Notice.Expires = o.token.Expires
		a.hooks.Update(d.hooked, a.now)
	}
	d.unsure, d.first = false, false
}

// noteFailing has the hooks run for a token that has begun to fail, or ceased to.
func (a *Agent) noteFailing(e *entry) {
	s, fails := e.hooked, e.failing()
	if s == nil || fails == s.Fails() || !fails && !e.inOrder(a.now) {
		return
	}
	s.Notice.Path, s.Notice.Expires = e.failingPath(), time.Time{}
	if at := e.expiry(); at != never {
		s.Notice.Expires = at
	}
	s.SetFails(fails)
	a.hooks.Update(s, a.now)
	a.stale = true
}

func (e *entry) failing() bool {
	for _, d := range e.duties {
		if d.trouble.failures > 0 {
			return true
		}
	}
	return false
}

// inOrder reports whether nothing is under way that may still fail.
func (e *entry) inOrder(now time.Time) bool {
	if e.unheard > 0 || e.ask().Running() || !e.ask().Due.After(now) {
		return false
	}
	for _, d := range e.sinks() {
		if d.owed {
			return false
		}
	}
	return true
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

// runHooks starts the hook that is due, one at a time. Renewals do not wait for it.
func (a *Agent) runHooks() {
	a.noteStuckHook()
	r := a.hooks.Start(a.now, time.Now())
	if r == nil {
		return
	}
	var notices []hooks.Notice
	var begun []Record // of a failure: its end is to be told as well, also by the next agent
	for n, l := range r.Told {
		notices = append(notices, n)
		if (r.Event == hooks.OnFailure || r.Event == hooks.OnRecover) && n.Path != "" && a.records != nil {
			begun = append(begun, Record{Token: n.Token, Path: n.Path, Failures: l})
		}
	}
	parent, hook, records := a.ctx, r.Hook, a.records
	a.aside(func() func() {
		var unkept, err error
		if len(begun) > 0 {
			unkept = beginWithin(context.Background(), records, begun...)
		}
		ctx, cancel := context.WithTimeout(parent, hooks.Limit)
		defer cancel()
		if thrown := shielded(func() { err = hook.Command.Run(ctx, hook.Event, notices) }); thrown != nil {
			err = thrown
		}
		return func() {
			if unkept != nil {
				a.notKept(unkept)
			}
			a.hookEnded(r, err)
		}
	})
}

// failuresOf are those of the hook until now.
func (a *Agent) failuresOf(r *hooks.Run) *hookFailures {
	if f := a.hookFailures[r.ID()]; f != nil {
		return f
	}
	return &hookFailures{}
}

// noteStuckHook makes a hook that does not end one that fails, for all to see, and
// that no other waits for.
func (a *Agent) noteStuckHook() {
	r := a.hooks.Stuck(time.Now())
	if r == nil {
		return
	}
	f := a.failuresOf(r)
	f.add(&Fault{Kind: Transient, Err: errors.New("it does not end")}, a.now.Add(-hooks.Limit))
	f.said = a.now
	a.hookFailures[r.ID()] = f
	a.aboutHook(r).WithField("failures", f.failures).Error("hook does not end; others are run meanwhile")
}

// hookEnded takes in what came of a hook.
func (a *Agent) hookEnded(r *hooks.Run, err error) {
	f := a.failuresOf(r)
	if err == nil {
		if f.failures > 0 {
			a.aboutHook(r).WithField("outage", a.now.Sub(f.since).Round(time.Second)).Info("hook works again")
		}
		delete(a.hookFailures, r.ID())
		a.hooks.Succeeded(r)
		a.stale = true
		return
	}
	if a.ctx.Err() != nil {
		return // it was ended because the agent stops, and is due for the next one
	}
	fault := faultOf(err, Transient)
	f.add(fault, a.now)
	wait := askWait(fault, f.alike, 0)
	if fault.Expected {
		wait = min(wait, tooEarly)
	}
	a.logHook(r, f, fault, a.now.Add(wait))
	if a.hooks.Failed(r, a.now.Add(wait)) {
		a.hookFailures[r.ID()] = f
	} else {
		delete(a.hookFailures, r.ID())
	}
}

// logHook writes a line when a hook begins to fail, and one an hour. One that is only
// too early gets a single quiet line.
func (a *Agent) logHook(r *hooks.Run, f *hookFailures, fault *Fault, retry time.Time) {
	log := a.aboutHook(r).WithFields(logrus.Fields{"error": fault.Err, "failures": f.failures, "retry_at": stamp(retry)})
	switch {
	case fault.Expected && !f.early:
		log.Info("hook is too early; it is tried again, quietly")
	case !fault.Expected && (f.said.IsZero() || a.now.Sub(f.said) >= betweenLogLines):
		f.said = a.now
		log.Error("hook failed")
	}
	f.early = fault.Expected
}

func (a *Agent) aboutHook(r *hooks.Run) logrus.FieldLogger {
	return a.log.WithFields(logrus.Fields{"hook": r.Event, "command": r.Key})
}

// rehook takes up the hooks of the configuration. Those that failed are tried at once.
func (a *Agent) rehook() {
	for _, e := range a.entries {
		a.queueHooks(e)
	}
	a.hooks.Refresh(a.now)
}

// hooksAreFinal reports whether no hook is left for which waiting would help.
func (a *Agent) hooksAreFinal() bool {
	for r := range a.hooks.Runs {
		if f := a.failuresOf(r); r.Running() || f.failures == 0 || f.kind != Configuration {
			return false
		}
	}
	return true
}

// failingHooks are the hooks that fail for the entry.
func (a *Agent) failingHooks(e *entry) (all []HookStatus) {
	seen := map[hooks.ID]bool{}
	for _, s := range e.subjects() {
		for _, r := range a.hooks.Of(s) {
			if f := a.failuresOf(r).failing(r.Due()); f != nil && !seen[r.ID()] {
				seen[r.ID()] = true
				all = append(all, HookStatus{r.Event, r.Key, *f})
			}
		}
	}
	return all
}
