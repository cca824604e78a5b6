package queue

import (
	"slices"
	"time"
)

// hangsAt is when the attempt that runs counts as hanging, by the monotonic clock.
func (j *Job) hangsAt() time.Time { return j.started.Add(j.Limit) }

// Hangs are the jobs that have begun to hang since the last call: their attempt takes
// longer than their Limit.
func (p *Pool) Hangs() (found []*Job) {
	for _, j := range p.running {
		if j.hangs || p.now.Mono.Before(j.hangsAt()) {
			continue
		}
		found = append(found, j)
		j.hangs = true
		p.hanging++
		j.Queue.hanging++
		j.Queue.reopen()
		p.block(p.behind[j.Name]...)
	}
	return found
}

// Blocked are the jobs that have begun to wait behind one that hangs since the last call.
func (p *Pool) Blocked() []*Job {
	found := p.blocked
	p.blocked = nil
	return slices.DeleteFunc(found, func(j *Job) bool { return !j.blocked })
}

func (p *Pool) block(jobs ...*Job) {
	for _, j := range jobs {
		if !j.blocked {
			j.blocked = true
			p.blocked = append(p.blocked, j)
		}
	}
}

// Hanging are the jobs that hang now, oldest first.
func (p *Pool) Hanging() []*Job {
	if p.hanging == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.running), func(j *Job) bool { return !j.hangs })
}
