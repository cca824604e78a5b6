package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

const (
	tooEarly   = 30 * time.Second // the longest wait after a hook that was too early
	beginLimit = 3 * time.Second  // for the disk to record that a write begins; enough for a slow disk
)

// hookFailures are the failures of one hook.
type hookFailures struct {
	failures
	early bool // the last failure was expected; see Fault
}

// fitHooks gives the token and its files the hooks of its definition. What they have heard of
// is known from before, or from the records of an earlier process.
func (e *entry) fitHooks(recalled map[string]Record) {
	var failures *hooks.Level
	notice := hooks.Notice{Token: e.Name}
	for _, p := range slices.Backward(e.sinks) {
		k := recalled[p.Name]
		failures = hooks.Merge(failures, k.Failures)
		notice.Path, notice.Expires = p.Name, queue.Later(p.inPlace.Expires, k.Expires)
		p.hooked = e.fitted(p.hooked, hooks.File, notice, k.Hooks)
	}
	if e.hooked == nil && e.failing() { // new hooks do not hear of what began before
		failures = &hooks.Level{Failure: 1}
	}
	e.hooked = e.fitted(e.hooked, hooks.Token, notice, failures) // with the first of the files

	if e.hooked != nil && e.sinkOf(e.hooked.Notice.Path) == nil { // its file has moved
		e.hooked.Notice.Path = notice.Path
	}
}

// fitted is the subject with the hooks of the entry, or a new subject; nil: no hook is for it.
func (e *entry) fitted(s *hooks.Subject, make func(hooks.Notice, []hooks.Hook, *hooks.Level) *hooks.Subject, n hooks.Notice, l *hooks.Level) *hooks.Subject {
	switch {
	case s != nil && l == nil:
		s.SetHooks(e.Hooks)
	case len(e.Hooks) > 0:
		s = make(n, e.Hooks, l)
	}
	if s.Level() == nil {
		return nil
	}
	return s
}

// subjects are what the entry's hooks hear of.
func (e *entry) subjects() (all []*hooks.Subject) {
	if e.hooked != nil {
		all = append(all, e.hooked)
	}
	for _, p := range e.sinks {
		if p.hooked != nil {
			all = append(all, p.hooked)
		}
	}
	return all
}

// A writing is what must be known to write to a sink with hooks: a copy, because a reload may
// change the entry meanwhile.
type writing struct {
	records Records      // nil: nothing is recorded
	record  Record       // names the file
	level   *hooks.Level // nil: no hook hears of the file
	first   bool         // a failed attempt found no acceptable token there
	inPlace bool         // a valid token surely lies there
}

func (p *placement) writing() writing {
	return writing{
		records: p.records.Records,
		record:  Record{Token: p.entry.Name, Name: p.Name},
		level:   p.hooked.Level(),
		first:   p.unsure.first,
		inPlace: !p.inPlace.IsZero() && !p.inPlace.Expired(p.now) && !p.lost,
	}
}

// begin records that the write begins, if hooks will be due for it. Should the agent be killed,
// the next one runs them. After an error the write goes on.
func (w writing) begin(ctx context.Context, first bool, t Token) (written *hooks.Level, err error) {
	if w.level == nil {
		return nil, nil
	}
	written = w.level.Written(first, t.Expires)
	if w.records == nil || w.record.Name == "" || len(written.Due()) == 0 {
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

// afterWrite makes hooks due for a file that was written.
func (p *placement) afterWrite(r result) {
	if p.hooked != nil && r.level != nil {
		p.hooked.Wrote(r.level, r.written.Changed || p.unsure.changed)
		p.hooked.Notice.Expires = r.token.Expires
		p.hooks.queue.Update(p.hooked, p.now)
	}
	p.unsure = unsure{}
}

// noteFailing makes hooks due for a token that has begun or ceased to fail.
func (e *entry) noteFailing() {
	s, fails := e.hooked, e.failing()
	if s == nil || fails == s.Fails() || !fails && !e.inOrder() {
		return
	}
	s.Notice.Path, s.Notice.Expires = e.failingPath(), time.Time{}
	if at := e.expiry(); at != never {
		s.Notice.Expires = at
	}
	s.SetFails(fails)
	e.hooks.queue.Update(s, e.now)
	e.records.stale = true
}

// noteExpiring has the hooks run that hear of a token which is about to expire. It returns
// when the next one has to be: never, if none has.
func (p *placement) noteExpiring() time.Time {
	t := p.inPlace
	switch {
	case p.hooked == nil || t.Expires.IsZero():
		return never
	case p.lost: // it may lie there again
		return p.now.Add(betweenLooks)
	}
	normal := p.entry.Schedule.Next(t).Add(betweenAttempts) // no token is told of that is renewed in time
	next := p.hooked.Expiring(func(before time.Duration) time.Time { return queue.Later(t.Expires.Add(-before), normal) }, p.now)
	p.hooks.queue.Update(p.hooked, p.now)
	if next.IsZero() {
		return never
	}
	return next
}

// hookRuns run the hooks that are due. The Value of a run that fails is its hookFailures, so
// that they go when the run goes.
type hookRuns struct {
	*core
	queue    hooks.Queue
	expiring time.Time // when the next token may be about to expire; zero: nobody knows
}

// noteExpiring looks for tokens that are about to expire, of thousands at once.
func (h *hookRuns) noteExpiring() {
	if h.now.Before(h.expiring) {
		return
	}
	next := never
	for _, e := range h.entries {
		for _, p := range e.sinks {
			next = queue.Earlier(next, p.noteExpiring())
		}
	}
	h.expiring = queue.Later(next, h.now.Add(betweenAttempts))
}

// watch has the token that a sink holds now looked at in time.
func (h *hookRuns) watch(p *placement) { h.expiring = queue.Earlier(h.expiring, p.noteExpiring()) }

// shift moves the times that count from now, after the clock was set by step.
func (h *hookRuns) shift(step time.Duration) {
	h.expiring = time.Time{}
	h.queue.Shift(step)
	for r := range h.queue.Runs {
		h.of(r).shift(step)
	}
}

// run starts the hook that is due, one at a time. Renewals do not wait for it.
func (h *hookRuns) run() {
	h.noteStuck()
	r := h.queue.Start(h.now, time.Now())
	if r == nil {
		return
	}
	var notices []hooks.Notice
	var begun []Record // of failures: the next agent has to tell of their end
	for n, l := range r.Told {
		notices = append(notices, n)
		if (r.Event == hooks.OnFailure || r.Event == hooks.OnRecover) && n.Path != "" && h.records.Records != nil {
			begun = append(begun, Record{Token: n.Token, Name: n.Path, Failures: l})
		}
	}
	parent, hook, records := h.ctx, r.Hook, h.records.Records
	h.aside(func() func() {
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
				h.records.notKept(unkept)
			}
			h.over(r, err)
		}
	})
}

// of are the failures of the run.
func (h *hookRuns) of(r *hooks.Run) *hookFailures {
	if f, fails := r.Value.(*hookFailures); fails {
		return f
	}
	return &hookFailures{}
}

// noteStuck makes a hook that does not end fail, and lets others run.
func (h *hookRuns) noteStuck() {
	r := h.queue.Stuck(time.Now())
	if r == nil {
		return
	}
	f := h.of(r)
	f.add(&Fault{Kind: Transient, Err: errors.New("it does not end")}, h.now.Add(-hooks.Limit))
	f.said = h.now
	r.Value = f
	h.about(r).WithField("failures", f.count).Error("hook does not end; others are run meanwhile")
}

// over notes the result of a hook.
func (h *hookRuns) over(r *hooks.Run, err error) {
	f := h.of(r)
	if err == nil {
		if f.any() {
			h.about(r).WithField("outage", h.now.Sub(f.since).Round(time.Second)).Info("hook works again")
		}
		r.Value = nil
		h.queue.Succeeded(r)
		h.records.stale = true
		return
	}
	if h.ctx.Err() != nil {
		return // it was killed because the agent stops, and stays due
	}
	fault := faultOf(err, Transient)
	f.add(fault, h.now)
	wait := askWait(fault, f.alike, 0)
	if fault.Expected {
		wait = min(wait, tooEarly)
	}
	h.logFailure(r, f, fault, h.now.Add(wait))
	r.Value = f
	h.queue.Failed(r, h.now.Add(wait))
}

// logFailure writes a line when a hook begins to fail, and every hour. That it is only too
// early is one quiet line.
func (h *hookRuns) logFailure(r *hooks.Run, f *hookFailures, fault *Fault, retry time.Time) {
	log := h.about(r).WithFields(logrus.Fields{"error": fault.Err, "failures": f.count, "retry_at": stamp(retry)})
	switch {
	case fault.Expected && !f.early:
		log.Info("hook is too early; it is tried again, quietly")
	case !fault.Expected && (f.said.IsZero() || h.now.Sub(f.said) >= betweenLogLines):
		f.said = h.now
		log.Error("hook failed")
	}
	f.early = fault.Expected
}

func (h *hookRuns) about(r *hooks.Run) logrus.FieldLogger {
	return h.log.WithFields(logrus.Fields{"hook": r.Event, "command": r.Key})
}

// rehook queues the hooks after a change of the configuration. Those that fail are tried now.
func (h *hookRuns) rehook() {
	h.expiring = time.Time{}
	for _, e := range h.entries {
		for _, s := range e.subjects() {
			h.queue.Update(s, h.now)
		}
	}
	h.queue.Refresh(h.now)
}

// final reports whether waiting would help no hook.
func (h *hookRuns) final() bool {
	for r := range h.queue.Runs {
		if f := h.of(r); r.Running || !f.any() || f.kind != Configuration {
			return false
		}
	}
	return true
}

// failingHooks are the hooks that fail for the entry.
func (e *entry) failingHooks() (all []HookStatus) {
	seen := map[hooks.ID]bool{}
	for _, s := range e.subjects() {
		for _, r := range s.Runs() {
			was := e.hooks.of(r)
			if f := was.status(r.Due); f != nil && !seen[r.ID()] {
				seen[r.ID()] = true
				all = append(all, HookStatus{r.Event, r.Key, *f, was.early})
			}
		}
	}
	return all
}
