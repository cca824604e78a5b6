package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// An issuer is what its lane knows of it, so that it is asked no more than it
// can bear: so many requests a second; none before the time that it asked for;
// and when it does not answer, one from time to time for all its tokens.
type issuer struct {
	name    string
	paced   time.Time // it is asked nothing before, to keep the pace
	closed  time.Time // nor before, because of what it said or because it does not answer
	trouble trouble   // its transient failures in a row, over all its tokens
}

const (
	pace        = time.Second / 5 // between the beginnings of two requests to one issuer
	fallsSilent = 5               // transient failures in a row after which it is probed only
)

// silent reports whether the issuer does not answer, and is probed only.
func (i *issuer) silent() bool { return i.trouble.failures >= fallsSilent }

// opens is when it may be asked next.
func (i *issuer) opens() time.Time { return later(i.paced, i.closed) }

// room is how many requests there may be at a time, of those that its lane has.
func (i *issuer) room(most int) int {
	if i.silent() {
		return 1
	}
	return most
}

// shift moves its times after the clock was set by step.
func (i *issuer) shift(step time.Duration) {
	i.paced, i.closed = i.paced.Add(step), i.closed.Add(step)
	i.trouble.shift(step)
}

// admit sees to it that the duty, which has fallen due, waits no longer than its
// token can bear, and not at all where it was asked for.
func (i *issuer) admit(d *duty, now time.Time) {
	if d.asked {
		i.closed = time.Time{}
		return
	}
	i.closed = earlier(i.closed, now.Add(retryAfter(i.closed.Sub(now), d.deadline.Sub(now))))
}

// answered takes in what came of asking an issuer.
func (a *Agent) answered(d *duty, o outcome) {
	i := d.lane.issuer
	if i == nil {
		return
	}
	f := faultOf(o.err, Transient)
	if o.err == nil || f.Kind != Transient {
		a.answersAgain(d.lane)
		return
	}
	i.trouble.add(f, a.now)
	remaining := mostUrgent(d).Sub(a.now)
	i.closed = later(i.closed, a.now.Add(retryAfter(f.RetryAfter, remaining)))
	if i.silent() {
		i.closed = later(i.closed, a.now.Add(askWait(f, i.trouble.failures-fallsSilent+1, remaining)))
		a.logSilence(d.lane)
		a.failAlong(d.lane, f)
	}
	a.reopen(d.lane)
}

// mostUrgent is the first expiry among the tokens of the duty and of those that
// wait behind it.
func mostUrgent(d *duty) time.Time {
	if d.lane.ready.Len() == 0 {
		return d.deadline
	}
	return earlier(d.deadline, d.lane.ready.first().deadline)
}

// answersAgain ends the issuer's trouble: what failed because of it is asked again.
func (a *Agent) answersAgain(l *lane) {
	i, was := l.issuer, l.issuer.trouble
	silent := i.silent()
	i.trouble = trouble{}
	if !silent {
		return
	}
	i.closed = time.Time{}
	a.log.WithFields(logrus.Fields{
		"issuer": i.name, "failures": was.failures, "outage": a.now.Sub(was.since).Round(time.Second), "waiting": l.ready.Len(),
	}).Info("issuer answers again; its tokens are renewed, the most urgent first")
	for _, e := range a.entries {
		if ask := e.ask(); ask.lane == l && ask.timer > 0 && ask.trouble.failures > 0 && ask.trouble.kind == Transient {
			a.schedule(ask, a.now)
		}
	}
	a.reopen(l)
}

// failAlong has the tokens that wait for a silent issuer know: those whose readers
// have none fail with it, and nobody waits for them any more.
func (a *Agent) failAlong(l *lane, f *Fault) {
	for _, d := range l.ready.items {
		if d.trouble.failures == 0 && !d.deadline.After(a.now) {
			failed := d.entry.failing()
			d.trouble.add(f, a.now)
			a.logFailure(d, "token not renewed", "token still not renewed")
			a.noticeFailure(d.entry, failed)
		}
		d.entry.dismiss()
	}
}

// logSilence writes one line when an issuer falls silent, and one an hour.
func (a *Agent) logSilence(l *lane) {
	i := l.issuer
	if i.trouble.failures > fallsSilent && a.now.Sub(i.trouble.said) < betweenLogLines {
		return
	}
	i.trouble.said = a.now
	a.log.WithFields(logrus.Fields{
		"issuer": i.name, "error": i.trouble.err, "failures": i.trouble.failures, "waiting": l.ready.Len(), "retry_at": stamp(i.opens()),
	}).Error("issuer does not answer; its tokens wait, and one at a time asks again")
}

// knock has all issuers asked again without a wait: something was changed.
func (a *Agent) knock() {
	for _, l := range a.lanes {
		if l.issuer != nil {
			l.issuer.closed = time.Time{}
			a.reopen(l)
		}
	}
}

// waits is the trouble of the issuer that a due ask waits for; nil when it does not.
func (d *duty) waits() *trouble {
	if d.turn == 0 || d.lane.issuer == nil || !d.lane.issuer.silent() {
		return nil
	}
	return &d.lane.issuer.trouble
}

// nextAt is when the duty is tried next.
func (d *duty) nextAt() time.Time {
	if d.waits() != nil {
		return later(d.due, d.lane.issuer.opens())
	}
	return d.due
}
