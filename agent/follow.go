package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// index finds the entries by the file that their source follows.
func (s *set) index() {
	clear(s.follow)
	for _, e := range s.entries {
		if f, ok := e.Source.(Follower); ok {
			path, _ := f.Follows()
			s.follow[path] = append(s.follow[path], e)
		}
	}
}

// copies reports whether the entry's tokens are what lies in a file that something
// else keeps fresh.
func (e *entry) copies() bool {
	f, ok := e.Source.(Follower)
	if !ok {
		return false
	}
	_, copied := f.Follows()
	return copied
}

// atMost is due, but not later than a file that is copied has to be read again.
func (e *entry) atMost(due, now time.Time) time.Time {
	if e.copies() {
		return queue.Earlier(due, now.Add(rereadUnknown))
	}
	return due
}

// follow reads again the file that the source follows, since it has changed: a copy at
// once, but no more than once a second; what fails as soon as two attempts may be.
func (r *renewal) follow() {
	switch {
	case r.Running():
		r.touched = true
	case r.entry.copies():
		r.scheduleAt(queue.Later(r.now, r.Began.Add(betweenTouches)))
	case r.failures.any():
		r.Queue.RetryNow()
		r.schedule(r.now)
	}
}
