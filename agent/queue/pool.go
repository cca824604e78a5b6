package queue

import (
	"slices"
	"time"
)

// A Pool has all Queues, the jobs whose time has yet to come and those that run. It is
// for one goroutine.
type Pool struct {
	now     Instant // as it was told last
	queues  map[any]*Queue
	timers  heapOf[*Job]      // by due time
	open    heapOf[*Queue]    // those that could start a job, by its urgency
	resting heapOf[*Queue]    // those of issuers that must be left alone for a while, by its end
	young   []*Job            // running for less than stuckAfter, oldest first
	running []*Job            // all that run, oldest first
	busy    map[string]*Job   // those that run, by their Name
	behind  map[string][]*Job // those that wait until another one with their Name has ended
	hanging int               // how many of those that run hang
	blocked []*Job            // found to wait behind those; not yet told
}

const (
	poolRoom   = 32          // jobs at a time in all
	stuckAfter = time.Second // a job that runs longer no longer counts for the Pool: it holds only its Queue
)

// New returns an empty Pool.
func New(now Instant) *Pool {
	return &Pool{
		now:    now,
		queues: map[any]*Queue{},
		busy:   map[string]*Job{},
		behind: map[string][]*Job{},
		timers: heapOf[*Job]{
			before: func(j, k *Job) bool { return j.Due.Before(k.Due) },
			place:  func(j *Job) *int { return &j.timer },
		},
		open: heapOf[*Queue]{
			before: func(q, r *Queue) bool { return q.ready.first().before(r.ready.first()) },
			place:  func(q *Queue) *int { return &q.openAt },
		},
		resting: heapOf[*Queue]{
			before: func(q, r *Queue) bool { return q.Opens().Before(r.Opens()) },
			place:  func(q *Queue) *int { return &q.restAt },
		},
	}
}

// Queue is the Queue of that key, with room for so many jobs at a time where it is new.
func (p *Pool) Queue(key any, room int) *Queue {
	q := p.queues[key]
	if q == nil {
		q = &Queue{pool: p, room: room, ready: heapOf[*Job]{
			before: (*Job).before,
			place:  func(j *Job) *int { return &j.turn },
		}}
		p.queues[key] = q
	}
	return q
}

// Issuer is Queue for an issuer. The Limits hold from now on.
func (p *Pool) Issuer(key any, l Limits) *Queue {
	q := p.Queue(key, l.AtOnce)
	if q.issuer == nil {
		q.issuer = &issuer{}
	}
	q.room, q.issuer.pace = l.AtOnce, time.Duration(float64(time.Second)/l.PerSecond)
	return q
}

// Keep forgets the Queues that are not in use, except those in which something runs.
func (p *Pool) Keep(used map[*Queue]bool) {
	for key, q := range p.queues {
		if !used[q] && q.running == 0 {
			delete(p.queues, key)
		}
	}
}

// RetryNow has all issuers asked again without a wait: something was changed.
func (p *Pool) RetryNow() {
	for _, q := range p.queues {
		q.RetryNow()
	}
}

// Tell says what time it is. The calls that follow count by that time.
func (p *Pool) Tell(now Instant) { p.now = now }

// Schedule sets when the job is due. While it runs that changes nothing else.
func (p *Pool) Schedule(j *Job, due time.Time) {
	j.Due = due
	p.dequeue(j)
	if !j.running {
		p.timers.put(j)
	}
}

// Drop takes the job out, until it is scheduled again. What runs goes on.
func (p *Pool) Drop(j *Job) {
	p.timers.take(j)
	p.dequeue(j)
}

// dequeue has the job no longer wait for its turn.
func (p *Pool) dequeue(j *Job) {
	j.Queue.ready.take(j)
	j.Queue.reopen()
	if all := p.behind[j.Name]; len(all) > 0 {
		p.behind[j.Name] = slices.DeleteFunc(all, func(k *Job) bool { return k == j })
	}
}

// NextDue is a job whose time has come, for the caller to enqueue or to schedule again;
// nil when there is none.
func (p *Pool) NextDue() *Job {
	if p.timers.Len() == 0 || p.timers.first().Due.After(p.now.Wall) {
		return nil
	}
	return p.timers.next()
}

// Enqueue has the job wait for its turn.
func (p *Pool) Enqueue(j *Job, u Urgency) {
	j.urgency = u
	q := j.Queue
	if q.issuer != nil {
		q.issuer.admit(u, p.now.Wall)
	}
	q.ready.put(j)
	q.reopen()
	if q.stuck {
		p.block(j)
	}
}

// Start is a job that may start now, and counts as running until Done; nil when there is
// none. Call it until then.
func (p *Pool) Start() *Job {
	p.wake()
	p.dropStuck()
	for p.open.Len() > 0 && len(p.young) < poolRoom {
		q := p.open.first()
		j := q.next()
		other := p.busy[j.Name]
		if other == nil {
			p.begin(j)
			return j
		}
		p.behind[j.Name] = append(p.behind[j.Name], j)
		if other.hangs {
			p.block(j)
		}
		q.reopen()
	}
	return nil
}

func (p *Pool) begin(j *Job) {
	q := j.Queue
	j.running, j.blocked, j.retried = true, false, !j.failed.IsZero()
	j.Began, j.started = p.now.Wall, p.now.Mono
	if q.running++; j.retried {
		q.retried++
	}
	if q.issuer != nil {
		q.issuer.paced = p.now.Wall.Add(q.issuer.pace)
	}
	if j.Name != "" {
		p.busy[j.Name] = j
	}
	p.young, p.running = append(p.young, j), append(p.running, j)
	q.reopen()
}

// Done takes in that the job's attempt has come back.
func (p *Pool) Done(j *Job) {
	q := j.Queue
	q.ended = p.now.Mono
	if q.running--; j.retried {
		q.retried--
	}
	if j.hangs {
		p.hanging--
		q.hanging--
	}
	j.running, j.hangs, j.retried = false, false, false
	same := func(k *Job) bool { return k == j }
	p.young, p.running = slices.DeleteFunc(p.young, same), slices.DeleteFunc(p.running, same)
	if p.busy[j.Name] == j {
		delete(p.busy, j.Name)
		for _, k := range p.behind[j.Name] {
			k.Queue.ready.put(k)
			k.Queue.reopen()
		}
		delete(p.behind, j.Name)
	}
	q.reopen()
}

// wake opens the Queues that have rested for long enough.
func (p *Pool) wake() {
	for p.resting.Len() > 0 && !p.resting.first().Opens().After(p.now.Wall) {
		p.resting.first().reopen()
	}
}

// dropStuck makes room for others beside those that have run for longer than stuckAfter.
func (p *Pool) dropStuck() {
	stuck := 0
	for stuck < len(p.young) && p.now.Mono.Sub(p.young[stuck].started) >= stuckAfter {
		stuck++
	}
	p.young = slices.Delete(p.young, 0, stuck)
}

// Wait is how long nothing happens by itself, and at most the longest.
func (p *Pool) Wait(longest time.Duration) time.Duration {
	wait := longest
	if p.timers.Len() > 0 {
		wait = min(wait, p.timers.first().Due.Sub(p.now.Wall))
	}
	if p.open.Len() > 0 && len(p.young) > 0 { // the Pool is full: there is room when its oldest is found stuck
		wait = min(wait, stuckAfter-p.now.Mono.Sub(p.young[0].started))
	}
	if p.resting.Len() > 0 {
		wait = min(wait, p.resting.first().Opens().Sub(p.now.Wall))
	}
	for _, j := range p.running {
		if !j.hangs {
			wait = min(wait, j.hangsAt().Sub(p.now.Mono))
		}
	}
	return max(wait, 0)
}

// Shift moves what was counted from the old time, after the wall clock was set by step.
func (p *Pool) Shift(step time.Duration) {
	for _, q := range p.queues {
		if i := q.issuer; i != nil {
			shift(step, &i.paced, &i.closed, &i.probed, &i.gave)
			q.reopen()
		}
	}
}
