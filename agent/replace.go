package agent

import "context"

// Replaced counts what a reload did.
type Replaced struct {
	Added     int `json:"added"`
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Removed   int `json:"removed"`
}

// Replace replaces the set of Renewers.
//
// A Renewer with the Digest of the old one of that name is unchanged: the old one keeps its
// Source, its Sinks and its token, and takes over only what does not affect the token, such
// as Schedule and Hooks. If it fails, it is tried now. A Renewer with another Digest is
// renewed now. The files of removed Renewers stay, unless DeleteRemoved is set.
func (a *Agent) Replace(ctx context.Context, renewers []Renewer) (r Replaced, err error) {
	err = a.call(ctx, func() { r = a.replace(renewers) })
	return r, err
}

func (a *Agent) replace(renewers []Renewer) (r Replaced) {
	before := a.entries
	a.entries, a.named = make(map[string]*entry, len(renewers)), map[string]*placement{}
	var fresh []*entry
	for _, n := range renewers {
		old := before[n.Name]
		switch {
		case len(n.Sinks) == 0:
			continue
		case old != nil && old.Digest == n.Digest:
			r.Unchanged++
			delete(before, n.Name)
			a.add(old)
			old.takeOver(n)
			continue
		case old != nil:
			r.Changed++
		default:
			r.Added++
		}
		e := a.newEntry(n, old)
		switch {
		case old != nil:
			e.renewal.cause = newDefinition
		case before != nil:
			e.renewal.cause = "reload"
		}
		a.add(e)
		fresh = append(fresh, e)
	}
	r.Removed = len(before) - r.Changed
	a.letGo(before)
	a.hooks.rehook()
	a.index()
	a.pool.RetryNow()
	for _, e := range fresh {
		e.renewal.schedule(a.now)
	}
	return r
}

// add adds the entry and its sinks, by their names.
func (s *set) add(e *entry) {
	s.entries[e.Name] = e
	for _, p := range e.sinks {
		if p.Name != "" {
			s.named[p.Name] = p
		}
	}
}

// takeOver takes over what can change without a new token.
func (e *entry) takeOver(n Renewer) {
	before := e.Schedule.Next(e.newest())
	e.Schedule, e.Required, e.Accept = n.Schedule, n.Required, n.Accept
	e.Hooks, e.Decode, e.Form = n.Hooks, n.Decode, n.Form
	e.RemoveExpired, e.DeleteRemoved = n.RemoveExpired, n.DeleteRemoved
	e.fitHooks(nil)
	r, after := e.renewal, e.Schedule.Next(e.newest())
	switch {
	case r.Running():
	case r.failures.any():
		r.scheduleAt(r.now)
	case !e.newest().IsZero() && !after.Equal(before):
		r.schedule(after)
	}
	e.fitTrial(n.Validation)
}

// newEntry makes an entry. From an old one of the same name it takes over what lies in the
// sinks that both have.
func (c *core) newEntry(n Renewer, old *entry) *entry {
	e := &entry{core: c, Renewer: n}
	e.renewal = newRenewal(c, e)
	for _, t := range n.Sinks {
		p := newPlacement(c, e, t)
		e.sinks = append(e.sinks, p)
		if was := old.sinkOf(p.Name); was != nil {
			p.hooked, was.hooked = was.hooked, nil
			p.succeed(was)
		}
	}
	if old != nil {
		e.waiters, old.waiters = old.waiters, nil
		e.hooked, old.hooked = old.hooked, nil
		e.renewal.inherit(old.renewal)
	}
	e.fitTrial(n.Validation)
	e.fitHooks(nil)
	return e
}

// succeed takes over what lies in the sink from the placement that put it there.
func (p *placement) succeed(was *placement) {
	p.inPlace, p.record, p.lost = was.inPlace, was.record, was.lost
	p.unsure = was.unsure
	if p.recalled = p.store != nil && p.record.Mark != nil; p.recalled {
		p.schedule(p.now)
	}
}

// handOn passes what is known of the sink of an entry that is gone to its successor.
func (p *placement) handOn(r result) {
	next := p.named[p.Name]
	switch {
	case p.doing != putting || next == nil || next.entry.Name != p.entry.Name:
	case r.err != nil:
		next.unsure = unsure{changed: true, first: p.unsure.first || r.first}
	default:
		p.hold(r)
		next.succeed(p)
		next.afterWrite(r)
	}
}

// sinkOf is the placement of that name; nil when the entry has none.
func (e *entry) sinkOf(name string) *placement {
	if e == nil || name == "" {
		return nil
	}
	for _, p := range e.sinks {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// letGo ends the entries that are gone. What still runs for them has no effect, except that it
// makes hooks due. Files that no definition has any more become leftovers.
func (c *core) letGo(gone map[string]*entry) {
	for _, e := range gone {
		e.gone = true
		e.dismiss()
		for _, s := range e.subjects() {
			s.SetHooks(nil)
		}
		c.pool.Drop(&e.renewal.Job)
		if e.trial != nil {
			e.trial.drop()
		}
		for _, p := range e.sinks {
			c.pool.Drop(&p.Job)
			if c.named[p.Name] == nil && (p.Running() || p.recalled || !p.inPlace.IsZero()) {
				p.leave()
			}
		}
	}
	for name, p := range c.leftovers {
		if c.named[name] != nil {
			p.forget()
		}
	}
	c.records.stale = true
	c.dropQueues()
}
