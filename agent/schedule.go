package agent

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/robfig/cron/v3"
)

// Bounds of a Schedule.
const (
	MinAt         = 0.05             // earliest share of its life at which a token is renewed
	MaxAt         = 0.95             // latest share
	shortLife     = 6 * time.Hour    // up to here a token is renewed at half of its life, beyond it at two thirds
	leastWait     = 10 * time.Second // no token is renewed sooner than this after it was asked for
	leastShare    = 0.05             // nor sooner than this share of its life
	jitterShare   = 0.1              // how much of the wait the jitter may take away
	rereadUnknown = time.Minute      // a token without a known expiry is read again this often
)

// A Schedule says when the token after a given one is due. The zero Schedule is
// the one for most: half of the life of a token of up to 6 h, two thirds of a
// longer one.
type Schedule struct {
	At           float64       // share of the life at which to renew, MinAt to MaxAt; zero: the default
	MinRemaining time.Duration // what a reader is always to find; ignored for a token that lives no longer
	Cron         cron.Schedule // one more trigger, never a postponement; nil: none
	Jitter       float64       // in [0,1), see Jitter; moves the renewal earlier, never later
}

// Next is the time at which the successor of t is due: the earliest of what At,
// MinRemaining and Cron, and the token itself, ask for, but never sooner after t was issued than 10 s
// or 5 % of its life, whichever is more; Token.AskBy may be sooner than those 5 %. It depends
// on nothing but its inputs.
func (s Schedule) Next(t Token) time.Time {
	if t.Expires.IsZero() {
		return s.earlierByCron(t.Issued.Add(rereadUnknown), t.Issued)
	}
	life := t.Lifetime()
	wait := s.early(share(life, s.at(life)))
	if s.MinRemaining > 0 && s.MinRemaining < life {
		wait = min(wait, s.early(life-s.MinRemaining))
	}
	floor := LeastWait(life)
	wait = max(wait, floor)
	if !t.AskBy.IsZero() {
		wait = min(wait, max(t.AskBy.Sub(t.Issued), leastWait))
	}
	return s.earlierByCron(t.Issued.Add(wait), t.Issued.Add(floor))
}

// Left is how much life at least is left of a token that lives so long when it is renewed
// normally.
func (s Schedule) Left(life time.Duration) time.Duration {
	s.Jitter, s.Cron = 0, nil // which only make it more
	issued := time.Unix(0, 0)
	return life - s.Next(Token{Issued: issued, Expires: issued.Add(life)}).Sub(issued)
}

// LeastWait is the shortest time between asking for a token of that life and
// asking for its successor.
func LeastWait(life time.Duration) time.Duration {
	return max(leastWait, share(life, leastShare))
}

// Jitter is the fixed place in [0,1) of the token name on the machine seed: the
// same after each restart, so that restarts never gather renewals.
func Jitter(seed, name string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s", seed, name)
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

func (s Schedule) at(life time.Duration) float64 {
	switch {
	case s.At > 0:
		return s.At
	case life <= shortLife:
		return 1. / 2
	default:
		return 2. / 3
	}
}

// early takes the jitter off a wait.
func (s Schedule) early(wait time.Duration) time.Duration {
	return share(wait, 1-jitterShare*s.Jitter)
}

// earlierByCron is due, or the cron time after the time from when that is earlier.
func (s Schedule) earlierByCron(due, from time.Time) time.Time {
	if s.Cron == nil {
		return due
	}
	if next := s.Cron.Next(from); !next.IsZero() && next.Before(due) {
		return next
	}
	return due
}

func share(d time.Duration, f float64) time.Duration { return time.Duration(float64(d) * f) }

// mix spreads the bits of x; FNV alone leaves the high ones of similar names alike.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
