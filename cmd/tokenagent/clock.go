package main

import (
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
)

// built is when the source of this program was committed, in Unix seconds; the
// Makefile sets it. A clock that is before it is wrong.
var built string

// sayClock warns of a clock that cannot be right. The agent goes on: what it
// signs now is renewed as soon as the clock is set.
func sayClock(log logrus.FieldLogger, now time.Time) {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if at := time.Unix(seconds, 0); err == nil && now.Before(at) {
		log.WithField("built", at.UTC().Format(time.RFC3339)).Warn("the clock is before this program was built; is it right?")
	}
}
