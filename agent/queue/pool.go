package queue

import (
	"cmp"
	"slices"
	"time"
)

// A Pool has all Queues, the jobs that are not due yet and those that run. It is for one
// goroutine.
type Pool struct {
	now     Instant // as last told
	queues  map[any]*Queue
	timers  heapOf[*Job]      // by due time
	open    heapOf[*Queue]    // those that can start a job, by its urgency
	resting heapOf[*Queue]    // those of issuers that have to wait, by the end of that
	young   []*Job            // running for less than stuckAfter, oldest first
	running []*Job            // all that run, oldest first
	busy    map[string]*Job   // those that run, by their Name
	behind  map[string][]*Job // those that wait until another one with their Name has ended
	hanging int               // how many of those that run hang
	blocked []*Job            // wait behind those, and were not returned by Blocked yet
}

const (
	poolRoom   = 32          // jobs at a time in all
	stuckAfter = time.Second // a job that runs longer counts for its Queue alone
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

// Queue is the Queue of that key. A new one runs so many jobs at a time.
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

// Issuer is the Queue of that issuer. Its Limits hold from now on.
func (p *Pool) Issuer(i Issuer) *Queue {
	l := cmp.Or(i.Limits, Usual())
	q := p.Queue(issuerKey(i.Name), l.AtOnce)
	if q.issuer == nil {
		q.issuer = &issuer{}
	}
	q.room, q.issuer.pace = l.AtOnce, time.Duration(float64(time.Second)/l.PerSecond)
	return q
}

// Keep forgets the other Queues, except those in which something runs.
func (p *Pool) Keep(used map[*Queue]bool) {
	for key, q := range p.queues {
		if !used[q] && q.running == 0 {
			delete(p.queues, key)
		}
	}
}

// RetryNow ends the waits of all issuers: something was changed.
func (p *Pool) RetryNow() {
	for _, q := range p.queues {
		q.RetryNow()
	}
}

// Tell sets the time for the calls that follow.
func (p *Pool) Tell(now Instant) { p.now = now }

// Schedule sets when the job is due. One that runs is not started for it: schedule it again
// after [Pool.Done].
func (p *Pool) Schedule(j *Job, due time.Time) {
	j.Due = due
	p.dequeue(j)
	if !j.running {
		p.timers.put(j)
	}
}

// Drop takes the job out until it is scheduled again. An attempt that runs goes on.
func (p *Pool) Drop(j *Job) {
	p.timers.take(j)
	p.dequeue(j)
}

// dequeue takes the job out of its Queue.
func (p *Pool) dequeue(j *Job) {
	j.Queue.ready.take(j)
	j.Queue.reopen()
	if all := p.behind[j.Name]; len(all) > 0 {
		p.behind[j.Name] = slices.DeleteFunc(all, func(k *Job) bool { return k == j })
	}
}

// NextDue is a job that is due; nil: no more. The caller enqueues it or schedules it again.
func (p *Pool) NextDue() *Job {
	if p.timers.Len() == 0 || p.timers.first().Due.After(p.now.Wall) {
		return nil
	}
	return p.timers.next()
}

// Enqueue puts the job into its Queue.
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

// Start is a job that the caller must start now; nil: no more. It runs until [Pool.Done].
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

// Done notes that the attempt at the job has ended.
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

// wake opens the Queues whose wait is over.
func (p *Pool) wake() {
	for p.resting.Len() > 0 && !p.resting.first().Opens().After(p.now.Wall) {
		p.resting.first().reopen()
	}
}

// dropStuck takes the jobs that have run for longer than stuckAfter out of the count.
func (p *Pool) dropStuck() {
	stuck := 0
	for stuck < len(p.young) && p.now.Mono.Sub(p.young[stuck].started) >= stuckAfter {
		stuck++
	}
	p.young = slices.Delete(p.young, 0, stuck)
}

// Wait is the time until something happens by itself, at most the longest.
func (p *Pool) Wait(longest time.Duration) time.Duration {
	wait := longest
	if p.timers.Len() > 0 {
		wait = min(wait, p.timers.first().Due.Sub(p.now.Wall))
	}
	if p.open.Len() > 0 && len(p.young) > 0 { // the Pool is full until its oldest job is stuck
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

// Shift moves the times of issuers after the wall clock was set by step.
func (p *Pool) Shift(step time.Duration) {
	for _, q := range p.queues {
		if i := q.issuer; i != nil {
			Shift(step, &i.paced, &i.closed, &i.probed, &i.gave)
			q.reopen()
		}
	}
}
