package agent

import "time"

// An entry is a Renewer that is being kept going.
type entry struct {
	Renewer
	token   Token   // the newest one, on its way to the sinks or in them
	duties  []*duty // to ask the source, and to see to each sink
	unheard int     // sinks that have yet to say whether they can be adopted
	gone    bool    // no longer in the configuration: what still runs for it ends unheard
	waiters []chan struct{}
	idle    bool // see Agent.Only
	final   bool // see Agent.Once
}

func (e *entry) ask() *duty     { return e.duties[0] }
func (e *entry) sinks() []*duty { return e.duties[1:] }

// A duty is one thing that is done for an entry again and again: to ask its
// source, or to see to one of its sinks, which is to put the token there if it
// is owed to it and otherwise to look whether it still lies there.
type duty struct {
	entry *entry
	sink  Sink   // nil: to ask the source
	path  string // of the sink's file, if it has one
	lane  *lane
	due   time.Time

	asked   bool // a person, a new definition or a new key wants it now, and takes whatever comes
	free    bool // the attempt that runs was asked for
	running bool
	begun   time.Time // by the wall clock, when the last attempt began
	started time.Time // the same by the monotonic clock

	deadline time.Time // the entry's expiry when the duty fell due

	owed     bool      // the entry's token is not in the sink yet
	tried    bool      // the entry's token was put, or could not be
	differs  bool      // what lies in the sink is not as it was put
	touched  bool      // something happened to the file while the duty ran
	inPlace  Token     // what the sink holds
	repaired time.Time // when the file was last found changed
	told     time.Time // when it was last said that somebody else changes it
	record   Record    // of what the sink holds
	recalled bool      // the record is of an earlier process; the file is yet to be adopted
	orphan   bool      // no definition has the file any more
	remove   bool      // the file is to go
	trouble  trouble

	timer int // place in Agent.timers
	turn  int // place in lane.ready
}

// moreUrgent orders by the expiry of what readers had when the duty fell due,
// then by due time.
func (d *duty) moreUrgent(other *duty) bool {
	if !d.deadline.Equal(other.deadline) {
		return d.deadline.Before(other.deadline)
	}
	return d.due.Before(other.due)
}

// never stands for the expiry of a token that has none as far as we know.
var never = time.Unix(1<<40, 0)

// expiry is when the first of the entry's readers has no valid token any more;
// the zero time when one has none now.
func (e *entry) expiry() time.Time {
	first := never
	for _, s := range e.sinks() {
		switch {
		case s.inPlace.IsZero():
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
	if o.err == nil {
		o.err = admit(o.token, a.now)
	}
	switch {
	case o.err != nil:
		a.askFailed(d, faultOf(o.err, Transient))
	case !d.free && sooner(o.token, e.token, a.now):
		a.recovered(d)
		a.schedule(d, a.now.Add(e.token.Expires.Sub(a.now)/2))
	default:
		a.recovered(d)
		e.token, e.unheard = o.token, 0
		a.schedule(d, e.Schedule.Next(e.token))
		for _, s := range e.sinks() {
			s.owed, s.recalled, s.tried = true, false, false
			a.schedule(s, a.now)
		}
	}
}

func (a *Agent) askFailed(d *duty, f *Fault) {
	d.trouble.add(f, a.now)
	remaining := d.entry.expiry().Sub(a.now)
	a.schedule(d, a.now.Add(askWait(f, d.trouble.failures, remaining)))
	a.logFailure(d)
}

// written takes in what came of writing a sink.
func (a *Agent) written(d *duty, o outcome) {
	e := d.entry
	d.tried = o.token == e.token
	if o.err != nil {
		d.trouble.add(faultOf(o.err, Writing), a.now)
		a.schedule(d, a.now.Add(writeWait(d.trouble.failures)))
		a.logFailure(d)
		return
	}
	a.recovered(d)
	d.inPlace, d.recalled, d.differs = o.token, false, false
	d.record = Record{Digest: e.Digest, Issued: o.token.Issued, Expires: o.token.Expires, Mark: o.mark}
	a.stale = true
	if d.owed = o.token != e.token; d.owed { // a newer one came meanwhile
		a.schedule(d, a.now)
		return
	}
	a.lookLater(d)
	if o.changed {
		a.logWritten(d)
	}
	a.afterWrite(d, o)
}

// lookedAt takes in what a look at a sink found. When nothing could be seen
// the sink is left as it is: to write without cause is no help.
func (a *Agent) lookedAt(d *duty, o outcome) {
	if o.err != nil || o.difference == "" || d.owed {
		a.lookLater(d)
		return
	}
	again := a.now
	if earliest := d.repaired.Add(betweenRepairs); earliest.After(again) {
		again = earliest
	}
	d.repaired, d.differs = again, true
	a.logChanged(d, o.difference, again)
	if d.entry.token.Secret == (Secret{}) { // it was adopted, and is not in memory
		a.schedule(d.entry.ask(), again)
		a.lookLater(d)
		return
	}
	d.owed = true
	a.schedule(d, again)
}

// removed takes in that an expired token was taken away, or could not be.
func (a *Agent) removed(d *duty, o outcome) {
	d.remove = false
	if o.err != nil {
		a.about(d).WithError(o.err).Warn("the expired token cannot be removed")
	} else {
		a.about(d).WithField("expired", stamp(d.inPlace.Expires)).Warn("expired token removed, so that it hides no other")
		d.inPlace, d.record = Token{}, Record{}
		a.stale = true
	}
	a.lookLater(d)
}

// lookLater gives the sink its next place in the round of looks.
func (a *Agent) lookLater(d *duty) {
	if d.owed {
		a.schedule(d, a.now)
		return
	}
	if _, ok := d.sink.(Looker); !ok || d.inPlace.IsZero() && !d.orphan {
		return
	}
	a.lookSlot = later(a.lookSlot.Add(lookSpacing), a.now.Add(betweenLooks))
	due := a.lookSlot
	if d.touched {
		due, d.touched = a.now.Add(betweenTouches), false
	}
	if e := d.inPlace.Expires; d.entry.RemoveExpired && !e.IsZero() && e.Before(due) {
		due = later(e, a.now.Add(time.Second))
	}
	a.schedule(d, due)
}

// schedule sets when the duty is due next. An attempt at a source that nobody
// asked for keeps its distance from the one before.
func (a *Agent) schedule(d *duty, due time.Time) {
	if d.sink == nil && !d.begun.IsZero() {
		due = later(due, d.begun.Add(betweenAttempts))
	}
	if d.asked {
		due = a.now
	}
	d.due = due
	d.lane.ready.take(d)
	if !d.running && !(d.entry.idle && d.sink == nil) {
		a.timers.put(d)
	}
}

func later(t, u time.Time) time.Time {
	if t.After(u) {
		return t
	}
	return u
}

// shift moves the times that count from now, after the clock was set by step.
func (d *duty) shift(step time.Duration) {
	for _, t := range []*time.Time{&d.begun, &d.repaired, &d.trouble.since, &d.trouble.said} {
		if !t.IsZero() {
			*t = t.Add(step)
		}
	}
}
