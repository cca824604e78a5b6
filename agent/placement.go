package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A placement keeps the token in one sink. While the token is pending it puts it there;
// otherwise it looks whether it still lies there.
type placement struct {
	work
	sink     Sink
	store    Store // the sink again; nil: it cannot be looked at
	doing    doing // what the attempt does
	pending  bool  // the entry's token is not in the sink yet
	tried    bool  // the entry's token was put, or that failed
	lost     bool  // readers no longer find the token that was put
	unsure   unsure
	hooked   *hooks.Subject // what hooks hear of the file; nil: no hook is for it
	inPlace  Token          // what the sink holds
	foreign  foreign
	record   Record // of what the sink holds
	recalled bool   // the record is of an earlier process, and the file not adopted yet
	leftover bool   // no definition has the file any more
}

// unsure is what is known of a sink after an attempt to put the token has failed.
type unsure struct {
	changed bool // it may have changed the file
	first   bool // no acceptable token lay there before
}

// foreign says that somebody else changes the file of a sink.
type foreign struct {
	repair time.Time // when the token was last written again because of that
	said   time.Time // when that was last logged
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

// accept schedules the entry's new token to be put.
func (p *placement) accept() {
	p.pending, p.tried = true, false
	p.schedule(p.now)
}

// ended notes the result of an attempt: first for the sink, then for the hooks, then for those
// that wait for the token.
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

// written notes the result of putting the token.
func (p *placement) written(r result) {
	newest := r.token == p.entry.token // else a newer one has come meanwhile
	p.tried = newest
	if r.err != nil {
		p.unsure = unsure{changed: true, first: p.unsure.first || r.first}
		p.failed(r.err, "token not written", "token still not written")
		return
	}
	p.recovered(nil)
	p.recalled = false
	again := p.inPlace == r.token
	p.hold(r)
	p.afterWrite(r)
	if p.installed != nil && !again && r.written.Changed {
		told := r.token
		told.Secret = Secret{}
		p.installed(p.entry.Name, p.Name, told, p.entry.why)
	}
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
	p.record = Record{Digest: p.entry.Digest, Issued: r.token.Issued, Expires: r.token.Expires, AskBy: r.token.AskBy, KeyID: r.token.KeyID, Mark: r.written.Mark}
	if p.entry.Form != nil {
		p.record.Form = p.entry.Form(r.token.Secret)
	}
	p.records.stale = true
}

// failed notes that the file could not be written or removed.
func (p *placement) failed(err error, first, again string) {
	p.failures.add(faultOf(err, Writing), p.now)
	p.schedule(p.now.Add(writeWait(p.failures.count)))
	p.logFailure(first, again)
}

// lookedAt notes what a look found. A look that failed changes nothing: to write without a
// reason would not help.
func (p *placement) lookedAt(r result) {
	if r.err != nil || p.pending {
		p.lookLater()
		return
	}
	p.lost = r.lost
	switch {
	case r.difference == "" || p.entry.token.Expired(p.now): // an expired token is not written again
		p.lookLater()
	case p.entry.token.Secret == (Secret{}): // it was adopted, so its text is not known
		p.logChanged(r.difference, "a new token is asked for")
		p.entry.renewal.bringForward("file: " + r.difference)
		p.lookLater()
	default:
		p.pending, p.foreign.repair = true, queue.Later(p.now, p.foreign.repair.Add(betweenRepairs))
		p.logChanged(r.difference, "it is written again, at most once a minute")
		p.schedule(p.foreign.repair)
	}
}

// removed notes the result of removing an expired token.
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

// lookLater schedules the next look, so that all looks are spread over time.
func (p *placement) lookLater() {
	if p.pending {
		p.schedule(p.now)
		return
	}
	if p.store == nil || p.inPlace.IsZero() && !p.leftover {
		return
	}
	p.slot = queue.Later(p.slot.Add(lookSpacing), p.now.Add(betweenLooks))
	due := p.slot.Truncate(lookRound).Add(lookRound) // several together, which wakes the process less often
	if p.touched {
		due, p.touched = p.now.Add(betweenTouches), false
	}
	if e := p.inPlace.Expires; p.removesExpired() && !e.IsZero() && e.Before(due) {
		due = queue.Later(e, p.now)
	}
	p.schedule(due)
}

// lookNow looks at the file because something has happened to it, at most once a second.
func (p *placement) lookNow() {
	switch {
	case p.Running():
		p.touched = true
	case p.store != nil && !p.pending && !p.inPlace.IsZero():
		p.schedule(queue.Later(p.now, p.Began.Add(betweenTouches)))
	}
}

// removesExpired reports whether a token that expires in the sink is removed.
func (p *placement) removesExpired() bool {
	return p.store != nil && p.entry.RemoveExpired && !p.entry.idle && !p.leftover
}

// shift moves the times that count from now, after the clock was set by step.
func (p *placement) shift(step time.Duration) {
	p.work.shift(step)
	queue.Shift(step, &p.foreign.repair, &p.foreign.said)
}
