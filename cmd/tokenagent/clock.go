package main

import (
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
)

// wall is the time of day for the whole program. Only tests replace it (see
// testClock).
var wall = func() time.Time { return time.Now().Round(0) }

// built is when the source of this program was committed, in Unix seconds; the
// Makefile sets it. A clock before that is wrong.
var built string

// sayClock warns of a clock that cannot be right. The agent goes on: tokens that it
// signs now are renewed as soon as the clock is set.
func sayClock(log logrus.FieldLogger, now time.Time) {
	if at := builtAt(); now.Before(at) {
		log.WithField("built", at.UTC().Format(time.RFC3339)).Warn("the clock is before this program was built; is it right?")
	}
}

// builtAt is built as a time; the zero time where it is not set.
func builtAt() time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
