package queue

import (
	"slices"
	"time"
)

// A Queue stands before one thing that can be slow.
type Queue struct {
	pool    *Pool
	issuer  *issuer // nil: it stands before something else
	room    int     // how many jobs may run at a time
	ready   heapOf[*Job]
	running int       // how many jobs run
	retried int       // how many of them follow a failure
	hanging int       // how many of them hang
	ended   time.Time // when a job last ended, by the monotonic clock
	stuck   bool      // all that may run hang
	openAt  int       // place in Pool.open
	restAt  int       // place in Pool.resting
}

// Waiting are the jobs that wait for their turn, in no order.
func (q *Queue) Waiting() []*Job { return slices.Clone(q.ready.items) }

// LastEnded is when a job of the Queue last ended, by the monotonic clock.
func (q *Queue) LastEnded() time.Time { return q.ended }

// Dismiss says that nobody waits any more for what is in the Queue: it goes by its
// deadlines alone.
func (q *Queue) Dismiss() {
	for _, j := range q.Waiting() {
		if j.urgency.Awaited {
			j.urgency.Awaited = false
			q.ready.put(j)
		}
	}
	q.reopen()
}

// most is how many jobs may run at a time now.
func (q *Queue) most() int {
	if q.Silent() {
		return 1
	}
	return q.room
}

// reopen puts the Queue among those that could start a job, or those that have to rest,
// or takes it from there. It is called whenever something changed.
func (q *Queue) reopen() {
	q.pool.open.take(q)
	q.pool.resting.take(q)
	if q.ready.Len() > 0 && q.running < q.most() {
		if q.Opens().After(q.pool.now.Wall) {
			q.pool.resting.put(q)
		} else {
			q.pool.open.put(q)
		}
	}
	was := q.stuck
	q.stuck = q.hanging > 0 && q.hanging >= q.most()
	if q.stuck && !was {
		q.pool.block(q.ready.items...)
	}
}

// next takes the job from the Queue that is to start: the most urgent. But a job that
// fails may do so for reasons of its own, and must not keep the others from an issuer that
// would answer them. So those that fail are tried one at a time, and every second probe
// of a silent issuer is for the one whose last attempt is the longest ago.
func (q *Queue) next() *Job {
	j, i := q.ready.first(), q.issuer
	fails := i != nil && !j.failed.IsZero() && !j.urgency.Awaited
	if fails && (q.retried > 0 || i.silent() && i.row%2 == 0) {
		j = slices.MinFunc(q.ready.items, func(j, k *Job) int { return j.Began.Compare(k.Began) })
	}
	q.ready.take(j)
	return j
}
