package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// How long a token waits after a failure.
const (
	quickTries      = 3 // of a fault that only a person can remove, before the slow ones
	leastSlowWait   = 10 * time.Minute
	mostSlowWait    = 30 * time.Minute
	firstWriteWait  = time.Second
	mostWriteWait   = 30 * time.Second
	betweenAttempts = 5 * time.Second        // between two attempts that nobody asked for
	betweenRepairs  = time.Minute            // of one file that somebody else changes
	betweenLooks    = time.Minute            // at one file
	betweenTouches  = time.Second            // at one file to which something happens all the time
	lookSpacing     = 2 * time.Millisecond   // between two looks, on average
	lookRound       = 100 * time.Millisecond // at whose ends they are begun
	betweenLogLines = time.Hour              // about one failure that lasts
	leastUse        = 10 * time.Second
	afterEnd        = time.Second // of a token that its issuer repeats until then
)

// askWait is how long to wait after the nth failure in a row (from 1) to get a
// token of which remaining is left; remaining is not positive when the token
// has expired or is missing.
func askWait(f *Fault, n int, remaining time.Duration) time.Duration {
	if f.Kind == Configuration && n > quickTries {
		return queue.Between(leastSlowWait, mostSlowWait)
	}
	return max(queue.Backoff(n, queue.LongestWait(remaining)), queue.RetryAfter(f.RetryAfter, remaining))
}

// writeWait is how long to wait after the nth failure in a row to write a file.
func writeWait(n int) time.Duration { return queue.Doubled(firstWriteWait, n, mostWriteWait) }
