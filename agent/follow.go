package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// index maps files to the entries whose source follows them.
func (s *set) index() {
	clear(s.follow)
	for _, e := range s.entries {
		if f, ok := e.Source.(Follower); ok {
			if path, _ := f.Follows(); path != "" {
				s.follow[path] = append(s.follow[path], e)
			}
		}
	}
}

// copies reports whether the entry's tokens are copies of a file.
func (e *entry) copies() bool {
	f, ok := e.Source.(Follower)
	if !ok {
		return false
	}
	_, copied := f.Follows()
	return copied
}

// atMost is due, but for a copy no later than its file has to be read again.
func (e *entry) atMost(due, now time.Time) time.Time {
	if e.copies() {
		return queue.Earlier(due, now.Add(rereadUnknown))
	}
	return due
}

// follow is called when the file that the source follows has changed. A copy is read again, at
// most once a second. Otherwise only what fails is tried, after the least distance.
func (r *renewal) follow() {
	switch {
	case r.Running():
		r.touched = true
	case r.entry.copies():
		r.cause = "the file that it is a copy of has changed"
		r.scheduleAt(queue.Later(r.now, r.Began.Add(betweenTouches)))
	case r.failures.any():
		r.Queue.RetryNow()
		r.schedule(r.now)
	}
}
