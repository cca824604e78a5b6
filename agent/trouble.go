package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// trouble is a row of failures of one duty or hook; the zero value is none.
type trouble struct {
	kind     Kind
	err      error
	since    time.Time
	failures int
	alike    int       // how many of them, to the last, were of that kind
	said     time.Time // when it was last logged
	quiet    bool      // it was not logged, and its end is not
	expired  bool      // it was said that the token expired meanwhile
}

func (t *trouble) add(f *Fault, now time.Time) {
	if t.failures == 0 {
		t.since = now
	}
	if t.kind != f.Kind {
		t.alike = 0
	}
	t.kind, t.err = f.Kind, f.Err
	t.failures++
	t.alike++
}

// nth is which failure in a row of its kind the fault would be, from 1.
func (t *trouble) nth(f *Fault) int {
	if t.failures > 0 && t.kind == f.Kind {
		return t.alike + 1
	}
	return 1
}

// shift moves its times after the clock was set by step.
func (t *trouble) shift(step time.Duration) {
	for _, at := range []*time.Time{&t.since, &t.said} {
		if !at.IsZero() {
			*at = at.Add(step)
		}
	}
}

// logFailure writes one line when a duty begins to fail, one when the token
// expires over it, and one an hour.
func (a *Agent) logFailure(d *duty, first, again string) {
	expires := d.entry.expiry()
	expired := !expires.After(a.now)
	words := again
	switch {
	case d.trouble.failures == 1:
		words = first
	case expired && !d.trouble.expired && !expires.IsZero():
		words = "token has expired; " + again
	case a.now.Sub(d.trouble.said) < betweenLogLines:
		return
	}
	d.trouble.said, d.trouble.expired = a.now, expired
	log := a.about(d).WithFields(logrus.Fields{
		"error": d.trouble.err, "kind": d.trouble.kind, "failures": d.trouble.failures, "retry_at": stamp(d.NextAt()),
	})
	if !expires.IsZero() && expires != never {
		log = log.WithField("expires", stamp(expires))
	}
	log.Error(words)
}

// recovered ends the duty's trouble, with a line that tells how long it was and
// when the source, if it is that, is asked next.
func (a *Agent) recovered(d *duty) {
	if d.trouble.failures == 0 || d.trouble.quiet {
		d.trouble = trouble{}
		return
	}
	log := a.about(d).WithFields(logrus.Fields{
		"failures": d.trouble.failures, "outage": a.now.Sub(d.trouble.since).Round(time.Second),
	})
	if d.sink == nil {
		log = log.WithField("renew_at", stamp(d.Due))
	}
	log.Info("works again")
	d.trouble = trouble{}
}

func (a *Agent) logWritten(d *duty) {
	a.about(d).WithFields(logrus.Fields{
		"expires": stamp(d.inPlace.Expires), "renew_at": stamp(d.entry.ask().Due),
	}).Info("token written")
}

// logChanged says once, and then once an hour, that somebody else has a hand in
// the file.
func (a *Agent) logChanged(d *duty, difference, what string) {
	if !d.told.IsZero() && a.now.Sub(d.told) < betweenLogLines {
		return
	}
	d.told = a.now
	a.about(d).Warnf("somebody else changed the file: %s; %s", difference, what)
}

// sayShortLife says once that tokens live shorter than was asked for, and once that
// what readers are always to find cannot be had.
func (a *Agent) sayShortLife(e *entry) {
	life, asked := e.token.Lifetime(), e.Request.Lifetime
	if life > 0 && life < share(asked, noticeably) && !e.shorter {
		e.shorter = true
		a.log.WithFields(logrus.Fields{"token": e.Name, "lifetime": life.Round(time.Second), "asked": asked, "renew_at": stamp(e.ask().Due)}).
			Warn("the token lives shorter than was asked for; it is renewed accordingly")
	}
	if e.short || life == 0 || e.Schedule.MinRemaining < life {
		return
	}
	e.short = true
	a.log.WithFields(logrus.Fields{"token": e.Name, "lifetime": life, "min_remaining": e.Schedule.MinRemaining}).
		Warn("the token lives no longer than min_remaining, which is ignored")
}

const noticeably = 0.95 // of the life that was asked for

// sayNote logs once what is not as asked, and what came beside it.
func (a *Agent) sayNote(e *entry) {
	log := a.log.WithField("token", e.Name)
	if e.token.Note != "" && e.token.Note != e.noted {
		log.Warn(e.token.Note)
	}
	if e.token.Beside != "" && e.token.Beside != e.besides {
		log.Info(e.token.Beside)
	}
	e.noted, e.besides = e.token.Note, e.token.Beside
}

func (a *Agent) about(d *duty) logrus.FieldLogger {
	log := a.log.WithField("token", d.entry.Name)
	if d.Path != "" {
		log = log.WithField("path", d.Path)
	}
	return log
}

// stamp writes a time for people and programs alike; "unknown" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.Format(time.RFC3339)
}
