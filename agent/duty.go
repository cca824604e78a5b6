package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// An entry is a Renewer that is being kept going.
type entry struct {
	Renewer
	token   Token   // the newest one, on its way to the sinks or in them
	duties  []*duty // to ask the source, and to see to each sink
	unheard int     // sinks that have yet to say whether they can be adopted
	gone    bool    // no longer in the configuration: what still runs for it ends unheard
	waiters []chan struct{}
	hooked  *hooks.Subject // what hooks hear of its failures; nil: it has no hooks
	idle    bool           // see Agent.Only
	final   bool           // see Agent.Once
	short   bool           // it was said that its tokens live no longer than min_remaining
	shorter bool           // it was said that its tokens live shorter than was asked for
	noted   string         // the last Note that was logged
	besides string         // the last Beside that was logged
}

func (e *entry) ask() *duty     { return e.duties[0] }
func (e *entry) sinks() []*duty { return e.duties[1:] }

// A duty is one thing that is done for an entry again and again: to ask its
// source, or to see to one of its sinks, which is to put the token there if it
// is owed to it and otherwise to look whether it still lies there.
type duty struct {
	queue.Job
	entry *entry
	sink  Sink  // nil: to ask the source
	store Store // the sink again; nil: it cannot be looked at

	asked  bool  // a person, a new definition or a new key wants it now, and takes whatever comes
	forced bool  // the attempt that runs, or the failed one before it, was asked for
	doing  doing // what the attempt does

	owed     bool           // the entry's token is not in the sink yet
	tried    bool           // the entry's token was put, or could not be
	lost     bool           // its readers no longer find the token that was put
	unsure   bool           // an attempt to put the token failed, and may have changed the file
	first    bool           // no acceptable token lay there before that attempt
	hooked   *hooks.Subject // what hooks hear of the file; nil: the entry has none
	touched  bool           // something happened to the file while the duty ran
	inPlace  Token          // what the sink holds
	repaired time.Time      // when the file was last found changed
	told     time.Time      // when it was last said that somebody else changes it
	record   Record         // of what the sink holds
	recalled bool           // the record is of an earlier process; the file is yet to be adopted
	orphan   bool           // no definition has the file any more
	remove   bool           // the orphan's file is to go
	trouble  trouble
}

// newDuty is a duty that nobody has scheduled. It stands in no queue yet.
func newDuty(e *entry, t Target) *duty {
	d := &duty{entry: e, sink: t.Sink}
	d.Value, d.Path, d.Limit = d, t.Name, askLimit+hangGrace
	if t.Sink != nil {
		d.Limit = sinkLimit + hangGrace
		d.store, _ = t.Sink.(Store)
	}
	return d
}

// never stands for the expiry of a token that has none as far as we know.
var never = time.Unix(1<<40, 0)

// expiry is when the first of the entry's readers has no valid token any more;
// the zero time when one has none now.
func (e *entry) expiry() time.Time {
	first := never
	for _, s := range e.sinks() {
		switch {
		case s.inPlace.IsZero() || s.lost:
			return time.Time{}
		case !s.inPlace.Expires.IsZero() && s.inPlace.Expires.Before(first):
			first = s.inPlace.Expires
		}
	}
	return first
}

// issued takes in the answer of a source.
func (a *Agent) issued(d *duty, o outcome) {
	e := d.entry
	switch {
	case o.err != nil:
		a.askFailed(d, faultOf(o.err, Transient))
	case e.copies() && o.token.Secret.Equal(e.token.Secret): // it has not changed
		a.schedule(d, e.atMost(e.Schedule.Next(o.token), a.now))
		a.recovered(d)
	case !d.forced && e.expiry().After(a.now) && sooner(o.token, e.token, a.now):
		a.schedule(d, e.atMost(a.now.Add(e.token.Expires.Sub(a.now)/2), a.now))
		a.recovered(d)
	default:
		e.token, e.unheard = o.token, 0
		a.schedule(d, e.atMost(e.Schedule.Next(e.token), a.now))
		a.recovered(d)
		a.sayShortLife(e)
		a.sayNote(e)
		for _, s := range e.sinks() {
			s.owed, s.recalled, s.tried = true, false, false
			a.schedule(s, a.now)
		}
	}
}

func (a *Agent) askFailed(d *duty, f *Fault) {
	due := a.now.Add(askWait(f, d.trouble.nth(f), d.entry.expiry().Sub(a.now)))
	d.trouble.add(f, a.now)
	a.schedule(d, due)
	a.logFailure(d, "token not renewed", "token still not renewed")
}

// written takes in what came of writing a sink.
func (a *Agent) written(d *duty, o outcome) {
	e := d.entry
	d.tried = o.token == e.token
	if o.err != nil {
		d.unsure, d.first = true, d.first || o.first
		a.sinkFailed(d, o.err, "token not written", "token still not written")
		return
	}
	a.recovered(d)
	d.recalled = false
	d.hold(o)
	a.stale = true
	a.afterWrite(d, o)
	if o.written.Changed {
		a.logWritten(d)
	}
	d.owed = o.token != e.token // a newer one may have come meanwhile
	a.lookLater(d)
}

// hold notes that the sink holds what was put.
func (d *duty) hold(o outcome) {
	d.inPlace, d.lost = o.token, false
	d.record = Record{Digest: d.entry.Digest, Issued: o.token.Issued, Expires: o.token.Expires, Mark: o.written.Mark}
}

func (a *Agent) sinkFailed(d *duty, err error, first, again string) {
	d.trouble.add(faultOf(err, Writing), a.now)
	a.schedule(d, a.now.Add(writeWait(d.trouble.failures)))
	a.logFailure(d, first, again)
}

// lookedAt takes in what a look at a sink found. When nothing could be seen
// the sink is left as it is: to write without cause is no help.
func (a *Agent) lookedAt(d *duty, o outcome) {
	if o.err != nil || d.owed {
		a.lookLater(d)
		return
	}
	d.lost = o.lost
	switch {
	case o.difference == "" || d.entry.token.Expired(a.now): // one that has expired is of no use to anybody
		a.lookLater(d)
	case d.entry.token.Secret == (Secret{}): // it was adopted, and is not in memory
		a.logChanged(d, o.difference, "a new token is asked for")
		a.bringForward(d.entry.ask())
		a.lookLater(d)
	default:
		d.owed, d.repaired = true, later(a.now, d.repaired.Add(betweenRepairs))
		a.logChanged(d, o.difference, "it is written again, at most once a minute")
		a.schedule(d, d.repaired)
	}
}

// bringForward makes an ask due now. One that waits, after a failure or for its
// issuer, waits no longer than its readers can without what was lost.
func (a *Agent) bringForward(ask *duty) {
	switch {
	case ask.Running():
	case ask.trouble.failures == 0:
		a.schedule(ask, a.now)
	case ask.trouble.kind == Transient:
		a.schedule(ask, earlier(ask.Due, a.now.Add(queue.LongestWait(ask.entry.expiry().Sub(a.now)))))
	}
}

// removed takes in that an expired token was taken away, or could not be.
func (a *Agent) removed(d *duty, o outcome) {
	if o.err != nil {
		a.sinkFailed(d, o.err, "expired token not removed", "expired token still not removed")
		return
	}
	a.recovered(d)
	log := a.about(d).WithField("expired", stamp(d.inPlace.Expires))
	if o.difference != "" {
		log.Warnf("expired token not removed, since somebody else changed the file: %s", o.difference)
	} else {
		log.Warn("expired token removed, so that it hides no other")
	}
	d.inPlace, d.record = Token{}, Record{}
	a.stale = true
	a.lookLater(d)
}

// lookLater gives the sink its next place in the round of looks.
func (a *Agent) lookLater(d *duty) {
	if d.owed {
		a.schedule(d, a.now)
		return
	}
	if d.store == nil || d.inPlace.IsZero() && !d.orphan {
		return
	}
	a.lookSlot = later(a.lookSlot.Add(lookSpacing), a.now.Add(betweenLooks))
	due := a.lookSlot.Truncate(lookRound).Add(lookRound) // several at once: each by itself would wake the process
	if d.touched {
		due, d.touched = a.now.Add(betweenTouches), false
	}
	if e := d.inPlace.Expires; d.removesExpired() && !e.IsZero() && e.Before(due) {
		due = later(e, a.now)
	}
	a.schedule(d, due)
}

// schedule sets when the duty is due next. An attempt at a source that nobody
// asked for keeps its distance from the one before.
func (a *Agent) schedule(d *duty, due time.Time) {
	if d.sink == nil && !d.Began.IsZero() {
		due = later(due, d.Began.Add(betweenAttempts))
	}
	a.scheduleAt(d, due)
}

// scheduleAt sets when the duty is due next.
func (a *Agent) scheduleAt(d *duty, due time.Time) {
	if d.asked {
		due = a.now
	}
	a.pool.Schedule(&d.Job, due)
	if d.entry.idle && d.sink == nil {
		a.pool.Drop(&d.Job)
	}
}

// shift moves the times that count from now, after the clock was set by step.
func (d *duty) shift(step time.Duration) {
	d.Job.Shift(step)
	d.trouble.shift(step)
	for _, t := range []*time.Time{&d.repaired, &d.told} {
		if !t.IsZero() {
			*t = t.Add(step)
		}
	}
}
