package agent

import (
	"context"
	"time"
)

// Replaced counts what a reload did.
type Replaced struct {
	Added     int `json:"added"`
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Removed   int `json:"removed"`
}

// Replace swaps the set of Renewers. One whose Digest is that of the Renewer of
// the same name is left alone: it keeps its Source, its Sinks and its token,
// and takes over only what does not touch the token (such as Schedule and
// Hooks); what fails is tried again now. One with another Digest is renewed at
// once. The files of removed ones stay, unless DeleteRemoved says otherwise.
func (a *Agent) Replace(ctx context.Context, renewers []Renewer) (r Replaced, err error) {
	err = a.call(ctx, func() { r = a.replace(renewers) })
	return r, err
}

func (a *Agent) replace(renewers []Renewer) (r Replaced) {
	before := a.entries
	a.entries, a.paths = make(map[string]*entry, len(renewers)), map[string]*duty{}
	var fresh []*entry
	for _, n := range renewers {
		old := before[n.Name]
		switch {
		case len(n.Sinks) == 0:
			continue
		case old != nil && old.Digest == n.Digest:
			r.Unchanged++
			delete(before, n.Name)
			a.takeOver(old, n)
			continue
		case old != nil:
			r.Changed++
		default:
			r.Added++
		}
		e := a.newEntry(n, old)
		a.entries[n.Name] = e
		fresh = append(fresh, e)
	}
	r.Removed = len(before) - r.Changed
	a.letGo(before)
	a.rehook()
	a.index()
	a.pool.RetryNow()
	for _, e := range fresh {
		a.schedule(e.ask(), a.now)
	}
	return r
}

// takeOver takes over what may change without a new token.
func (a *Agent) takeOver(e *entry, n Renewer) {
	before := e.Schedule.Next(e.token)
	e.Schedule, e.Required, e.Accept = n.Schedule, n.Required, n.Accept
	e.Hooks, e.Decode = n.Hooks, n.Decode
	e.RemoveExpired, e.DeleteRemoved = n.RemoveExpired, n.DeleteRemoved
	a.entries[e.Name] = e
	e.fitHooks()
	for _, d := range e.sinks() {
		if d.Path != "" {
			a.paths[d.Path] = d
		}
	}
	ask, after := e.ask(), e.Schedule.Next(e.token)
	switch {
	case ask.Running():
	case ask.trouble.failures > 0:
		a.scheduleAt(ask, a.now)
	case !e.token.IsZero() && !after.Equal(before):
		a.schedule(ask, after)
	}
}

// newEntry makes an entry that is due at once. Of an old one with the same name
// it takes over what lies in the sinks that both have.
func (a *Agent) newEntry(n Renewer, old *entry) *entry {
	e := &entry{Renewer: n}
	ask := newDuty(e, Target{})
	ask.asked, ask.Queue = true, a.sourceQueue(e)
	e.duties = []*duty{ask}
	for _, t := range n.Sinks {
		d := newDuty(e, t)
		d.Queue = a.sinkQueue(t, e)
		if d.Path != "" {
			a.paths[d.Path] = d
		}
		e.duties = append(e.duties, d)
		if was := old.sinkAt(d.Path); was != nil {
			d.hooked, was.hooked = was.hooked, nil
			a.succeed(d, was)
		}
	}
	if old != nil {
		e.waiters, old.waiters = old.waiters, nil
		e.hooked, old.hooked = old.hooked, nil
		e.ask().trouble = old.ask().trouble // so that its end is noticed
		ask.Inherit(&old.ask().Job)
		e.ask().trouble.alike, e.ask().trouble.said = 0, time.Time{}
	}
	e.fitHooks()
	return e
}

// succeed takes over what lies in a sink from the entry that put it there, and
// sees to it while there is no new token.
func (a *Agent) succeed(d, was *duty) {
	d.inPlace, d.record, d.lost = was.inPlace, was.record, was.lost
	d.unsure, d.first = was.unsure, was.first
	if d.recalled = d.store != nil && d.record.Mark != nil; d.recalled {
		a.schedule(d, a.now)
	}
}

// bequeath leaves what is known of a gone entry's sink to what has come in its place.
func (a *Agent) bequeath(d *duty, o outcome) {
	heir := a.paths[d.Path]
	switch {
	case d.doing != putting || heir == nil || heir.entry.Name != d.entry.Name:
	case o.err != nil:
		heir.unsure, heir.first = true, d.first || o.first
	default:
		d.hold(o)
		a.succeed(heir, d)
		a.afterWrite(heir, o)
		a.stale = true
	}
}

// sinkAt is the entry's duty for the file at the path; nil when it has none.
func (e *entry) sinkAt(path string) *duty {
	if e == nil || path == "" {
		return nil
	}
	for _, d := range e.sinks() {
		if d.Path == path {
			return d
		}
	}
	return nil
}

// letGo ends the entries that are not kept. What runs for them is not heard any
// more, but for the hooks that it makes due. Who waits for one waits for what has
// come in its place. The files that no definition has now are orphans.
func (a *Agent) letGo(gone map[string]*entry) {
	for _, e := range gone {
		e.gone = true
		e.dismiss()
		e.dropHooks()
		for _, d := range e.duties {
			a.pool.Drop(&d.Job)
			if d.sink != nil && a.paths[d.Path] == nil && (d.Running() || d.recalled || !d.inPlace.IsZero()) {
				a.orphan(d)
			}
		}
	}
	for path, d := range a.orphans {
		if a.paths[path] != nil {
			a.forget(d)
		}
	}
	a.stale = true
	a.dropQueues()
}
