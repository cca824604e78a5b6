package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

const (
	trialRoom     = 4                // validations at a time in one queue
	firstTrial    = 10 * time.Second // before the first repetition
	mostTrial     = 5 * time.Minute  // before any repetition
	trialPatience = 10 * time.Second // how long the first validation may take where no good token is in place
	blindPatience = 10 * time.Minute // how long a validation may fail where nobody knows when the token in place expires
	leastKept     = time.Minute      // a token in place that has less life left is not kept
	leastKeptPart = 0.05             // or that share of its life, whichever is more
)

// A Validation tries new tokens before they replace ones that work. The zero Validation
// is none.
type Validation struct {
	// Validate returns nil when the token could be used. An error is best a [*Fault]: of
	// kind Configuration when the token could not be tried as things are; of any other
	// kind when it was tried and failed.
	Validate func(ctx context.Context, t Token) error
	Key      string // equal for those that do the same
	Queue    string // equal for those that hang when one of them does: they wait in one queue
}

// A trial holds a new token back until it is validated, or until the one in place cannot
// be kept any longer.
type trial struct {
	work
	Validation
	token       Token     // that waits; zero: none does
	came        time.Time // when its source gave it
	tries       int       // how often its validation has failed
	asked       bool      // somebody waits for this very token
	end         context.CancelFunc
	limit       trialLimit
	unvalidated string // why the token in the sinks was installed without a success; "": it was not
}

func newTrial(c *core, e *entry) *trial {
	t := &trial{work: work{core: c, entry: e}, Validation: e.Validation, end: func() {}}
	t.Value, t.Limit = t, hooks.Limit+hangGrace
	t.Job.Queue = c.pool.Queue(trialKey(e.Validation.Queue), trialRoom)
	t.limit.trial, t.limit.Value = t, &t.limit
	t.limit.Limit, t.limit.Job.Queue = hangGrace, c.pool.Queue(limitKey{}, 1)
	return t
}

// fitTrial gives the entry the validation of its definition. If there is none any more, the
// token that waits is installed.
func (e *entry) fitTrial(v Validation) {
	t := e.trial
	e.Validation = v
	switch {
	case v.Validate == nil && t == nil:
	case v.Validate == nil:
		e.trial = nil
		t.drop()
		if t.waits() {
			e.install(t.token)
		}
	case t == nil:
		e.trial = newTrial(e.core, e)
	case v.Key != t.Key: // a run of the former one is ended, and its result ignored
		t.drop()
		e.trial = newTrial(e.core, e)
		e.trial.token, e.trial.came, e.trial.failures, e.trial.unvalidated = t.token, t.came, t.failures, t.unvalidated
		e.trial.retry()
	default:
		t.Validate = v.Validate
		t.retry()
	}
}

// waits reports whether a token waits to be validated.
func (t *trial) waits() bool { return t != nil && !t.token.IsZero() }

// newest is the token that the source gave last, whether it is installed or waits.
func (e *entry) newest() Token {
	if e.trial.waits() {
		return e.trial.token
	}
	return e.token
}

// take makes a new token wait; the one that waited before is dropped. Asked says that a
// person or a new definition has asked for it; otherwise it was only due.
func (t *trial) take(token Token, asked bool) {
	t.end()
	t.token, t.came, t.tries, t.asked = token, t.now, 0, asked
	t.retry()
}

// retry validates the token now, if one waits.
func (t *trial) retry() {
	if t.waits() {
		t.pool.Schedule(&t.Job, t.now)
		t.reconsider()
	}
}

// settled reports whether nobody needs to wait longer: the token has failed, or a good one
// is in place and nobody asked for this one.
func (t *trial) settled() bool {
	until, _ := t.entry.keeps(t.came)
	return t.tries > 0 || t.Stuck() || !t.asked && until.After(t.now)
}

// drop ends all that is done about the token.
func (t *trial) drop() {
	t.end()
	t.pool.Drop(&t.Job)
	t.pool.Drop(&t.limit.Job)
}

func (t *trial) urgency() queue.Urgency {
	return queue.Urgency{Deadline: t.limit.Due, Awaited: len(t.entry.waiters) > 0}
}

// begin validates the token. The goroutine gets copies, because a reload may change the
// trial meanwhile.
func (t *trial) begin() {
	token, validate := t.token, t.Validate
	ctx, end := context.WithTimeout(WithClock(t.ctx, t.wall), hooks.Limit)
	t.end = end
	t.aside(func() func() {
		defer end()
		var err error
		if thrown := shielded(func() { err = validate(ctx, token) }); thrown != nil {
			err = thrown
		}
		return func() { t.ended(token, err) }
	})
}

// ended handles the end of an attempt.
func (t *trial) ended(token Token, err error) {
	t.pool.Done(&t.Job)
	e := t.entry
	switch {
	case t.stops() || e.gone || e.trial != t:
		return
	case token == t.token && err == nil:
		t.recovered(nil)
		t.handOn("")
	case token == t.token:
		t.failed(faultOf(err, Transient))
	case t.waits(): // another token has come
		t.retry()
	case token == e.token:
		t.validatedLate(err)
	}
	e.noteFailing()
	e.settle()
}

// validatedLate handles the end of a validation whose token is installed already.
func (t *trial) validatedLate(err error) {
	if err != nil {
		t.unvalidated = validationFault(err).Error()
		t.about().WithField("error", t.unvalidated).Warn("the token was installed before its validation failed")
		return
	}
	t.unvalidated = ""
	t.about().Info("the token that was installed is validated")
}

// failed handles a validation that failed. It is repeated while the token in place is kept.
func (t *trial) failed(f *Fault) {
	t.tries++
	until, why := t.entry.keeps(t.came)
	if f.Kind == Configuration {
		until, why = time.Time{}, "it cannot be validated"
	}
	f.Err = validationFault(f.Err)
	t.failures.add(f, t.now)
	if !until.After(t.now) {
		t.installAnyway(why)
		return
	}
	t.pool.Schedule(&t.Job, t.now.Add(queue.Doubled(firstTrial, t.tries, mostTrial)))
	t.logFailure("new token not validated; the one in place is kept", "new token still not validated")
}

func validationFault(err error) error { return fmt.Errorf("validation: %w", err) }

// installAnyway installs the token though it was not validated. It drops a token that has
// expired: its successor is due already.
func (t *trial) installAnyway(why string) {
	if t.token.Expired(t.now) {
		t.drop()
		t.token = Token{}
		return
	}
	err := t.failures.err
	if err == nil {
		err = validationFault(fmt.Errorf("it has not ended after %s", t.now.Sub(t.came).Round(time.Second)))
	}
	t.about().WithField("error", err).Warn("new token is installed without validation: " + why)
	t.failures = failures{}
	t.handOn(err.Error())
}

// handOn hands the token to the sinks. An attempt that runs goes on, and its result is shown.
func (t *trial) handOn(unvalidated string) {
	token := t.token
	t.token, t.unvalidated = Token{}, unvalidated
	t.pool.Drop(&t.Job)
	t.pool.Drop(&t.limit.Job)
	t.entry.install(token)
}

// failing says how the validation of the token that waits fails; nil when it does not.
func (t *trial) failing() *Failing {
	if !t.waits() {
		return nil
	}
	return t.work.failing()
}

func (t *trial) hung() {
	if t.entry.gone || t.entry.trial != t || !t.waits() {
		return
	}
	first := !t.failures.any()
	f := t.hangFault(Transient, "it does not end", "see what the program waits for")
	f.Err = validationFault(f.Err)
	t.failures.add(f, t.now)
	if first {
		t.logHang("new token not validated; the one in place is kept")
	}
	t.entry.noteFailing()
	t.entry.settle()
}

func (t *trial) hangsStill() {
	if t.needsWords() {
		t.logHang("new token still not validated")
	}
}

// shift moves the times that count from now, after the clock was set by step.
func (t *trial) shift(step time.Duration) {
	t.work.shift(step)
	t.came = t.came.Add(step)
	if t.Scheduled() {
		t.pool.Schedule(&t.Job, t.Due.Add(step))
	}
	t.reconsider()
}

// A trialLimit installs the token when the one in place cannot be kept any longer, even
// while its validation runs or waits for its turn.
type trialLimit struct {
	queue.Job
	trial *trial
}

// reconsider sets when that is. Call it when what is in place has changed.
func (t *trial) reconsider() {
	if t.waits() {
		until, _ := t.entry.keeps(t.came)
		t.pool.Schedule(&t.limit.Job, installAt(until, t.entry.expiry(), t.came))
	}
}

func (l *trialLimit) begin() {
	t := l.trial
	t.pool.Done(&l.Job)
	until, why := t.entry.keeps(t.came)
	if installAt(until, t.entry.expiry(), t.came).After(t.now) {
		t.reconsider()
		return
	}
	t.installAnyway(why)
	t.entry.noteFailing()
	t.entry.settle()
}

func (l *trialLimit) urgency() queue.Urgency  { return queue.Urgency{Deadline: l.Due} }
func (l *trialLimit) patience() time.Duration { return 0 }
func (l *trialLimit) hung()                   {}
func (l *trialLimit) hangsStill()             {}

// installAt is when a token is installed, whatever its validation says. The token in place
// is kept until the time until (zero: not at all), and expires at expires (zero: there is
// none). Even where it is not kept, the validation gets trialPatience from the time came,
// or less if the token in place expires sooner.
func installAt(until, expires, came time.Time) time.Time {
	chance := came.Add(trialPatience)
	if !expires.IsZero() {
		chance = queue.Earlier(chance, expires.Add(-leastUse))
	}
	return queue.Later(until, chance)
}

// keeps says until when the tokens in place are kept while the new one is not validated,
// and why no longer. The new one came at that time.
func (e *entry) keeps(came time.Time) (until time.Time, why string) {
	until = never
	for _, p := range e.sinks {
		if at, because := p.keeps(came); at.Before(until) {
			until, why = at, because
		}
	}
	return until, why
}

func (p *placement) keeps(came time.Time) (until time.Time, why string) {
	old := p.inPlace
	switch {
	case p.recalled && old.IsZero(): // nobody has looked yet
		return came.Add(trialPatience), "what is in place is not known yet"
	case old.IsZero(), p.lost && p.entry.token.Secret == (Secret{}): // else it is written again
		return time.Time{}, "no token is in place"
	case p.record.Digest != p.entry.Digest:
		return time.Time{}, "the definition or key of the token has changed"
	case p.now.Before(old.Issued.Add(-clockBackAllowed)):
		return time.Time{}, "the one in place was issued in the future"
	case old.Expires.IsZero():
		return came.Add(blindPatience), "nobody knows when the one in place ends"
	}
	return old.Expires.Add(-max(leastKept, share(old.Lifetime(), leastKeptPart))), "the one in place ends at " + stamp(old.Expires)
}
