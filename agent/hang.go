package agent

import (
	"errors"
	"fmt"
	"time"
)

// What hangs cannot be ended: a write to a file system whose server is gone waits in the
// kernel, and a source may ignore its context. The agent waits for it, since nothing else may
// write there meanwhile. But it counts as failed, and so does what waits behind it.

const hangGrace = 5 * time.Second // after the limit of an attempt, to return after its context has ended

// noteHanging makes what hangs fail.
func (c *core) noteHanging() {
	for _, j := range c.pool.Hangs() {
		j.Value.(task).hung()
	}
	for _, j := range c.pool.Hanging() {
		j.Value.(task).hangsStill()
	}
}

// noteBlocked makes what waits behind something that hangs fail.
func (c *core) noteBlocked() {
	for _, j := range c.pool.Blocked() {
		j.Value.(task).hung()
	}
}

// hangFault says what hangs, and what to do.
func (w *work) hangFault(kind Kind, what, remedy string) *Fault {
	if w.Blocked() {
		return &Fault{Kind: kind, Err: errors.New(what + ", and others wait for it already; " + remedy)}
	}
	return &Fault{Kind: kind, Err: fmt.Errorf("%s since %s; it is waited for, and not asked a second time; %s",
		what, stamp(w.Began), remedy)}
}

// needsWords reports whether a work that hangs has to be logged again.
func (w *work) needsWords() bool {
	return w.failures.any() && w.now.Sub(w.failures.said) >= betweenLogLines // without failures its definition has gone
}

// logHang logs that the work fails.
func (w *work) logHang(words string) {
	f := &w.failures
	f.said, f.quiet = w.now, false
	log := w.about().WithField("error", f.err).WithField("kind", f.kind)
	if waiting := len(w.Queue.Waiting()); w.Hangs() && waiting > 0 {
		log = log.WithField("waiting", waiting)
	}
	log.Error(words)
}

func (r *renewal) hung() {
	if r.entry.gone {
		return
	}
	first := !r.failures.any()
	r.failures.add(r.hangFault(Transient, "its source does not answer, not even when its time is up", "see what it waits for"), r.now)
	if first || r.Hangs() {
		r.logHang("token not renewed")
	}
	r.entry.noteFailing()
	r.entry.settle()
}

func (r *renewal) hangsStill() {
	if r.needsWords() {
		r.logHang("token still not renewed")
	}
}

func (p *placement) hung() {
	if p.entry.gone && !p.leftover {
		return
	}
	first := !p.failures.any()
	p.failures.add(p.hangFault(Writing, "its folder does not answer", "see whether the server of that file system is up"), p.now)
	if first || p.Hangs() {
		p.sayHang("")
	}
	if !p.leftover {
		p.entry.noteFailing()
		p.entry.settle()
	}
}

func (p *placement) hangsStill() {
	if p.needsWords() {
		p.sayHang("still ")
	}
}

// sayHang logs what cannot be done. Of looks it logs only the one that hangs, not those that
// wait behind it.
func (p *placement) sayHang(still string) {
	if p.Blocked() && !p.pending {
		p.failures.quiet = true
		return
	}
	what := p.next()
	if p.Running() {
		what = p.doing
	}
	words := map[doing]string{
		putting: "token %snot written", looking: "file %snot looked at",
		adopting: "file of an earlier agent %snot looked at", removing: "file %snot removed",
	}
	p.logHang(fmt.Sprintf(words[what], still))
}
