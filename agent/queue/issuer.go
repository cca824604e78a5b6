package queue

import "time"

// An issuer is what the Queue of an issuer knows of it. It is asked so many requests a
// second; none before the time that it asked for; and while it does not answer, one from
// time to time for all its tokens.
type issuer struct {
	pace   time.Duration // between the beginnings of two jobs
	paced  time.Time     // it is asked nothing before, to keep the pace
	closed time.Time     // nor before, as it asked for
	probed time.Time     // nor before, because it does not answer
	gave   time.Time     // when it last gave a token
	row    int           // how many failures in a row tell that it does not answer
}

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

const fallsSilent = 5 // failures in a row after which it is probed only

func (i *issuer) silent() bool { return i.row >= fallsSilent }

// gaveSince reports whether the issuer has given a token since another failed, at
// that time. When that one fails again it is not because the issuer is down.
func (i *issuer) gaveSince(failed time.Time) bool { return !failed.IsZero() && failed.Before(i.gave) }

// admit opens the issuer early enough for a job whose time has come: before its token
// suffers, and at once where somebody wants it.
func (i *issuer) admit(u Urgency, now time.Time) {
	if u.Wanted {
		i.closed, i.probed = time.Time{}, time.Time{}
		return
	}
	remaining := u.Deadline.Sub(now)
	i.closed = Earlier(i.closed, now.Add(RetryAfter(i.closed.Sub(now), remaining)))
	i.probed = Earlier(i.probed, now.Add(LongestWait(remaining)))
}

// Silent reports whether the Queue is that of an issuer that does not answer.
func (q *Queue) Silent() bool { return q.issuer != nil && q.issuer.silent() }

// JustFellSilent reports whether the last failure was the one that made it silent.
func (q *Queue) JustFellSilent() bool { return q.issuer.row == fallsSilent }

// Opens is when the Queue may start a job next, as far as its issuer is concerned.
func (q *Queue) Opens() time.Time {
	if i := q.issuer; i != nil {
		return Later(i.paced, Later(i.closed, i.probed))
	}
	return time.Time{}
}

// Shut reports whether the issuer must be left alone for longer than anybody waits.
func (q *Queue) Shut(now time.Time) bool {
	return q.issuer != nil && (q.issuer.silent() || q.issuer.closed.Sub(now) > firstWait)
}

// RetryNow has the issuer, if it is one's Queue, asked again without a wait.
func (q *Queue) RetryNow() {
	if q.issuer != nil {
		q.issuer.closed, q.issuer.probed = time.Time{}, time.Time{}
		q.reopen()
	}
}

// Answered takes in that the job was given what it asked for, and reports whether the
// issuer was silent before.
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

// Refused takes in that the job failed for a reason that only a person can remove. That
// tells nothing of the issuer: it may not even have been asked.
func (q *Queue) Refused(j *Job, now time.Time) { j.failed = now }

// Unanswered takes in that the job failed and may succeed later. The issuer is left
// alone for as long as it asked for (zero: it did not), and as it does not answer.
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

// least is the shortest of the waits that the job, and those in the Queue, can bear.
func (q *Queue) least(j *Job, now time.Time, wait func(remaining time.Duration) time.Duration) time.Duration {
	least := wait(j.urgency.Deadline.Sub(now))
	for _, r := range q.ready.items {
		least = min(least, wait(r.urgency.Deadline.Sub(now)))
	}
	return least
}
