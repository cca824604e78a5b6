package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// failures are those in a row of one work, hook or issuer; the zero value is none.
type failures struct {
	kind    Kind
	err     error
	since   time.Time
	count   int
	alike   int       // how many of them, to the last, were of that kind
	said    time.Time // when they were last logged
	quiet   bool      // they were not logged, and their end is not
	expired bool      // it was said that the token expired meanwhile
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

// nth is which failure in a row of its kind the fault would be, from 1.
func (f *failures) nth(fault *Fault) int {
	if f.any() && f.kind == fault.Kind {
		return f.alike + 1
	}
	return 1
}

// status is what people are told of the failures; nil when there are none.
func (f *failures) status(retry time.Time) *Failing {
	if !f.any() {
		return nil
	}
	return &Failing{Kind: f.kind.String(), Error: f.err.Error(), Since: f.since, Failures: f.count, Retry: retry}
}

// shift moves the times after the clock was set by step.
func (f *failures) shift(step time.Duration) {
	for _, at := range []*time.Time{&f.since, &f.said} {
		if !at.IsZero() {
			*at = at.Add(step)
		}
	}
}

// logFailure writes one line when a work begins to fail, one when the token
// expires over it, and one an hour.
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

// recovered ends the failures of a work, with a line that tells how long they lasted.
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
	if decode := p.entry.Decode; decode != nil {
		t, _ := decode(p.inPlace.Secret)
		for name, text := range map[string]string{"jti": t.ID, "kid": t.KeyID} {
			if text != "" {
				fields[name] = text
			}
		}
	}
	p.about().WithFields(fields).Info("token written")
}

// logChanged says once, and then once an hour, that somebody else changes the file.
func (p *placement) logChanged(difference, what string) {
	if said := p.foreign.said; said.IsZero() || p.now.Sub(said) >= betweenLogLines {
		p.foreign.said = p.now
		p.about().Warnf("somebody else changed the file: %s; %s", difference, what)
	}
}

// sayShortLife says once that tokens live shorter than was asked for, and once that
// what readers are always to find cannot be had.
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

// sayNote logs once what is not as asked, and what came beside it.
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

// stamp writes a time for people and programs alike; "unknown" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.Format(time.RFC3339)
}
