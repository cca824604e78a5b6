package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

const (
	gatherHooks = time.Second      // from the first notice until a hook is run
	tooEarly    = 30 * time.Second // at most, until one that was too early is tried again
	hookLimit   = time.Hour        // a Command has its own, shorter limit; this one is for those that forgot
)

// A run is a hook with the notices that it is to be run for.
type run struct {
	hook    hooks.Hook
	notices []hooks.Notice
	owed    []Owed // what is settled when it succeeds: the notices, and those in whose place they came
	due     time.Time
	running bool
	begun   time.Time // by the monotonic clock
	stuck   bool      // it has not even ended when it was told to
	trouble trouble
	early   bool // the last failure was expected; see Fault
}

// notify has the hooks of the entry for that event run soon, and reports whether
// it has any.
func (a *Agent) notify(e *entry, o Owed) (any bool) {
	for _, h := range e.Hooks {
		if h.Event == o.Event {
			a.waitingRun(h, o.Notice.Token).add(o)
			any = true
		}
	}
	return any
}

// opposites are the events of which the last one tells how the token is.
var opposites = map[hooks.Event]hooks.Event{hooks.OnFailure: hooks.OnRecover, hooks.OnRecover: hooks.OnFailure}

// about reports whether it is to be run for the token.
func (r *run) about(token string) bool {
	return slices.ContainsFunc(r.notices, func(n hooks.Notice) bool { return n.Token == token })
}

// add takes on a notice, in the place of an older one of the same file.
func (r *run) add(o Owed) {
	n := o.Notice
	r.notices = slices.DeleteFunc(r.notices, func(m hooks.Notice) bool { return m.Token == n.Token && m.Path == n.Path })
	r.notices = append(r.notices, n)
	if !slices.Contains(r.owed, o) {
		r.owed = append(r.owed, o)
	}
}

// waitingRun is the run of the hook for the token that has not begun yet. It is not
// one from before the opposite happened to the token: of that its hook hears first.
func (a *Agent) waitingRun(h hooks.Hook, token string) *run {
	for _, r := range slices.Backward(a.runs) {
		if !r.running && r.hook.Event == opposites[h.Event] && r.about(token) {
			break
		}
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
	a.noteStuck()
	r := a.nextRun()
	if r == nil || r.due.After(a.now) {
		return
	}
	r.running, r.begun = true, time.Now()
	parent, hook, notices := a.ctx, r.hook, slices.Clone(r.notices)
	a.aside(func() func() {
		ctx, cancel := context.WithTimeout(parent, hookLimit)
		defer cancel()
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
		case r.running && !r.stuck:
			return nil
		case r.running || a.comesLater(r):
		case next == nil || r.due.Before(next.due) || r.due.Equal(next.due) && r.rank() < next.rank():
			next = r
		}
	}
	return next
}

// comesLater reports whether another hook is to be run for the same file first.
func (a *Agent) comesLater(r *run) bool {
	return r.hook.Event == hooks.OnChange && slices.ContainsFunc(a.runs, func(o *run) bool {
		return o.hook.Event == hooks.OnFirst && o.trouble.failures == 0 && slices.ContainsFunc(o.notices, func(n hooks.Notice) bool {
			return slices.ContainsFunc(r.notices, func(m hooks.Notice) bool { return m.Token == n.Token && m.Path == n.Path })
		})
	})
}

// noteStuck makes a run that does not end one that fails, for all to see, and
// that no other waits for.
func (a *Agent) noteStuck() {
	for _, r := range a.runs {
		lasts := time.Since(r.begun)
		if !r.running || r.stuck || lasts <= hookLimit {
			continue
		}
		r.stuck = true
		r.trouble.add(&Fault{Kind: Transient, Err: errors.New("it does not end")}, a.now.Add(-lasts))
		r.trouble.said = a.now
		a.aboutHook(r).WithField("failures", r.trouble.failures).Error("hook does not end; others are run meanwhile")
	}
}

func (r *run) shift(step time.Duration) {
	r.due = r.due.Add(step)
	r.trouble.shift(step)
}

func (r *run) rank() int { return slices.Index(hooks.Events, r.hook.Event) }

// hookEnded takes in what came of a hook.
func (a *Agent) hookEnded(r *run, err error) {
	r.running, r.stuck = false, false
	if err == nil {
		if r.trouble.failures > 0 {
			a.aboutHook(r).WithField("outage", a.now.Sub(r.trouble.since).Round(time.Second)).Info("hook works again")
		}
		a.dropRun(r)
		a.settleDebts(r.owed)
		return
	}
	if a.ctx.Err() != nil {
		return // it was ended because the agent stops, and is owed to the next one
	}
	f := faultOf(err, Transient)
	r.trouble.add(f, a.now)
	wait := askWait(f, r.trouble.alike, 0)
	if f.Expected {
		wait = min(wait, tooEarly)
	}
	r.due = a.now.Add(wait)
	a.logHook(r, f)
	if h, wanted := a.wanted(r.hook); wanted {
		r.hook = h
		a.merge(r)
		return
	}
	a.dropRun(r)
	a.handOver(r.owed)
}

// logHook writes a line when a hook begins to fail, and one an hour. One that is only
// too early gets a single quiet line.
func (a *Agent) logHook(r *run, f *Fault) {
	log := a.aboutHook(r).WithFields(logrus.Fields{"error": f.Err, "failures": r.trouble.failures, "retry_at": stamp(r.due)})
	switch {
	case f.Expected && !r.early:
		log.Info("hook is too early; it is tried again, quietly")
	case !f.Expected && (r.trouble.said.IsZero() || a.now.Sub(r.trouble.said) >= betweenLogLines):
		r.trouble.said = a.now
		log.Error("hook failed")
	}
	r.early = f.Expected
}

func (a *Agent) aboutHook(r *run) logrus.FieldLogger {
	return a.log.WithFields(logrus.Fields{"hook": r.hook.Event, "command": r.hook.Key})
}

// merge adds the notices that came while the run was running.
func (a *Agent) merge(r *run) {
	for _, o := range a.runs {
		if o != r && o.hook.Event == r.hook.Event && o.hook.Key == r.hook.Key {
			a.dropRun(o)
			for _, owed := range o.owed {
				r.add(owed)
			}
			return
		}
	}
}

func (a *Agent) dropRun(r *run) {
	a.runs = slices.DeleteFunc(a.runs, func(o *run) bool { return o == r })
}

// rehook gives runs whose hook is no longer in the configuration to the hooks
// that their tokens have now for the same event, and tries failing ones at once.
func (a *Agent) rehook() {
	var moved []Owed
	a.runs = slices.DeleteFunc(a.runs, func(r *run) bool {
		if r.running {
			return false
		}
		h, wanted := a.wanted(r.hook)
		if !wanted {
			moved = append(moved, r.owed...)
			return true
		}
		r.hook = h
		if r.trouble.failures > 0 {
			r.due = a.now
		}
		return false
	})
	a.handOver(moved)
}

// wanted is the hook of the configuration that is run together with h.
func (a *Agent) wanted(h hooks.Hook) (now hooks.Hook, wanted bool) {
	for _, e := range a.entries {
		for _, o := range e.Hooks {
			if o.Event == h.Event && o.Key == h.Key {
				return o, true
			}
		}
	}
	return hooks.Hook{}, false
}
