package agent

import (
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// failures are the failures in a row of one work, hook or issuer; zero: none.
type failures struct {
	kind    Kind
	err     error
	since   time.Time
	count   int
	alike   int       // how many of that kind in a row there are at the end
	said    time.Time // when they were last logged
	quiet   bool      // they are not logged, and their end is not either
	expired bool      // it was logged that the token has expired
}

// any reports whether there are any.
func (f *failures) any() bool { return f.count > 0 }

func (f *failures) add(fault *Fault, now time.Time) {
	if f.count == 0 {
		f.since = now
	}
	if f.kind != fault.Kind {
		f.alike = 0
	}
	f.kind, f.err = fault.Kind, fault.Err
	f.count++
	f.alike++
}

// nth is the number that the fault would have in its row of one kind, from 1.
func (f *failures) nth(fault *Fault) int {
	if f.any() && f.kind == fault.Kind {
		return f.alike + 1
	}
	return 1
}

// status shows the failures; nil when there are none.
func (f *failures) status(retry time.Time) *Failing {
	if !f.any() {
		return nil
	}
	return &Failing{Kind: f.kind.String(), Error: f.err.Error(), Since: f.since, Failures: f.count, Retry: retry}
}

// shift moves the times after the clock was set by step.
func (f *failures) shift(step time.Duration) { queue.Shift(step, &f.since, &f.said) }

// logFailure writes a line when a work begins to fail, when its token expires meanwhile, and
// every hour.
func (w *work) logFailure(first, again string) {
	f, expires := &w.failures, w.entry.expiry()
	expired := !expires.After(w.now)
	words := again
	switch {
	case f.count == 1:
		words = first
	case expired && !f.expired && !expires.IsZero():
		words = "token has expired; " + again
	case w.now.Sub(f.said) < betweenLogLines:
		return
	}
	f.said, f.expired = w.now, expired
	log := w.about().WithFields(logrus.Fields{"error": f.err, "kind": f.kind, "failures": f.count, "retry_at": stamp(w.NextAt())})
	if !expires.IsZero() && expires != never {
		log = log.WithField("expires", stamp(expires))
	}
	log.Error(words)
}

// recovered ends the failures of a work. A line says how long they lasted.
func (w *work) recovered(fields logrus.Fields) {
	was := w.failures
	if w.failures = (failures{}); was.any() && !was.quiet {
		w.about().WithFields(fields).WithFields(logrus.Fields{
			"failures": was.count, "outage": w.now.Sub(was.since).Round(time.Second),
		}).Info("works again")
	}
}

func (p *placement) logWritten() {
	fields := logrus.Fields{"expires": stamp(p.inPlace.Expires), "renew_at": stamp(p.entry.renewal.Due)}
	for name, text := range map[string]string{"jti": p.inPlace.ID, "kid": p.inPlace.KeyID} {
		if text != "" {
			fields[name] = text
		}
	}
	p.about().WithFields(fields).Info("token written")
}

// logChanged logs that somebody else changes the file, at most once an hour.
func (p *placement) logChanged(difference, what string) {
	if said := p.foreign.said; said.IsZero() || p.now.Sub(said) >= betweenLogLines {
		p.foreign.said = p.now
		p.about().Warnf("somebody else changed the file: %s; %s", difference, what)
	}
}

// sayShortLife logs once that tokens live shorter than was asked for, and once that they live
// no longer than min_remaining.
func (r *renewal) sayShortLife() {
	e := r.entry
	life, asked := e.token.Lifetime(), e.Request.Lifetime
	if life > 0 && life < share(asked, noticeably) && !e.said.shorter {
		e.said.shorter = true
		r.about().WithFields(logrus.Fields{"lifetime": life.Round(time.Second), "asked": asked, "renew_at": stamp(r.Due)}).
			Warn("the token lives shorter than was asked for; it is renewed accordingly")
	}
	if e.said.short || life == 0 || e.Schedule.MinRemaining < life {
		return
	}
	e.said.short = true
	r.about().WithFields(logrus.Fields{"lifetime": life, "min_remaining": e.Schedule.MinRemaining}).
		Warn("the token lives no longer than min_remaining, which is ignored")
}

const noticeably = 0.95 // of the life that was asked for

// sayNote logs the Note and the Beside of the token, unless the last one had the same.
func (r *renewal) sayNote(t Token) {
	said := &r.entry.said
	if t.Note != "" && t.Note != said.note {
		r.about().Warn(t.Note)
	}
	if t.Beside != "" && t.Beside != said.beside {
		r.about().Info(t.Beside)
	}
	said.note, said.beside = t.Note, t.Beside
}

// stamp is the time as the log shows it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.Format(time.RFC3339)
}
