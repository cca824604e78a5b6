package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// An issuer is the failures of all tokens of one issuer, since it last gave one.
type issuer struct {
	name     string
	failures failures
}

// tellIssuer takes in what came of asking, for all that stand in the same queue.
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

// unanswered tells of an issuer that does not answer, or asked to be left alone.
func (r *renewal) unanswered(f *Fault) {
	r.issuer.failures.add(f, r.now)
	if r.Queue.Silent() {
		r.logSilence()
		r.failAlong(f)
	}
	if r.Queue.Shut(r.now) { // nobody waits for its tokens any more
		for _, j := range r.Queue.Waiting() {
			j.Value.(*renewal).entry.dismiss()
		}
		r.Queue.Dismiss()
	}
}

// answersAgain asks again for what failed because the issuer did not answer.
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

// failAlong has the tokens that wait for a silent issuer, and whose readers have
// none, fail with it.
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

// logSilence writes one line when an issuer falls silent, and one an hour.
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

// waits says why a renewal that is due waits for its issuer; nil when it does not.
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
