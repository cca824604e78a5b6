package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// An issuer has the failures of all tokens of one issuer, since it last gave one.
type issuer struct {
	name     string
	failures failures
}

// tellIssuer notes the result of an attempt for the issuer and its queue.
func (r *renewal) tellIssuer(err error) {
	f := faultOf(err, Transient)
	switch {
	case err == nil:
		if r.Queue.Answered(&r.Job, r.now) {
			r.answersAgain()
		}
		if r.issuer != nil {
			r.issuer.failures = failures{}
		}
	case f.Kind != Transient:
		r.Queue.Refused(&r.Job, r.now)
	default:
		r.Queue.Unanswered(&r.Job, f.RetryAfter, r.now)
		if r.issuer != nil {
			r.unanswered(f)
		}
	}
}

// unanswered handles an issuer that does not answer, or that asked for a wait.
func (r *renewal) unanswered(f *Fault) {
	r.issuer.failures.add(f, r.now)
	if r.Queue.Silent() {
		r.logSilence()
		r.failAlong(f)
	}
	if r.Queue.Shut(r.now) { // nobody should wait for its tokens
		for _, j := range r.Queue.Waiting() {
			j.Value.(*renewal).entry.dismiss()
		}
		r.Queue.Dismiss()
	}
}

// answersAgain schedules what failed because the issuer did not answer.
func (r *renewal) answersAgain() {
	was := r.issuer.failures
	r.log.WithFields(logrus.Fields{
		"issuer": r.issuer.name, "failures": was.count, "outage": r.now.Sub(was.since).Round(time.Second), "waiting": len(r.Queue.Waiting()),
	}).Info("issuer answers again; its tokens are renewed, the most urgent first")
	for _, e := range r.entries {
		if o := e.renewal; o.Queue == r.Queue && o.Scheduled() && o.failures.any() && o.failures.kind == Transient {
			o.schedule(r.now)
		}
	}
}

// failAlong makes the tokens fail that wait for a silent issuer and are not valid any more.
func (r *renewal) failAlong(f *Fault) {
	for _, j := range r.Queue.Waiting() {
		o := j.Value.(*renewal)
		if !o.failures.any() && !o.entry.expiry().After(r.now) {
			o.failures.add(f, r.now)
			o.logFailure("token not renewed", "token still not renewed")
			o.entry.noteFailing()
		}
	}
}

// logSilence writes a line when an issuer falls silent, and every hour.
func (r *renewal) logSilence() {
	f := &r.issuer.failures
	if !r.Queue.JustFellSilent() && r.now.Sub(f.said) < betweenLogLines {
		return
	}
	f.said = r.now
	r.log.WithFields(logrus.Fields{
		"issuer": r.issuer.name, "error": f.err, "failures": f.count, "waiting": len(r.Queue.Waiting()), "retry_at": stamp(r.Queue.Opens()),
	}).Error("issuer does not answer; its tokens wait, and one at a time asks again")
}

// waits says why a due renewal waits for its issuer; nil: it does not.
func (r *renewal) waits() *Failing {
	if r.issuer == nil || !r.Waits() || !r.Queue.Shut(r.now) {
		return nil
	}
	f := r.issuer.failures.status(r.NextAt())
	switch {
	case f == nil:
	case r.Queue.Silent():
		f.Error = "its issuer does not answer: " + f.Error
	default:
		f.Error = "its issuer asked to be left alone: " + f.Error
	}
	return f
}
