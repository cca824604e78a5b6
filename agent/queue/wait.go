package queue

import (
	"math/rand/v2"
	"time"
)

const (
	firstWait     = 10 * time.Second  // before the first repetition, at most
	leastValidCap = 15 * time.Second  // the longest wait while a token is valid is a tenth of
	mostValidCap  = 300 * time.Second // what remains of it, within these bounds
	expiredCap    = 120 * time.Second // the longest wait without a valid token
)

// LongestWait is how long a token of which remaining is left may wait after any failure.
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

// RetryAfter is the part of what an issuer asked for that the token can bear: a wait
// never takes more than half of what remains of it.
func RetryAfter(asked, remaining time.Duration) time.Duration {
	if remaining > 0 {
		return min(asked, remaining/2)
	}
	return min(asked, expiredCap)
}

// Doubled is first after the first failure in a row, twice that after the second, and
// so on, up to most.
func Doubled(first time.Duration, n int, most time.Duration) time.Duration {
	for ; n > 1 && first < most; n-- {
		first *= 2
	}
	return min(first, most)
}

// Between is a random time of the two bounds and what is between them.
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
