package queue

import "time"

// An issuer is what a Queue knows of its issuer. Of the three times the latest counts.
type issuer struct {
	pace   time.Duration // between the beginnings of two jobs
	paced  time.Time     // no job starts before, to keep the pace
	closed time.Time     // nor before, because of its Retry-After
	probed time.Time     // nor before, because it does not answer
	gave   time.Time     // when it last gave a token
	row    int           // failures in a row that say that it does not answer
}

// An Issuer is a server that gives tokens. All who ask it share one Queue.
type Issuer struct {
	Name   string
	Limits Limits // zero: the usual ones
}

type issuerKey string // of a Queue

// Limits are how much one issuer is asked, for all its tokens together. Its Queue starts
// no more jobs than that: those that have to wait go by their urgency. Package
// sources/issuer holds each request to the same Limits, since a job may make several
// (for metadata, for keys), and commands ask without a Queue.
type Limits struct {
	AtOnce    int     // requests at a time
	PerSecond float64 // requests that begin in a second
}

// Usual are the Limits of an issuer that has no others.
func Usual() Limits { return Limits{AtOnce: 2, PerSecond: 5} }

const fallsSilent = 5 // failures in a row, after which an issuer is only probed

func (i *issuer) silent() bool { return i.row >= fallsSilent }

// gaveSince reports whether the issuer has given a token since a job failed at that time.
// Then the issuer is not down, and the job fails for reasons of its own.
func (i *issuer) gaveSince(failed time.Time) bool { return !failed.IsZero() && failed.Before(i.gave) }

// admit shortens the waits to what a job that is due can bear. A person does not wait.
func (i *issuer) admit(u Urgency, now time.Time) {
	if u.Wanted {
		i.closed, i.probed = time.Time{}, time.Time{}
		return
	}
	remaining := u.Deadline.Sub(now)
	i.closed = Earlier(i.closed, now.Add(RetryAfter(i.closed.Sub(now), remaining)))
	i.probed = Earlier(i.probed, now.Add(LongestWait(remaining)))
}

// Silent reports whether the Queue is for an issuer that does not answer.
func (q *Queue) Silent() bool { return q.issuer != nil && q.issuer.silent() }

// JustFellSilent reports whether the last failure was the one that made it silent.
func (q *Queue) JustFellSilent() bool { return q.issuer.row == fallsSilent }

// Opens is when the issuer may be asked next; the zero time where there is no issuer.
func (q *Queue) Opens() time.Time {
	if i := q.issuer; i != nil {
		return Later(i.paced, Later(i.closed, i.probed))
	}
	return time.Time{}
}

// Shut reports whether the issuer must be left alone for so long that nobody should wait.
func (q *Queue) Shut(now time.Time) bool {
	return q.issuer != nil && (q.issuer.silent() || q.issuer.closed.Sub(now) > firstWait)
}

// RetryNow ends the waits of the issuer, if there is one.
func (q *Queue) RetryNow() {
	if q.issuer != nil {
		q.issuer.closed, q.issuer.probed = time.Time{}, time.Time{}
		q.reopen()
	}
}

// Answered notes that the job got its token. It reports whether the issuer was silent.
func (q *Queue) Answered(j *Job, now time.Time) (wasSilent bool) {
	j.failed = time.Time{}
	if q.issuer == nil {
		return false
	}
	wasSilent = q.issuer.silent()
	q.issuer.row, q.issuer.gave = 0, now
	if wasSilent {
		q.RetryNow()
	}
	return wasSilent
}

// Refused notes that the job failed for a reason that only a person can remove. That says
// nothing about the issuer, which may not even have been asked.
func (q *Queue) Refused(j *Job, now time.Time) { j.failed = now }

// Unanswered notes that the job failed, and may succeed later. RetryAfter is the wait that
// the issuer asked for; zero: none.
func (q *Queue) Unanswered(j *Job, retryAfter time.Duration, now time.Time) {
	i, before := q.issuer, j.failed
	j.failed = now
	if i == nil {
		return
	}
	if i.silent() || !i.gaveSince(before) {
		i.row++
	}
	if retryAfter > 0 {
		i.closed = Later(i.closed, now.Add(q.least(j, now, func(remaining time.Duration) time.Duration {
			return RetryAfter(retryAfter, remaining)
		})))
	}
	if i.silent() {
		i.probed = now.Add(Backoff(i.row-fallsSilent+1, q.least(j, now, LongestWait)))
	}
	q.reopen()
}

// least is the longest wait that the job and all in the Queue can bear.
func (q *Queue) least(j *Job, now time.Time, wait func(remaining time.Duration) time.Duration) time.Duration {
	least := wait(j.urgency.Deadline.Sub(now))
	for _, r := range q.ready.items {
		least = min(least, wait(r.urgency.Deadline.Sub(now)))
	}
	return least
}
