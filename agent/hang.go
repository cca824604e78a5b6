package agent

import (
	"errors"
	"fmt"
	"time"
)

// What hangs cannot be ended: a write to a file system whose server is gone waits in the
// kernel, and a source may heed no context. It is waited for, since nothing else may
// write there meanwhile; but it fails for all to see, and so does what waits behind it.

const hangGrace = 5 * time.Second // after the limit of an attempt, for those that heed it

// noteHanging has fail what hangs, and what waits behind that.
func (a *Agent) noteHanging() {
	for _, j := range a.pool.Hangs() {
		d := j.Value.(*duty)
		a.failBy(d, d.hangFault())
	}
	for _, j := range a.pool.Hanging() {
		if d := j.Value.(*duty); d.trouble.failures > 0 && a.now.Sub(d.trouble.said) >= betweenLogLines { // else its definition has gone
			a.logHang(d, "still ")
		}
	}
}

// noteBlocked has fail what was found to wait behind something that hangs.
func (a *Agent) noteBlocked() {
	for _, j := range a.pool.Blocked() {
		d := j.Value.(*duty)
		a.failBy(d, d.hangFault())
	}
}

// failBy has the duty fail without an attempt that came back.
func (a *Agent) failBy(d *duty, f *Fault) {
	if d.entry.gone && !d.orphan {
		return
	}
	first := d.trouble.failures == 0
	d.trouble.add(f, a.now)
	if first || d.Hangs() {
		a.logHang(d, "")
	}
	if d.orphan {
		return
	}
	a.noteFailing(d.entry)
	a.settle(d.entry)
}

// hangFault says what hangs, and what is done about it.
func (d *duty) hangFault() *Fault {
	kind, what, remedy := Writing, "its folder does not answer", "see whether the server of that file system is up"
	if d.sink == nil {
		kind, what, remedy = Transient, "its source does not answer, not even when its time is up", "see what it waits for"
	}
	if d.Blocked() {
		return &Fault{Kind: kind, Err: errors.New(what + ", and others wait for it already; " + remedy)}
	}
	return &Fault{Kind: kind, Err: fmt.Errorf("%s since %s; it is waited for, and not asked a second time; %s",
		what, stamp(d.Began), remedy)}
}

// logHang says that the duty fails. What was not looked at is said only of the file
// that hangs, not of those that wait behind it.
func (a *Agent) logHang(d *duty, still string) {
	if d.Blocked() && (d.sink != nil && !d.owed) {
		d.trouble.quiet = true
		return
	}
	d.trouble.said, d.trouble.quiet = a.now, false
	what := d.next(a.now)
	if d.Running() {
		what = d.doing
	}
	words := map[doing]string{
		asking: "token %snot renewed", putting: "token %snot written", looking: "file %snot looked at",
		adopting: "file of an earlier agent %snot looked at", removing: "file %snot removed",
	}[what]
	log := a.about(d).WithField("error", d.trouble.err).WithField("kind", d.trouble.kind)
	if waiting := len(d.Queue.Waiting()); d.Hangs() && waiting > 0 {
		log = log.WithField("waiting", waiting)
	}
	log.Error(fmt.Sprintf(words, still))
}
