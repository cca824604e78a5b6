package agent

import (
	"encoding/json"
	"reflect"
	"slices"
	"time"
)

// A twin is what several tokens have in common that ask one remote source for
// the same. It is asked once for all of them that are due or soon will be.
type twin struct {
	source  any // Renewer.Origin, or the Source itself
	request string
}

// twinOf is the zero twin for an entry that cannot have any.
func twinOf(e *entry) twin {
	if _, remote := e.Source.(Remote); !remote || !reflect.ValueOf(e.Source).Comparable() {
		return twin{}
	}
	request, err := json.Marshal(e.Request)
	if err != nil {
		return twin{}
	}
	if e.Origin != "" { // a reload makes other Sources, and leaves unchanged Renewers theirs
		return twin{e.Origin, string(request)}
	}
	return twin{e.Source, string(request)}
}

// index finds the entries by what their sources have in common.
func (a *Agent) index() {
	clear(a.twins)
	clear(a.follow)
	for _, e := range a.entries {
		if e.twin != (twin{}) {
			a.twins[e.twin] = append(a.twins[e.twin], e)
		}
		if f, ok := e.Source.(Follower); ok {
			path := f.Follows().Path
			a.follow[path] = append(a.follow[path], e)
		}
	}
}

// others are the asks of the duty's twins.
func (a *Agent) others(d *duty) (all []*duty) {
	for _, e := range a.twins[d.entry.twin] {
		if ask := e.ask(); ask != d && !ask.running && !e.idle {
			all = append(all, ask)
		}
	}
	return all
}

// gather starts the twins that are due, or wait after a failure, together with the ask.
func (a *Agent) gather(d *duty) {
	d.twins = slices.DeleteFunc(a.others(d), func(t *duty) bool { return t.turn == 0 && t.trouble.failures == 0 })
	for _, t := range d.twins {
		a.timers.take(t)
		t.lane.ready.take(t)
		t.doing = asking
		t.set(a.now)
	}
	a.reopen(d.lane)
}

// concerned are those that asked together, and the twins that would be due before
// long: these get the token too, or fail too, and all are asked for again together.
func (a *Agent) concerned(d *duty, o *outcome) (together, soon []*duty) {
	together, d.twins = append([]*duty{d}, d.twins...), nil
	if o.err == nil {
		return together, a.soon(d, a.now.Add(share(o.token.Lifetime(), jitterShare)))
	}
	o.retry = a.retry(together, o.err)
	soon = slices.DeleteFunc(a.soon(d, o.retry), func(t *duty) bool { return t.asked }) // since: that deserves an answer of its own
	o.retry = earlier(o.retry, a.retry(slices.Concat(together, soon), o.err))
	return together, soon
}

// soon are the twins that would be due by then.
func (a *Agent) soon(d *duty, until time.Time) []*duty {
	return slices.DeleteFunc(a.others(d), func(t *duty) bool { return t.due.After(until) || t.entry.unheard > 0 })
}

// retry is when they are asked for again: as soon as the first of them must, after
// what is the same row of failures for all of them.
func (a *Agent) retry(together []*duty, err error) time.Time {
	f, n, first := faultOf(err, Transient), 0, never
	for _, d := range together {
		n = max(n, d.trouble.nth(f))
	}
	for _, d := range together {
		remaining := d.entry.expiry().Sub(a.now)
		first = earlier(first, a.now.Add(askWait(f, n, remaining)))
	}
	return first
}

// copies reports whether the entry's tokens are what lies in a file that something
// else keeps fresh.
func (e *entry) copies() bool {
	f, ok := e.Source.(Follower)
	return ok && f.Follows().Copied
}

// atMost is due, or when a file that is copied is to be read again at the latest.
func (e *entry) atMost(due, now time.Time) time.Time {
	if e.copies() {
		return earlier(due, now.Add(rereadUnknown))
	}
	return due
}

// followed has the entry's source read again a file that has changed: a copy at
// once, but no more than once a second; what fails as soon as two attempts may be.
func (a *Agent) followed(e *entry) {
	ask := e.ask()
	switch {
	case ask.running:
		ask.touched = true
	case e.copies():
		a.scheduleAt(ask, later(a.now, ask.begun.Add(betweenTouches)))
	case ask.trouble.failures > 0:
		if i := ask.lane.issuer; i != nil {
			i.knock()
		}
		a.schedule(ask, a.now)
	}
}

func earlier(t, u time.Time) time.Time {
	if t.Before(u) {
		return t
	}
	return u
}
