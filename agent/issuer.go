package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// An issuer is the failures of all tokens of one issuer, since it last gave one.
type issuer struct {
	name    string
	trouble trouble
}

// answered takes in what came of asking a source, for the queue that it stands in.
func (a *Agent) answered(d *duty, o outcome) {
	f := faultOf(o.err, Transient)
	switch {
	case o.err == nil:
		if d.Queue.Answered(&d.Job, a.now) {
			a.answersAgain(d)
		}
		if i := a.issuers[d.Queue]; i != nil {
			i.trouble = trouble{}
		}
	case f.Kind != Transient:
		d.Queue.Refused(&d.Job, a.now)
	default:
		d.Queue.Unanswered(&d.Job, f.RetryAfter, a.now)
		a.unanswered(d, f)
	}
}

// unanswered tells of an issuer that does not answer, or asked to be left alone.
func (a *Agent) unanswered(d *duty, f *Fault) {
	i, q := a.issuers[d.Queue], d.Queue
	if i == nil {
		return
	}
	i.trouble.add(f, a.now)
	if q.Silent() {
		a.logSilence(d, i)
		a.failAlong(d, f)
	}
	if q.Shut(a.now) { // nobody waits for its tokens any more
		for _, j := range q.Waiting() {
			j.Value.(*duty).entry.dismiss()
		}
		q.Dismiss()
	}
}

// answersAgain asks again for what failed because the issuer did not answer.
func (a *Agent) answersAgain(d *duty) {
	i := a.issuers[d.Queue]
	a.log.WithFields(logrus.Fields{
		"issuer": i.name, "failures": i.trouble.failures, "outage": a.now.Sub(i.trouble.since).Round(time.Second), "waiting": len(d.Queue.Waiting()),
	}).Info("issuer answers again; its tokens are renewed, the most urgent first")
	for _, e := range a.entries {
		if ask := e.ask(); ask.Queue == d.Queue && ask.Scheduled() && ask.trouble.failures > 0 && ask.trouble.kind == Transient {
			a.schedule(ask, a.now)
		}
	}
}

// failAlong has the tokens that wait for a silent issuer, and whose readers have
// none, fail with it.
func (a *Agent) failAlong(d *duty, f *Fault) {
	for _, j := range d.Queue.Waiting() {
		w := j.Value.(*duty)
		if w.trouble.failures == 0 && !w.entry.expiry().After(a.now) {
			w.trouble.add(f, a.now)
			a.logFailure(w, "token not renewed", "token still not renewed")
			a.noteFailing(w.entry)
		}
	}
}

// logSilence writes one line when an issuer falls silent, and one an hour.
func (a *Agent) logSilence(d *duty, i *issuer) {
	if !d.Queue.JustFellSilent() && a.now.Sub(i.trouble.said) < betweenLogLines {
		return
	}
	i.trouble.said = a.now
	a.log.WithFields(logrus.Fields{
		"issuer": i.name, "error": i.trouble.err, "failures": i.trouble.failures, "waiting": len(d.Queue.Waiting()), "retry_at": stamp(d.Queue.Opens()),
	}).Error("issuer does not answer; its tokens wait, and one at a time asks again")
}

// waits says why a due ask waits for its issuer; nil when it does not.
func (a *Agent) waits(d *duty) *Failing {
	i := a.issuers[d.Queue]
	if i == nil || !d.Waits() || !d.Queue.Shut(a.now) {
		return nil
	}
	f := i.trouble.failing(d.NextAt())
	switch {
	case f == nil:
	case d.Queue.Silent():
		f.Error = "its issuer does not answer: " + f.Error
	default:
		f.Error = "its issuer asked to be left alone: " + f.Error
	}
	return f
}
