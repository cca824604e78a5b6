package agent

import "time"

const adoptPatience = 5 * time.Second // how long to wait for a folder at the start, before asking for a token anyway

// recall prepares the adoption of an entry's files.
func (e *entry) recall(recalled map[string]Record) {
	same := !e.copies() // a copy is read again
	for _, p := range e.sinks {
		k, known := recalled[p.Name]
		if !known || k.Mark == nil || p.store == nil {
			same = false
			continue
		}
		p.record, p.recalled = k, true
		e.unheard++
		if k.Digest != e.Digest {
			same, e.renewal.cause = false, newDefinition
		}
		p.schedule(e.now)
	}
	if same {
		e.renewal.wanted = false
		e.renewal.schedule(e.now.Add(adoptPatience))
	}
}

// patience is how long to wait for sinks that have not said yet whether the token lies there.
// While their folders answer, it is never over.
func (r *renewal) patience() (wait time.Duration) {
	if r.wanted || r.entry.unheard == 0 {
		return 0
	}
	for _, p := range r.entry.sinks {
		if p.recalled {
			wait = max(wait, p.Queue.LastEnded().Add(adoptPatience).Sub(r.mono))
		}
	}
	return wait
}

// adopted notes whether a file of an earlier process is as it was.
func (p *placement) adopted(r result) {
	e := p.entry
	p.recalled = false
	switch {
	case r.err == nil && r.difference == "":
		p.inPlace = Token{Issued: p.record.Issued.UTC(), Expires: p.record.Expires.UTC(), AskBy: p.record.AskBy.UTC(), KeyID: p.record.KeyID}
		if p.hooked != nil {
			p.hooked.Notice.Expires = p.inPlace.Expires
			p.hooks.watch(p)
		}
	case r.difference != "":
		p.inPlace = Token{}
		p.about().Warnf("the file is not as it was when it was last recorded: %s; a new token is asked for", r.difference)
	}
	p.lookLater()
	e.trial.reconsider()
	if e.unheard > 0 {
		if e.unheard--; e.unheard == 0 {
			e.adopt()
		}
	}
}

// adopt goes on with the token if it lies in all sinks of the entry. Else it asks for one.
func (e *entry) adopt() {
	r, first := e.renewal, e.sinks[0].inPlace
	if r.wanted || r.Running() {
		return
	}
	for _, p := range e.sinks {
		if p.inPlace.IsZero() || p.inPlace != first || p.record.Digest != e.Digest {
			r.cause = p.unlike(e)
			r.schedule(e.now)
			return
		}
	}
	e.token, r.cause = first, ""
	due, future := e.Schedule.Next(first), e.fromTheFuture(e.now)
	if future && e.isWrong() {
		due = e.now.Add(min(due.Sub(first.Issued), clockPatience))
	}
	r.wanted = future && !e.isWrong()
	r.schedule(due)
	if r.Due.After(e.now) {
		e.log.WithField("token", e.Name).WithField("expires", stamp(first.Expires)).WithField("renew_at", stamp(r.Due)).
			Info("token adopted as an earlier agent left it")
	}
}

// unlike says why the file of an earlier process is not adopted.
func (p *placement) unlike(e *entry) string {
	switch {
	case p.inPlace.IsZero():
		return "start: a file is not as it was recorded"
	case p.record.Digest != e.Digest:
		return newDefinition
	}
	return "start: its files hold different tokens"
}
