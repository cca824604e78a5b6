package queue

import (
	"math/rand/v2"
	"time"
)

const (
	firstWait     = 10 * time.Second  // at most, after the first failure
	leastValidCap = 15 * time.Second  // while a token is valid, the longest wait is a tenth of
	mostValidCap  = 300 * time.Second // what remains of it, within these bounds
	expiredCap    = 120 * time.Second // the longest wait without a valid token
)

// LongestWait is how long a token may wait after any failure, while so much remains of it.
// Remaining is not positive where the token has expired or is missing.
func LongestWait(remaining time.Duration) time.Duration {
	if remaining > 0 {
		return min(max(remaining/10, leastValidCap), mostValidCap)
	}
	return expiredCap
}

// Backoff is a random wait after the nth failure in a row (from 1), up to the longest.
func Backoff(n int, longest time.Duration) time.Duration {
	wait := Doubled(firstWait, n, longest)
	return Between(wait/2, wait)
}

// RetryAfter is how much of the wait that an issuer asked for a token can bear: at most half
// of what remains of it.
func RetryAfter(asked, remaining time.Duration) time.Duration {
	if remaining > 0 {
		return min(asked, remaining/2)
	}
	return min(asked, expiredCap)
}

// Doubled is the wait after the nth failure in a row (from 1): first, twice that, and so
// on, up to most.
func Doubled(first time.Duration, n int, most time.Duration) time.Duration {
	for ; n > 1 && first < most; n-- {
		first *= 2
	}
	return min(first, most)
}

// Between is a random duration from least to most.
func Between(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1)
}

// Earlier is the earlier one of two times.
func Earlier(t, u time.Time) time.Time {
	if t.Before(u) {
		return t
	}
	return u
}

// Later is the later one of two times.
func Later(t, u time.Time) time.Time {
	if t.After(u) {
		return t
	}
	return u
}
