package agent

import (
	"time"

	"github.com/sirupsen/logrus"
)

// trouble is a row of failures of one duty; the zero value is none.
type trouble struct {
	kind     Kind
	err      error
	since    time.Time
	failures int
	said     time.Time // when it was last logged
	expired  bool      // it was said that the token expired meanwhile
}

func (t *trouble) add(f *Fault, now time.Time) {
	if t.failures == 0 {
		t.since = now
	}
	t.kind, t.err = f.Kind, f.Err
	t.failures++
}

// logFailure writes one line when a token begins to fail, one when it expires
// over it, and one an hour.
func (a *Agent) logFailure(d *duty) {
	expires := d.entry.expiry()
	expired := !expires.After(a.now)
	words := "token not renewed"
	switch {
	case d.trouble.failures == 1 && d.sink != nil:
		words = "token not written"
	case d.trouble.failures == 1:
	case expired && !d.trouble.expired && !expires.IsZero():
		words = "token has expired and is still not renewed"
	case a.now.Sub(d.trouble.said) >= betweenLogLines:
		words = "token still not renewed"
	default:
		return
	}
	d.trouble.said, d.trouble.expired = a.now, expired
	log := a.about(d).WithFields(logrus.Fields{
		"error": d.trouble.err, "kind": d.trouble.kind, "failures": d.trouble.failures, "retry_at": stamp(d.due),
	})
	if !expires.IsZero() && expires != never {
		log = log.WithField("expires", stamp(expires))
	}
	log.Error(words)
}

// recovered ends the duty's trouble, with a line that tells how long it was.
func (a *Agent) recovered(d *duty) {
	if d.trouble.failures == 0 {
		return
	}
	a.about(d).WithFields(logrus.Fields{
		"failures": d.trouble.failures, "outage": a.now.Sub(d.trouble.since).Round(time.Second),
	}).Info("works again")
	d.trouble = trouble{}
}

func (a *Agent) logWritten(d *duty) {
	a.about(d).WithFields(logrus.Fields{
		"expires": stamp(d.inPlace.Expires), "renew_at": stamp(d.entry.ask().due),
	}).Info("token written")
}

func (a *Agent) logChanged(d *duty, difference string, again time.Time) {
	if !d.told.IsZero() && a.now.Sub(d.told) < betweenLogLines {
		return
	}
	d.told = a.now
	a.about(d).WithField("write_at", stamp(again)).Warnf("somebody else changed the file: %s; it is written again, at most once a minute", difference)
}

func (a *Agent) about(d *duty) logrus.FieldLogger {
	log := a.log.WithField("token", d.entry.Name)
	if d.path != "" {
		log = log.WithField("path", d.path)
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
