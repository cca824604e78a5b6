package agent

import (
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// An entry is a Renewer that the loop keeps going.
type entry struct {
	Renewer
	*core
	renewal *renewal
	trial   *trial // of new tokens; nil: they are installed as they come
	sinks   []*placement
	token   Token  // the newest one that is installed: on its way to the sinks or in them
	why     string // why it was asked for
	unheard int    // sinks that have not said yet whether they can be adopted
	gone    bool   // no longer in the configuration: what still runs for it changes nothing
	waiters []chan struct{}
	hooked  *hooks.Subject // what hooks hear of its failures; nil: it has no hooks
	idle    bool           // see Agent.Only
	final   bool           // see Agent.Once
	said    said
}

// said is what was logged of an entry, so that it is not logged twice.
type said struct {
	short   bool   // its tokens live no longer than min_remaining
	shorter bool   // its tokens live shorter than was asked for
	note    string // the last Note
	beside  string // the last Beside
}

// never is the expiry of a token without a known one.
var never = time.Unix(1<<40, 0)

// expiry is when the first of the entry's sinks has no valid token any more; zero: one has
// none now.
func (e *entry) expiry() time.Time {
	first := never
	for _, p := range e.sinks {
		switch {
		case p.inPlace.IsZero() || p.lost:
			return time.Time{}
		case !p.inPlace.Expires.IsZero() && p.inPlace.Expires.Before(first):
			first = p.inPlace.Expires
		}
	}
	return first
}

// fromTheFuture reports whether verifiers would find the entry's token issued in the
// future.
func (e *entry) fromTheFuture(now time.Time) bool {
	return now.Before(e.newest().Issued.Add(-clockBackAllowed))
}

// failing reports whether anything fails for the entry.
func (e *entry) failing() bool {
	fails := func(p *placement) bool { return p.failures.any() }
	return e.renewal.failures.any() || e.trial.failing() != nil || slices.ContainsFunc(e.sinks, fails)
}

// inOrder reports whether nothing is due or runs that may still fail.
func (e *entry) inOrder() bool {
	if e.unheard > 0 || e.trial.waits() || e.renewal.Running() || !e.renewal.Due.After(e.now) {
		return false
	}
	for _, p := range e.sinks {
		if p.pending {
			return false
		}
	}
	return true
}

// failingPath is the file that a failure is about: the first that cannot be written, or else
// the first.
func (e *entry) failingPath() string {
	for _, p := range e.sinks {
		if p.failures.any() {
			return p.Name
		}
	}
	return e.sinks[0].Name
}

// settle tells those who wait for the entry when it is done for now. For Once it notes whether
// waiting longer would help.
func (e *entry) settle() {
	r := e.renewal
	failed := r.failures.any()
	if (r.Running() || r.wanted) && !r.Stuck() || !failed && (e.unheard > 0 || !r.Due.After(e.now)) {
		return
	}
	settled, final := true, !failed || r.failures.kind == Configuration
	if !failed {
		for _, p := range e.sinks {
			settled = settled && (!p.pending || p.tried || p.Stuck())
			final = final && (!p.pending || p.failures.count >= quickTries)
		}
	}
	if t := e.trial; !failed && t.waits() {
		settled = settled && t.settled()
		final = final && t.tries >= quickTries
	}
	e.final = final || e.idle
	if settled {
		e.dismiss()
	}
}

// dismiss tells all who wait for the entry.
func (e *entry) dismiss() {
	for _, w := range e.waiters {
		close(w)
	}
	e.waiters = nil
}
