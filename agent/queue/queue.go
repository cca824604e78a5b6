package queue

import (
	"slices"
	"time"
)

// A Queue has the jobs that wait for one thing that can be slow.
type Queue struct {
	pool    *Pool
	issuer  *issuer // nil: they wait for something else
	room    int     // how many jobs may run at a time
	ready   heapOf[*Job]
	running int       // how many jobs run
	retried int       // how many of them repeat one that failed
	hanging int       // how many of them hang
	ended   time.Time // when a job last ended, by the monotonic clock
	stuck   bool      // as many hang as may run
	openAt  int       // place in Pool.open
	restAt  int       // place in Pool.resting
}

// Waiting are the jobs that wait, in no order.
func (q *Queue) Waiting() []*Job { return slices.Clone(q.ready.items) }

// LastEnded is when a job of the Queue last ended, by the monotonic clock.
func (q *Queue) LastEnded() time.Time { return q.ended }

// Dismiss makes no job in the Queue an awaited one.
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

// reopen puts the Queue among those that can start a job, or those that have to wait, or
// among neither. It is called after each change.
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

// next takes the most urgent job out of the Queue. But one that failed may fail for reasons
// of its own, and must not keep the others from an issuer that would answer them. So only
// one that failed runs at a time, and every second probe of a silent issuer is for the job
// whose last attempt is the longest ago.
func (q *Queue) next() *Job {
	j, i := q.ready.first(), q.issuer
	fails := i != nil && !j.failed.IsZero() && !j.urgency.Awaited
	if fails && (q.retried > 0 || i.silent() && i.row%2 == 0) {
		j = slices.MinFunc(q.ready.items, func(j, k *Job) int { return j.Began.Compare(k.Began) })
	}
	q.ready.take(j)
	return j
}
