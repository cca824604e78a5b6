package agent

import (
	"path"
	"reflect"
	"runtime"
	"slices"
	"time"
)

// A lane is the queue before one thing that can be slow: an issuer, a folder,
// or a source that needs neither. It lets a few duties run at a time, so that
// when the thing hangs, it holds up nothing but its own.
type lane struct {
	room    int          // how many duties may run at a time
	running int          // how many do
	again   int          // how many of them have failed before
	hanging int          // how many of them hang
	ready   queue[*duty] // those that are due, most urgent first
	moved   time.Time    // when a duty last ended
	openAt  int          // place in Agent.open
	restAt  int          // place in Agent.resting
	issuer  *issuer      // nil: it is no issuer's
}

const (
	remoteRoom = 2           // duties at a time for one issuer, or in one folder
	poolRoom   = 32          // duties at a time in all
	stuckAfter = time.Second // a duty that runs longer no longer counts for the pool: it holds only its lane
)

// laneOf is the lane for the duties of that key.
func (a *Agent) laneOf(key any, room int) *lane {
	l := a.lanes[key]
	if l == nil {
		l = &lane{room: room, ready: queue[*duty]{
			before: (*duty).moreUrgent,
			place:  func(d *duty) *int { return &d.turn },
		}}
		a.lanes[key] = l
	}
	return l
}

// The keys of lanes; a source that can be compared is its own.
type (
	issuerKey string
	folderKey string
	sourceKey struct{ *entry }
	sinkKey   struct{ *entry }
)

func (a *Agent) sourceLane(e *entry) *lane {
	if e.Issuer != "" {
		l := a.laneOf(issuerKey(e.Issuer), remoteRoom)
		if l.issuer == nil {
			l.issuer = &issuer{name: e.Issuer}
		}
		return l
	}
	if reflect.ValueOf(e.Source).Comparable() {
		return a.laneOf(e.Source, max(remoteRoom, runtime.GOMAXPROCS(0)))
	}
	return a.laneOf(sourceKey{e}, remoteRoom)
}

func (a *Agent) sinkLane(s Sink, e *entry) *lane {
	if l, ok := s.(Located); ok {
		return a.laneOf(folderKey(path.Dir(l.Path())), remoteRoom)
	}
	return a.laneOf(sinkKey{e}, remoteRoom)
}

// enqueue hands a duty that is due to its lane.
func (a *Agent) enqueue(d *duty) {
	d.deadline = never
	if !d.orphan {
		d.deadline = d.entry.expiry()
	}
	d.awaited = d.sink == nil && len(d.entry.waiters) > 0
	if d.lane.issuer != nil {
		d.lane.issuer.admit(d, a.now)
	}
	d.lane.ready.put(d)
	a.reopen(d.lane)
}

// reopen puts the lane among the open ones if it has something to start and
// room for it, among the resting ones if there is room but it is too soon, and
// takes it from there if not.
func (a *Agent) reopen(l *lane) {
	room, opens := l.most(), time.Time{}
	if l.issuer != nil {
		opens = l.issuer.opens()
	}
	a.open.take(l)
	a.resting.take(l)
	switch {
	case l.ready.Len() == 0 || l.running >= room:
	case opens.After(a.now):
		a.resting.put(l)
	default:
		a.open.put(l)
	}
}

// most is how many duties may run at a time now.
func (l *lane) most() int {
	if l.issuer != nil {
		return l.issuer.room(l.room)
	}
	return l.room
}

// wake opens the lanes that have rested for long enough.
func (a *Agent) wake() {
	for a.resting.Len() > 0 && !a.resting.first().issuer.opens().After(a.now) {
		a.reopen(a.resting.first())
	}
}

// dispatch starts what is due, most urgent first, as far as there is room.
func (a *Agent) dispatch() {
	a.dropStuck()
	for a.open.Len() > 0 && len(a.young) < poolRoom {
		l := a.open.first()
		d := l.next()
		if l.issuer != nil {
			l.issuer.paced = a.now.Add(pace)
		}
		a.begin(d)
		a.reopen(l)
	}
}

// next takes from the lane what is to be started: the most urgent. But what fails
// for reasons of its own, and may well be that, must not keep the others from an
// issuer that would answer them. So those that fail are asked for one at a time,
// and every second probe is for the one whose last attempt is the longest ago.
func (l *lane) next() *duty {
	d, i := l.ready.first(), l.issuer
	fails := i != nil && !d.trouble.last.IsZero() && !d.awaited
	if fails && (l.again > 0 || i.silent() && i.row%2 == 0) {
		d = slices.MinFunc(l.ready.items, func(d, e *duty) int { return d.begun.Compare(e.begun) })
	}
	l.ready.take(d)
	return d
}

// dropStuck takes from the pool those that have run for longer than stuckAfter.
func (a *Agent) dropStuck() {
	stuck := 0
	for stuck < len(a.young) && time.Since(a.young[stuck].started) >= stuckAfter {
		stuck++
	}
	a.young = append(a.young[:0], a.young[stuck:]...)
}
