package queue

import "time"

// A Job is done again and again, such as to ask for a token or to write a file. The zero
// Job with a Queue is not scheduled.
type Job struct {
	Value any           // whose job it is; for the caller alone
	Queue *Queue        // where it waits for its turn
	Name  string        // of what it works on: of two jobs with the same Name one runs at a time; "": it shares nothing
	Limit time.Duration // how long an attempt may run before it counts as hanging

	Due   time.Time // by the wall clock
	Began time.Time // when it last started, by the wall clock

	urgency Urgency
	started time.Time // when it last started, by the monotonic clock
	failed  time.Time // when its last attempt failed; zero after a success
	retried bool      // the attempt that runs follows one that failed
	running bool
	hangs   bool // its attempt takes longer than Limit
	blocked bool // it waits behind one that hangs

	timer int // place in Pool.timers
	turn  int // place in Queue.ready
}

// An Urgency says how long a job that is due can wait.
type Urgency struct {
	Deadline time.Time // when its readers have no valid token any more; zero: they have none
	Awaited  bool      // somebody waits for it
	Wanted   bool      // a person or a change asked for it: it ends the waits of its issuer
}

// An Instant is one moment by both clocks. Due times are by the wall clock, since the
// monotonic one stands still while a host is suspended. How long an attempt takes is by the
// monotonic one, since nobody can set that.
type Instant struct{ Wall, Mono time.Time }

// Running reports whether an attempt at the job runs.
func (j *Job) Running() bool { return j.running }

// Hangs reports whether the attempt that runs takes longer than Limit.
func (j *Job) Hangs() bool { return j.hangs }

// Blocked reports whether the job waits behind one that hangs.
func (j *Job) Blocked() bool { return j.blocked }

// Stuck reports whether the job hangs, or waits behind one that does.
func (j *Job) Stuck() bool { return j.hangs || j.blocked }

// Scheduled reports whether the job waits for its due time.
func (j *Job) Scheduled() bool { return j.timer > 0 }

// Waits reports whether the job waits for its turn.
func (j *Job) Waits() bool { return j.turn > 0 }

// NextAt is when the job can start at the earliest.
func (j *Job) NextAt() time.Time {
	if j.Waits() {
		return Later(j.Due, j.Queue.Opens())
	}
	return j.Due
}

// Inherit makes the next attempt at the job a repetition if the last one at old failed.
func (j *Job) Inherit(old *Job) { j.failed = old.failed }

// Shift moves the job's past after the wall clock was set by step. Due stays.
func (j *Job) Shift(step time.Duration) { Shift(step, &j.Began, &j.failed) }

// before orders jobs: first those that somebody waits for, then by deadline, then by due time.
func (j *Job) before(other *Job) bool {
	if j.urgency.Awaited != other.urgency.Awaited {
		return j.urgency.Awaited
	}
	if !j.urgency.Deadline.Equal(other.urgency.Deadline) {
		return j.urgency.Deadline.Before(other.urgency.Deadline)
	}
	return j.Due.Before(other.Due)
}

// Shift moves the times, but not zero ones, by step.
func Shift(step time.Duration, times ...*time.Time) {
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Add(step)
		}
	}
}
