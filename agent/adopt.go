package agent

import "time"

const adoptPatience = 5 * time.Second // for a folder that hangs at the start, before a token is asked for anyway

func (a *Agent) recall(e *entry, recalled map[string]Record) {
	same := !e.copies() // what is copied is read anew
	for _, d := range e.sinks() {
		k, known := recalled[d.path]
		if _, can := d.sink.(Keeper); !known || !can {
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

func (a *Agent) adoptionGoesOn(ask *duty) bool {
	if ask.sink != nil || ask.asked || ask.entry.unheard == 0 {
		return false
	}
	for _, d := range ask.entry.sinks() {
		if d.recalled && a.now.Sub(d.lane.moved) < adoptPatience {
			return true
		}
	}
	return false
}

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

func (a *Agent) adopt(e *entry) {
	if e.ask().asked || e.ask().running {
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
	if !e.ask().due.After(a.now) {
		return
	}
	a.log.WithField("token", e.Name).WithField("expires", stamp(first.Expires)).WithField("renew_at", stamp(e.ask().due)).
		Info("token adopted as an earlier agent left it")
}
