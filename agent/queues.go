package agent

import (
	"reflect"
	"runtime"

	"github.com/tokenagent/tokenagent/agent/queue"
)

const remoteRoom = 2 // attempts at a time for one issuer, or in one folder

// The keys of queues; a source that can be compared is its own.
type (
	issuerKey string
	folderKey string
	sourceKey struct{ *entry }
	sinkKey   struct{ *entry }
)

func (a *Agent) sourceQueue(e *entry) *queue.Queue {
	if e.Issuer != "" {
		q := a.pool.Issuer(issuerKey(e.Issuer), remoteRoom)
		if a.issuers[q] == nil {
			a.issuers[q] = &issuer{name: e.Issuer}
		}
		return q
	}
	if reflect.ValueOf(e.Source).Comparable() {
		return a.pool.Queue(e.Source, max(remoteRoom, runtime.GOMAXPROCS(0)))
	}
	return a.pool.Queue(sourceKey{e}, remoteRoom)
}

func (a *Agent) sinkQueue(t Target, e *entry) *queue.Queue {
	if t.Queue != "" {
		return a.pool.Queue(folderKey(t.Queue), remoteRoom)
	}
	return a.pool.Queue(sinkKey{e}, remoteRoom)
}

// release has what is due wait for its turn.
func (a *Agent) release() {
	for j := a.pool.NextDue(); j != nil; j = a.pool.NextDue() {
		d := j.Value.(*duty)
		if wait := d.patience(a.mono); wait > 0 {
			a.pool.Schedule(j, a.now.Add(wait))
			continue
		}
		a.pool.Enqueue(j, d.urgency())
	}
}

// urgency is how long the duty can wait, as things are now.
func (d *duty) urgency() queue.Urgency {
	u := queue.Urgency{Deadline: never, Wanted: d.asked}
	if !d.orphan {
		u.Deadline = d.entry.expiry()
	}
	u.Awaited = d.sink == nil && len(d.entry.waiters) > 0
	return u
}

// dispatch starts what may start.
func (a *Agent) dispatch() {
	for j := a.pool.Start(); j != nil; j = a.pool.Start() {
		a.begin(j.Value.(*duty))
	}
}

// dropQueues forgets the queues that nothing goes through any more.
func (a *Agent) dropQueues() {
	used := map[*queue.Queue]bool{}
	for _, e := range a.entries {
		for _, d := range e.duties {
			used[d.Queue] = true
		}
	}
	for _, d := range a.orphans {
		used[d.Queue] = true
	}
	a.pool.Keep(used)
	for q := range a.issuers {
		if !used[q] {
			delete(a.issuers, q)
		}
	}
}

// instant is what the Pool is told of the time.
func (a *Agent) instant() queue.Instant { return queue.Instant{Wall: a.now, Mono: a.mono} }
