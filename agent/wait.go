package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// How long a token waits after a failure.
const (
	quickTries      = 3 // after a fault that only a person can remove, before slow ones
	leastSlowWait   = 10 * time.Minute
	mostSlowWait    = 30 * time.Minute
	firstWriteWait  = time.Second
	mostWriteWait   = 30 * time.Second
	betweenAttempts = 5 * time.Second        // between attempts that nobody asked for
	betweenRepairs  = time.Minute            // of a file that somebody else changes
	betweenLooks    = time.Minute            // at a file
	betweenTouches  = time.Second            // between looks at a file that changes all the time
	lookSpacing     = 2 * time.Millisecond   // between two looks, on average
	lookRound       = 100 * time.Millisecond // looks begin at multiples of it
	betweenLogLines = time.Hour              // about a failure that lasts
	leastUse        = 10 * time.Second
	afterEnd        = time.Second // of a token that its issuer repeats until then
)

// askWait is how long to wait after the nth failure in a row (from 1) to get a token, while so
// much remains of the old one. Remaining is not positive where that has expired or is missing.
func askWait(f *Fault, n int, remaining time.Duration) time.Duration {
	if f.Kind == Configuration && n > quickTries {
		return queue.Between(leastSlowWait, mostSlowWait)
	}
	return max(queue.Backoff(n, queue.LongestWait(remaining)), queue.RetryAfter(f.RetryAfter, remaining))
}

// writeWait is how long to wait after the nth failure in a row to write a file.
func writeWait(n int) time.Duration { return queue.Doubled(firstWriteWait, n, mostWriteWait) }
