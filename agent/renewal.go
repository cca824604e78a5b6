package agent

import (
	"cmp"
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/queue"
)

const askLimit = 2 * time.Minute // for a Source without limits of its own

// newDefinition is why a token is renewed that was issued for another definition.
const newDefinition = "its definition or key has changed"

// A renewal asks the source of a token for the next one, again and again.
type renewal struct {
	work
	wanted bool    // a person or a new definition wants it now, and takes any token
	forced bool    // the attempt that runs, or the failed one before it, was wanted
	cause  string  // why the next attempt comes; "": it is due
	why    string  // why the attempt came that runs, or ended last
	issuer *issuer // nil: the source asks no server
}

func newRenewal(c *core, e *entry) *renewal {
	r := &renewal{work: work{core: c, entry: e}, wanted: true, cause: "start"}
	r.Value, r.Limit = r, askLimit+hangGrace
	r.Queue = c.sourceQueue(e)
	r.issuer = c.issuers[r.Queue]
	return r
}

// schedule sets when the source is asked next, with the least distance from the last attempt.
func (r *renewal) schedule(due time.Time) {
	if !r.Began.IsZero() {
		due = queue.Later(due, r.Began.Add(betweenAttempts))
	}
	r.scheduleAt(due)
}

// scheduleAt sets when the source is asked next, without that distance.
func (r *renewal) scheduleAt(due time.Time) {
	if r.wanted {
		due = r.now
	}
	r.pool.Schedule(&r.Job, due)
	if r.entry.idle {
		r.pool.Drop(&r.Job)
	}
}

func (r *renewal) urgency() queue.Urgency {
	return queue.Urgency{Deadline: r.entry.expiry(), Awaited: len(r.entry.waiters) > 0, Wanted: r.wanted}
}

// begin asks the source. The goroutine gets copies, because a reload may change the entry
// meanwhile.
func (r *renewal) begin() {
	r.forced = r.wanted || r.forced && r.failures.any() || r.entry.fromTheFuture(r.now)
	r.wanted = false
	if r.cause != "" || !r.failures.any() { // else it is tried again
		r.why, r.cause = cmp.Or(r.cause, "due"), ""
	}
	decode := r.entry.Decode
	source, request, accept, parent := r.entry.Source, r.entry.Request, r.entry.Accept, WithClock(r.ctx, r.wall)
	r.aside(func() func() {
		ctx, cancel := context.WithTimeout(parent, askLimit)
		defer cancel()
		var t Token
		var err error
		if thrown := shielded(func() {
			if t, err = source.Issue(ctx, request); err == nil && accept != nil {
				err = accept(t)
			}
			if err == nil && decode != nil {
				named, _ := decode(t.Secret)
				t.ID, t.KeyID = named.ID, named.KeyID
			}
		}); thrown != nil {
			t, err = Token{}, thrown
		}
		return func() { r.answered(t, err) }
	})
}

// answered notes the result: first for the issuer, then for the token, then for its hooks, then
// for those that wait for it.
func (r *renewal) answered(t Token, err error) {
	r.pool.Done(&r.Job)
	if r.stops() {
		return
	}
	t.Issued, t.Expires = t.Issued.Round(0), t.Expires.Round(0) // by the wall clock alone
	late := false                                               // it is a token that ends too soon
	if err == nil && !r.repeats(t) {
		err = admit(t, r.now)
		late = err != nil && t.Expires.After(r.now) && t.Expires.Before(r.now.Add(leastUse))
	}
	if err == nil {
		err = r.entry.keepsForm(t)
	}
	r.tellIssuer(err)
	if r.entry.gone {
		return
	}
	if err != nil {
		r.failed(faultOf(err, Transient))
	} else {
		r.issued(t)
	}
	if late && r.failures.count == 1 {
		r.schedule(t.Expires.Add(afterEnd))
	}
	r.entry.noteFailing()
	if r.touched {
		r.touched = false
		r.follow()
	}
	r.entry.settle()
}

// failed notes that no new token came.
func (r *renewal) failed(f *Fault) {
	due := r.now.Add(askWait(f, r.failures.nth(f), r.entry.expiry().Sub(r.now)))
	r.failures.add(f, r.now)
	r.schedule(due)
	r.logFailure("token not renewed", "token still not renewed")
}

// issued handles a new token. If it is better than the one in the sinks, it goes to them.
func (r *renewal) issued(t Token) {
	e, repeats := r.entry, r.repeats(t)
	switch {
	case repeats && sameEnd(t, e.newest()) && (e.copies() || !r.forced): // it has not changed
		r.schedule(r.next(t, repeats))
		r.recovered(logrus.Fields{"renew_at": stamp(r.Due)})
		r.sayNote(t)
	case !r.forced && !repeats && e.expiry().After(r.now) && sooner(t, e.newest(), r.now):
		r.schedule(e.atMost(r.now.Add(e.newest().Expires.Sub(r.now)/2), r.now))
		r.recovered(logrus.Fields{"renew_at": stamp(r.Due)})
	default:
		e.unheard = 0
		r.schedule(r.next(t, repeats))
		r.recovered(logrus.Fields{"renew_at": stamp(r.Due)})
		if e.trial != nil {
			e.trial.take(t, r.forced)
		} else {
			e.install(t)
		}
	}
}

// repeats reports whether t is the token that the source gave last: what is copied has
// not changed, or its issuer gives the same until that ends.
func (r *renewal) repeats(t Token) bool {
	return t.Secret != (Secret{}) && t.Secret.Equal(r.entry.newest().Secret) && !t.Expired(r.now)
}

// sameEnd reports whether a token that came again still ends when it did, as far as that
// matters: some live on for as long as they are used.
func sameEnd(again, was Token) bool {
	const slack = 2 * time.Second // issuers tell it in whole seconds
	longer := again.Expires.Sub(was.Expires)
	return again.Expires.IsZero() == was.Expires.IsZero() && longer >= -slack && longer <= max(slack, was.Lifetime()/10)
}

// next is when the source is asked for the successor of t. A token that came again is
// not asked for once more in its last seconds, but right after its end.
func (r *renewal) next(t Token, repeated bool) time.Time {
	due := r.entry.Schedule.Next(t)
	if repeated && !t.Expires.IsZero() && due.After(t.Expires.Add(-leastUse)) {
		due = t.Expires.Add(afterEnd)
	}
	return r.entry.atMost(due, r.now)
}

// install hands a token to the sinks.
func (e *entry) install(t Token) {
	e.token, e.why = t, e.renewal.why
	e.renewal.sayShortLife()
	e.renewal.sayNote(t)
	for _, p := range e.sinks {
		p.accept()
	}
}

// bringForward makes the renewal due now, since readers have lost the token. After a failure it
// still waits, but not longer than readers can.
func (r *renewal) bringForward(why string) {
	r.cause = why
	switch {
	case r.entry.trial.waits():
		r.entry.trial.reconsider()
	case r.Running():
	case !r.failures.any():
		r.schedule(r.now)
	case r.failures.kind == Transient:
		r.schedule(queue.Earlier(r.Due, r.now.Add(queue.LongestWait(r.entry.expiry().Sub(r.now)))))
	}
}

// want makes the renewal due because a person wants it. The channel is closed when the token is
// written or has failed.
func (r *renewal) want() chan struct{} {
	w := make(chan struct{})
	r.entry.waiters = append(r.entry.waiters, w)
	r.wanted, r.cause = true, "asked for"
	r.schedule(r.now)
	if r.Stuck() {
		r.entry.dismiss()
	}
	return w
}

// inherit takes over the failures of the renewal of an older definition, so that their end is
// logged.
func (r *renewal) inherit(old *renewal) {
	r.Inherit(&old.Job)
	r.failures = old.failures
	r.failures.alike, r.failures.said = 0, time.Time{}
}
