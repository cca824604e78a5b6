package agent

import (
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// An issuer is what its lane knows of it, so that it is asked no more than it
// can bear: so many requests a second; none before the time that it asked for;
// and when it does not answer, one from time to time for all its tokens.
type issuer struct {
	name    string
	paced   time.Time // it is asked nothing before, to keep the pace
	closed  time.Time // nor before, as it asked for
	probed  time.Time // nor before, because it does not answer
	gave    time.Time // when it last gave a token
	trouble trouble   // its transient failures since then, over all its tokens
	row     int       // how many of them tell that it does not answer
}

const (
	pace        = time.Second / 5 // between the beginnings of two requests to one issuer
	fallsSilent = 5               // transient failures in a row after which it is probed only
)

// silent reports whether the issuer does not answer, and is probed only.
func (i *issuer) silent() bool { return i.row >= fallsSilent }

// opens is when it may be asked next.
func (i *issuer) opens() time.Time { return later(i.paced, later(i.closed, i.probed)) }

// knock has it asked again without a wait.
func (i *issuer) knock() { i.closed, i.probed = time.Time{}, time.Time{} }

// room is how many requests there may be at a time, of those that its lane has.
func (i *issuer) room(most int) int {
	if i.silent() {
		return 1
	}
	return most
}

// shift moves its times after the clock was set by step.
func (i *issuer) shift(step time.Duration) {
	for _, at := range []*time.Time{&i.paced, &i.closed, &i.probed, &i.gave} {
		if !at.IsZero() {
			*at = at.Add(step)
		}
	}
	i.trouble.shift(step)
}

// admit sees to it that the duty, which has fallen due, waits no longer than its
// token can bear, and not at all where it was asked for.
func (i *issuer) admit(d *duty, now time.Time) {
	if d.asked {
		i.knock()
		return
	}
	remaining := d.deadline.Sub(now)
	i.closed = earlier(i.closed, now.Add(retryAfter(i.closed.Sub(now), remaining)))
	i.probed = earlier(i.probed, now.Add(longestWait(remaining)))
}

// answered takes in what came of asking an issuer, before the token does. A fault
// that only a person can mend tells nothing of the issuer: it may not even have
// been asked.
func (a *Agent) answered(d *duty, o outcome) {
	if d.lane.issuer == nil {
		return
	}
	f := faultOf(o.err, Transient)
	switch {
	case o.err == nil:
		a.answersAgain(d.lane)
	case f.Kind == Transient:
		a.unanswered(d, f)
	}
}

// unanswered closes an issuer for as long as it asked for, or as it does not answer.
func (a *Agent) unanswered(d *duty, f *Fault) {
	l, i := d.lane, d.lane.issuer
	i.trouble.add(f, a.now)
	if i.silent() || !i.gaveSince(d.trouble.last) {
		i.row++
	}
	if f.RetryAfter > 0 {
		i.closed = later(i.closed, a.now.Add(l.least(d, a.now, func(remaining time.Duration) time.Duration {
			return retryAfter(f.RetryAfter, remaining)
		})))
	}
	if i.silent() {
		i.probed = a.now.Add(backoff(i.row-fallsSilent+1, l.least(d, a.now, longestWait)))
		a.logSilence(l)
		a.failAlong(l, f)
	}
	if i.shut(a.now) {
		l.dismiss()
	}
	a.reopen(l)
}

// gaveSince reports whether the issuer has given a token since another failed, at
// that time. When that one fails again it is not because the issuer is down.
func (i *issuer) gaveSince(failed time.Time) bool { return !failed.IsZero() && failed.Before(i.gave) }

// shut reports whether it is to be left alone for longer than anybody waits.
func (i *issuer) shut(now time.Time) bool { return i.silent() || i.closed.Sub(now) > firstWait }

// least is the shortest of the waits that the duty, and those that are due, can bear.
func (l *lane) least(d *duty, now time.Time, wait func(remaining time.Duration) time.Duration) time.Duration {
	least := wait(d.deadline.Sub(now))
	for _, r := range l.ready.items {
		least = min(least, wait(r.deadline.Sub(now)))
	}
	return least
}

// answersAgain ends the issuer's trouble: what failed because of it is asked again.
func (a *Agent) answersAgain(l *lane) {
	i, was := l.issuer, l.issuer.trouble
	silent := i.silent()
	i.trouble, i.row, i.gave = trouble{}, 0, a.now
	if !silent {
		return
	}
	i.knock()
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

// dismiss has nobody wait for the tokens that wait for the issuer, so that they
// go by their urgency alone.
func (l *lane) dismiss() {
	for _, d := range slices.Clone(l.ready.items) {
		d.entry.dismiss()
		if d.awaited {
			d.awaited = false
			l.ready.put(d)
		}
	}
}

// failAlong has the tokens that wait for a silent issuer, and whose readers have
// none, fail with it.
func (a *Agent) failAlong(l *lane, f *Fault) {
	for _, d := range l.ready.items {
		if d.trouble.failures == 0 && !d.deadline.After(a.now) {
			failed := d.entry.failing()
			d.trouble.add(f, a.now)
			a.logFailure(d, "token not renewed", "token still not renewed")
			a.noticeFailure(d.entry, failed)
		}
	}
}

// logSilence writes one line when an issuer falls silent, and one an hour.
func (a *Agent) logSilence(l *lane) {
	i := l.issuer
	if i.row > fallsSilent && a.now.Sub(i.trouble.said) < betweenLogLines {
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
			l.issuer.knock()
			a.reopen(l)
		}
	}
}

// waits says why a due ask waits for its issuer; nil when it does not.
func (d *duty) waits(now time.Time) *Failing {
	if d.turn == 0 || d.lane.issuer == nil || !d.lane.issuer.shut(now) {
		return nil
	}
	i := d.lane.issuer
	f := i.trouble.failing(d.nextAt())
	switch {
	case f == nil:
	case i.silent():
		f.Error = "its issuer does not answer: " + f.Error
	default:
		f.Error = "its issuer asked to be left alone: " + f.Error
	}
	return f
}

// nextAt is when the duty is tried next.
func (d *duty) nextAt() time.Time {
	if d.turn != 0 && d.lane.issuer != nil {
		return later(d.due, d.lane.issuer.opens())
	}
	return d.due
}
