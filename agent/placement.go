package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A placement keeps the token in one sink: it puts it there while that is pending, and
// otherwise looks whether it still lies there.
type placement struct {
	work
	sink     Sink
	store    Store // the sink again; nil: it cannot be looked at
	doing    doing // what the attempt does
	pending  bool  // the entry's token is not in the sink yet
	tried    bool  // the entry's token was put, or could not be
	lost     bool  // its readers no longer find the token that was put
	unsure   unsure
	hooked   *hooks.Subject // what hooks hear of the file; nil: the entry has none
	inPlace  Token          // what the sink holds
	foreign  foreign
	record   Record // of what the sink holds
	recalled bool   // the record is of an earlier process; the file is yet to be adopted
	leftover bool   // no definition has the file any more
}

// unsure is what is known of a sink after an attempt to put the token has failed.
type unsure struct {
	changed bool // it may have changed the file
	first   bool // no acceptable token lay there before
}

// foreign says that somebody else changes the file of a sink.
type foreign struct {
	repair time.Time // when the token was last to be written again for it
	said   time.Time // when it was last logged
}

func newPlacement(c *core, e *entry, t Target) *placement {
	p := &placement{work: work{core: c, entry: e}, sink: t.Sink}
	p.store, _ = t.Sink.(Store)
	p.Value, p.Name, p.Limit = p, t.Name, sinkLimit+hangGrace
	p.Queue = c.sinkQueue(t, e)
	return p
}

func (p *placement) schedule(due time.Time) { p.pool.Schedule(&p.Job, due) }

func (p *placement) urgency() queue.Urgency {
	if p.leftover {
		return queue.Urgency{Deadline: never}
	}
	return queue.Urgency{Deadline: p.entry.expiry()}
}

func (p *placement) patience() time.Duration { return 0 }

// accept takes on the entry's new token, to put it into the sink.
func (p *placement) accept() {
	p.pending, p.recalled, p.tried = true, false, false
	p.schedule(p.now)
}

// ended takes in what came of an attempt: first for the sink, then for the hooks, then for
// those that wait for the token.
func (p *placement) ended(r result) {
	p.pool.Done(&p.Job)
	for _, w := range r.written.Warnings {
		p.about().Warn(w)
	}
	if r.unkept != nil {
		p.records.notKept(r.unkept)
	}
	if p.entry.gone {
		p.handOn(r)
	}
	switch {
	case p.leftover:
		p.leftoverSeen(r)
	case p.entry.gone:
	default:
		p.takeIn(r)
		if r.err == nil && (p.doing == looking || p.doing == adopting) { // it hung
			p.recovered(nil)
		}
		p.entry.noteFailing()
		p.entry.settle()
	}
}

func (p *placement) takeIn(r result) {
	switch p.doing {
	case putting:
		p.written(r)
	case adopting:
		p.adopted(r)
	case removing:
		p.removed(r)
	case looking:
		p.lookedAt(r)
	}
}

// written takes in what came of putting the token.
func (p *placement) written(r result) {
	newest := r.token == p.entry.token // a newer one may have come meanwhile
	p.tried = newest
	if r.err != nil {
		p.unsure = unsure{changed: true, first: p.unsure.first || r.first}
		p.failed(r.err, "token not written", "token still not written")
		return
	}
	p.recovered(nil)
	p.recalled = false
	p.hold(r)
	p.afterWrite(r)
	p.hooks.watch(p)
	if r.written.Changed {
		p.logWritten()
	}
	p.pending = !newest
	p.lookLater()
}

// hold notes that the sink holds what was put.
func (p *placement) hold(r result) {
	p.inPlace, p.lost = r.token, false
	p.record = Record{Digest: p.entry.Digest, Issued: r.token.Issued, Expires: r.token.Expires, AskBy: r.token.AskBy, Mark: r.written.Mark}
	if p.entry.Form != nil {
		p.record.Form = p.entry.Form(r.token.Secret)
	}
	p.records.stale = true
}

// failed takes in that the file could not be written, or taken away.
func (p *placement) failed(err error, first, again string) {
	p.failures.add(faultOf(err, Writing), p.now)
	p.schedule(p.now.Add(writeWait(p.failures.count)))
	p.logFailure(first, again)
}

// lookedAt takes in what a look found. If the look failed, the sink stays as it is:
// a write without a reason would not help.
func (p *placement) lookedAt(r result) {
	if r.err != nil || p.pending {
		p.lookLater()
		return
	}
	p.lost = r.lost
	switch {
	case r.difference == "" || p.entry.token.Expired(p.now): // one that has expired is of no use to anybody
		p.lookLater()
	case p.entry.token.Secret == (Secret{}): // it was adopted, and is not in memory
		p.logChanged(r.difference, "a new token is asked for")
		p.entry.renewal.bringForward()
		p.lookLater()
	default:
		p.pending, p.foreign.repair = true, queue.Later(p.now, p.foreign.repair.Add(betweenRepairs))
		p.logChanged(r.difference, "it is written again, at most once a minute")
		p.schedule(p.foreign.repair)
	}
}

// removed takes in that an expired token was taken away, or could not be.
func (p *placement) removed(r result) {
	if r.err != nil {
		p.failed(r.err, "expired token not removed", "expired token still not removed")
		return
	}
	p.recovered(nil)
	log := p.about().WithField("expired", stamp(p.inPlace.Expires))
	if r.difference != "" {
		log.Warnf("expired token not removed, since somebody else changed the file: %s", r.difference)
	} else {
		log.Warn("expired token removed, so that it hides no other")
	}
	p.inPlace, p.record = Token{}, Record{}
	p.records.stale = true
	p.lookLater()
}

// lookLater gives the sink its next place in the round of looks.
func (p *placement) lookLater() {
	if p.pending {
		p.schedule(p.now)
		return
	}
	if p.store == nil || p.inPlace.IsZero() && !p.leftover {
		return
	}
	p.slot = queue.Later(p.slot.Add(lookSpacing), p.now.Add(betweenLooks))
	due := p.slot.Truncate(lookRound).Add(lookRound) // several at once: each by itself would wake the process
	if p.touched {
		due, p.touched = p.now.Add(betweenTouches), false
	}
	if e := p.inPlace.Expires; p.removesExpired() && !e.IsZero() && e.Before(due) {
		due = queue.Later(e, p.now)
	}
	p.schedule(due)
}

// lookNow looks at the file because something has happened to it, though not more than
// once a second.
func (p *placement) lookNow() {
	switch {
	case p.Running():
		p.touched = true
	case p.store != nil && !p.pending && !p.inPlace.IsZero():
		p.schedule(queue.Later(p.now, p.Began.Add(betweenTouches)))
	}
}

// removesExpired reports whether a token that expires in the sink is taken away.
func (p *placement) removesExpired() bool {
	return p.store != nil && p.entry.RemoveExpired && !p.entry.idle && !p.leftover
}

// shift moves the times that count from now, after the clock was set by step.
func (p *placement) shift(step time.Duration) {
	p.work.shift(step)
	for _, t := range []*time.Time{&p.foreign.repair, &p.foreign.said} {
		if !t.IsZero() {
			*t = t.Add(step)
		}
	}
}
