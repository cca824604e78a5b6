package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// What hangs cannot be ended: a write to a file system whose server is gone waits in the
// kernel, and a source may heed no context. It is waited for, since nothing else may
// write there meanwhile; but it fails for all to see, and so does what waits behind it.

const (
	hangGrace        = 5 * time.Second // after the limit of an attempt, for those that heed it
	betweenHangLooks = time.Second     // of what waits behind those that hang
)

// isStuck reports whether the duty hangs, or waits behind one that does.
func (d *duty) isStuck() bool { return d.hanging || d.blocked }

// limit is how long the duty's attempt may take.
func (d *duty) limit() time.Duration {
	if d.sink == nil {
		return askLimit
	}
	return sinkLimit
}

// hangsAt is when the attempt that runs is found to hang, by the monotonic clock.
func (d *duty) hangsAt() time.Time { return d.started.Add(d.limit() + hangGrace) }

// noteHanging finds what hangs, and what waits behind that.
func (a *Agent) noteHanging() {
	mono := time.Now()
	for _, d := range a.running {
		if !d.hanging && !mono.Before(d.hangsAt()) {
			a.hangs(d)
		}
	}
	if a.hanging == 0 || mono.Sub(a.hangLook) < betweenHangLooks {
		return
	}
	a.hangLook = mono
	for _, d := range a.running {
		if !d.hanging {
			continue
		}
		if d.trouble.failures > 0 && a.now.Sub(d.trouble.said) >= betweenLogLines { // else its definition has gone
			a.logHang(d, "still ")
		}
		if d.lane.hanging >= d.lane.most() {
			for _, waiting := range slices.Clone(d.lane.ready.items) {
				a.blocks(waiting)
			}
		}
	}
}

// untilHang is how long until something may be found to hang, at most wait.
func (a *Agent) untilHang(wait time.Duration) time.Duration {
	for _, d := range a.running {
		if !d.hanging {
			wait = min(wait, time.Until(d.hangsAt()))
		}
	}
	return wait
}

// hangs makes a duty whose attempt does not come back one that fails.
func (a *Agent) hangs(d *duty) {
	a.hanging++
	d.lane.hanging++
	d.hanging = true
	a.failBy(d, d.hangFault())
}

// blocks makes a duty fail that waits behind one that hangs.
func (a *Agent) blocks(d *duty) {
	if !d.blocked {
		d.blocked = true
		a.failBy(d, d.hangFault())
	}
}

// failBy has the duty fail without an attempt that came back.
func (a *Agent) failBy(d *duty, f *Fault) {
	if d.entry.gone && !d.orphan {
		return
	}
	failed, first := d.entry.failing(), d.trouble.failures == 0
	d.trouble.add(f, a.now)
	if first || d.hanging {
		a.logHang(d, "")
	}
	if d.orphan {
		return
	}
	a.noticeFailure(d.entry, failed)
	a.settle(d.entry)
}

// hangFault says what hangs, and what is done about it.
func (d *duty) hangFault() *Fault {
	kind, what, remedy := Writing, "its folder does not answer", "see whether the server of that file system is up"
	if d.sink == nil {
		kind, what, remedy = Transient, "its source does not answer, not even when its time is up", "see what it waits for"
	}
	if d.blocked {
		return &Fault{Kind: kind, Err: errors.New(what + ", and others wait for it already; " + remedy)}
	}
	return &Fault{Kind: kind, Err: fmt.Errorf("%s since %s; it is waited for, and not asked a second time; %s",
		what, stamp(d.begun), remedy)}
}

// logHang says that the duty fails. What was not looked at is said only of the file
// that hangs, not of those that wait behind it.
func (a *Agent) logHang(d *duty, still string) {
	if d.blocked && (d.sink != nil && !d.owed) {
		d.trouble.quiet = true
		return
	}
	d.trouble.said, d.trouble.quiet = a.now, false
	what := d.next(a.now)
	if d.running {
		what = d.doing
	}
	words := map[doing]string{
		asking: "token %snot renewed", putting: "token %snot written", looking: "file %snot looked at",
		adopting: "file of an earlier agent %snot looked at", removing: "file %snot removed",
	}[what]
	log := a.about(d).WithField("error", d.trouble.err).WithField("kind", d.trouble.kind)
	if waiting := d.lane.ready.Len(); d.hanging && waiting > 0 {
		log = log.WithField("waiting", waiting)
	}
	log.Error(fmt.Sprintf(words, still))
}

// isBack takes in that the duty's attempt has come back, however late.
func (a *Agent) isBack(d *duty) {
	if i := slices.Index(a.running, d); i >= 0 {
		a.running = slices.Delete(a.running, i, i+1)
	}
	if !d.hanging {
		return
	}
	a.hanging--
	d.lane.hanging--
	d.hanging = false
}
