package agent

import "time"

const adoptPatience = 5 * time.Second // for a folder that hangs at the start, before a token is asked for anyway

// recall prepares the adoption of an entry's files.
func (a *Agent) recall(e *entry, recalled map[string]Record) {
	same := !e.copies() // what is copied is read anew
	for _, d := range e.sinks() {
		k, known := recalled[d.Path]
		if !known || k.Mark == nil || d.store == nil {
			same = false
			continue
		}
		d.record, d.recalled = k, true
		e.unheard++
		same = same && k.Digest == e.Digest
		a.schedule(d, a.now)
	}
	if same {
		e.ask().asked = false
		a.schedule(e.ask(), a.now.Add(adoptPatience))
	}
}

// patience is how long to wait with an ask for the sinks that have yet to say whether the
// token lies there, as long as their folders answer.
func (d *duty) patience(mono time.Time) (wait time.Duration) {
	if d.sink != nil || d.asked || d.entry.unheard == 0 {
		return 0
	}
	for _, s := range d.entry.sinks() {
		if s.recalled {
			wait = max(wait, s.Queue.LastEnded().Add(adoptPatience).Sub(mono))
		}
	}
	return wait
}

// adopted takes in whether a file of an earlier process is as it was.
func (a *Agent) adopted(d *duty, o outcome) {
	e := d.entry
	d.recalled = false
	switch {
	case o.err == nil && o.difference == "":
		d.inPlace = Token{Issued: d.record.Issued.UTC(), Expires: d.record.Expires.UTC()}
	case o.difference != "":
		d.inPlace = Token{}
		a.about(d).Warnf("the file is not as it was when it was last recorded: %s; a new token is asked for", o.difference)
	}
	a.lookLater(d)
	if e.unheard > 0 {
		if e.unheard--; e.unheard == 0 {
			a.adopt(e)
		}
	}
}

// adopt goes on with the token that lies in all sinks of the entry, or asks for
// one now.
func (a *Agent) adopt(e *entry) {
	if e.ask().asked || e.ask().Running() {
		return
	}
	first := e.sinks()[0].inPlace
	for _, d := range e.sinks() {
		if d.inPlace.IsZero() || d.inPlace != first || d.record.Digest != e.Digest {
			a.schedule(e.ask(), a.now)
			return
		}
	}
	e.token = first
	due, future := e.Schedule.Next(first), e.fromTheFuture(a.now)
	if future && a.clockIsWrong() {
		due = a.now.Add(min(due.Sub(first.Issued), clockPatience))
	}
	e.ask().asked = future && !a.clockIsWrong()
	a.schedule(e.ask(), due)
	if !e.ask().Due.After(a.now) {
		return
	}
	a.log.WithField("token", e.Name).WithField("expires", stamp(first.Expires)).WithField("renew_at", stamp(e.ask().Due)).
		Info("token adopted as an earlier agent left it")
}
