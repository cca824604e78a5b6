package agent

import "time"

// index finds the entries by the file that their source follows.
func (a *Agent) index() {
	clear(a.follow)
	for _, e := range a.entries {
		if f, ok := e.Source.(Follower); ok {
			path := f.Follows().Path
			a.follow[path] = append(a.follow[path], e)
		}
	}
}

// copies reports whether the entry's tokens are what lies in a file that something
// else keeps fresh.
func (e *entry) copies() bool {
	f, ok := e.Source.(Follower)
	return ok && f.Follows().Copied
}

// atMost is due, or when a file that is copied is to be read again at the latest.
func (e *entry) atMost(due, now time.Time) time.Time {
	if e.copies() {
		return earlier(due, now.Add(rereadUnknown))
	}
	return due
}

// followed has the entry's source read again a file that has changed: a copy at
// once, but no more than once a second; what fails as soon as two attempts may be.
func (a *Agent) followed(e *entry) {
	ask := e.ask()
	switch {
	case ask.Running():
		ask.touched = true
	case e.copies():
		a.scheduleAt(ask, later(a.now, ask.Began.Add(betweenTouches)))
	case ask.trouble.failures > 0:
		ask.Queue.RetryNow()
		a.schedule(ask, a.now)
	}
}
