package agent

import (
	"math/rand/v2"
	"time"
)

// How long a token waits after a failure.
const (
	firstWait       = 10 * time.Second  // before the first repetition, at most
	leastValidCap   = 15 * time.Second  // the longest wait while a token is valid is a tenth of
	mostValidCap    = 300 * time.Second // what remains of it, within these bounds
	expiredCap      = 120 * time.Second // the longest wait without a valid token
	quickTries      = 3                 // of a fault that only a person can mend, before the slow ones
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
	mostLife        = 10 * 366 * 24 * time.Hour
)

// askWait is how long to wait after the nth failure in a row (from 1) to get a
// token of which remaining is left; remaining is not positive when the token
// has expired or is missing.
func askWait(f *Fault, n int, remaining time.Duration) time.Duration {
	if f.Kind == Configuration && n > quickTries {
		return between(leastSlowWait, mostSlowWait)
	}
	return max(backoff(n, longestWait(remaining)), retryAfter(f.RetryAfter, remaining))
}

// longestWait is how long a token of which remaining is left may wait after any failure.
func longestWait(remaining time.Duration) time.Duration {
	if remaining > 0 {
		return min(max(remaining/10, leastValidCap), mostValidCap)
	}
	return expiredCap
}

// backoff is a random wait after the nth failure in a row, up to the longest.
func backoff(n int, longest time.Duration) time.Duration {
	wait := doubled(firstWait, n, longest)
	return between(wait/2, wait)
}

// retryAfter is the part of what the issuer asked for that the token can bear:
// waiting never takes more than half of what remains of it.
func retryAfter(asked, remaining time.Duration) time.Duration {
	if remaining > 0 {
		return min(asked, remaining/2)
	}
	return min(asked, expiredCap)
}

// writeWait is how long to wait after the nth failure in a row to write a file.
func writeWait(n int) time.Duration { return doubled(firstWriteWait, n, mostWriteWait) }

func doubled(first time.Duration, n int, most time.Duration) time.Duration {
	for ; n > 1 && first < most; n-- {
		first *= 2
	}
	return min(first, most)
}

func between(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1)
}

func earlier(t, u time.Time) time.Time {
	if t.Before(u) {
		return t
	}
	return u
}

func later(t, u time.Time) time.Time {
	if t.After(u) {
		return t
	}
	return u
}
