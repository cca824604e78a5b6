package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A Record is what is remembered of one sink across restarts. It holds nothing
// of the token itself.
type Record struct {
	Token   string          `json:"token"`            // the name of its definition
	Name    string          `json:"path"`             // of the Target
	Digest  string          `json:"digest"`           // of the definition that it was issued for
	Issued  time.Time       `json:"issued"`           // see Token
	Expires time.Time       `json:"expires,omitzero"` // see Token
	AskBy   time.Time       `json:"ask_by,omitzero"`  // see Token
	Delete  bool            `json:"delete,omitempty"` // the file goes with its definition
	Form    int             `json:"form,omitempty"`   // see Renewer
	Mark    json.RawMessage `json:"mark,omitempty"`   // see Written; nil: nothing is known of the file itself

	Hooks    *hooks.Level `json:"hooks,omitempty"`    // what hooks have heard of the file; nil: all that there is
	Failures *hooks.Level `json:"failures,omitempty"` // what hooks have heard of the token's failures
}

// Records keep what is remembered across restarts.
type Records interface {
	// Recall returns what was kept last.
	Recall() []Record
	// Keep replaces all that was kept before. It is called every 10 s at most, and
	// again after an error; a success means that pending hooks are kept as well.
	Keep([]Record) error
	// Check reports whether what was kept is still there; else Keep is called.
	Check() bool
	// Warnings are what was found since the last call.
	Warnings() []string
	// Leftover is the sink of what no definition has any more; the zero Target when
	// nothing can be said of it.
	Leftover(Record) Target
	// Begin has these on the disk beside what is kept, until Keep has kept as much: the
	// Hooks of a file that is about to be written, or the Failures of a token that hooks
	// are about to be told of. Its error says that they would not survive a power cut;
	// they are recalled in any other case.
	Begin(ctx context.Context, begun ...Record) error
}

const (
	betweenKeeps  = 10 * time.Second
	betweenChecks = time.Minute
)

// Remember makes the agent keep records, and go on where the last process
// stopped: a token whose definition is unchanged and that still lies in all its
// sinks as it was put is not asked for again before it is due. It is to be
// called before Run or Once.
func (a *Agent) Remember(r Records) {
	a.records.Records, a.records.checked = r, a.now
	known := r.Recall()
	recalled := map[string]Record{}
	for _, k := range known {
		recalled[k.Name] = k
		if a.named[k.Name] != nil {
			continue
		}
		if t := r.Leftover(k); t.Sink != nil {
			a.recallLeftover(k, t)
		}
	}
	for _, e := range a.entries {
		e.fitHooks(recalled)
		e.recall(recalled)
	}
	a.hooks.rehook()
	a.warnOfTheClock(known)
}

// fullRecord is the record with what its definition says, and its hooks have heard.
func (p *placement) fullRecord() Record {
	var r Record
	if p.recalled || !p.inPlace.IsZero() || p.leftover {
		r = p.record
	}
	r.Hooks, r.Failures = p.hooked.Level(), p.entry.hooked.Level()
	r.Token, r.Name, r.Delete = p.entry.Name, p.Name, p.entry.DeleteRemoved
	return r
}

// A journal keeps the records of an agent as they are.
type journal struct {
	*core
	Records
	stale   bool      // they are not as kept
	keeping bool      // they are being written
	kept    time.Time // when that was last begun
	checked time.Time // when it was last looked whether they are there
	unkept  bool      // they, or hooks that are pending, could not be written
}

// keep writes the records if they are stale, in a goroutine of its own,
// as the disk may be slow. Otherwise it has a look at them now and then.
func (j *journal) keep() {
	switch {
	case j.Records == nil:
	case j.keeping:
		j.noteSilence()
	case j.stale && j.now.Sub(j.kept) >= betweenKeeps:
		all := j.snapshot()
		j.stale, j.keeping, j.kept = false, true, j.now
		j.aside(func() func() {
			err := j.Records.Keep(all)
			return func() { j.written(err) }
		})
	case j.now.Sub(j.checked) >= betweenChecks:
		j.keeping, j.checked = true, j.now
		j.aside(func() func() {
			there := j.Records.Check()
			return func() { j.lookedAt(there) }
		})
	}
}

// due is when the records are to be written next; not any when they are as kept.
func (j *journal) due() (at time.Time, any bool) {
	return j.kept.Add(betweenKeeps), j.Records != nil && j.stale && !j.keeping
}

// clockWentBack has them written and checked no later than before.
func (j *journal) clockWentBack() {
	j.kept, j.checked = queue.Earlier(j.kept, j.now), queue.Earlier(j.checked, j.now)
}

// noteSilence says that the records take long to be written.
func (j *journal) noteSilence() {
	if j.now.Sub(queue.Later(j.kept, j.checked)) >= betweenKeeps {
		j.notKept(errors.New("what keeps them does not answer"))
	}
}

// notKept says once that the records, or hooks that are pending, are not kept.
// They are tried again until they are.
func (j *journal) notKept(err error) {
	j.stale = true
	if j.unkept {
		return
	}
	j.unkept = true
	j.log.WithError(err).Warn("records and pending hooks cannot be kept; tokens are renewed as before, but after a restart sources may be asked again and hooks may be missing; tried again every 10 s")
}

// written takes in what came of it.
func (j *journal) written(err error) {
	j.keeping = false
	j.sayWarnings()
	if err != nil {
		j.notKept(err)
		return
	}
	if j.unkept {
		j.log.Info("records and pending hooks are kept again")
	}
	j.unkept = false
}

// lookedAt takes in whether the records are still there.
func (j *journal) lookedAt(there bool) {
	j.keeping = false
	j.sayWarnings()
	if !there {
		j.stale, j.kept = true, time.Time{}
	}
}

func (j *journal) sayWarnings() {
	for _, w := range j.Records.Warnings() {
		j.log.Warn(w)
	}
}

// keepLast writes the records when the agent stops, if that takes no longer than
// until the end of the limit.
func (j *journal) keepLast(limit <-chan time.Time) {
	if j.Records == nil || !j.stale && !j.keeping {
		return
	}
	kept := make(chan error, 1)
	all := j.snapshot()
	go func() { kept <- j.Records.Keep(all) }()
	select {
	case err := <-kept:
		j.written(err)
	case <-limit:
		j.log.Warn("stopped without the records, which take too long to write")
	}
}

func (s *set) snapshot() []Record {
	all := s.leftoverRecords()
	for _, e := range s.entries {
		for _, p := range e.sinks {
			if p.Name != "" {
				all = append(all, p.fullRecord())
			}
		}
	}
	return slices.DeleteFunc(all, func(r Record) bool { return r.Mark == nil && r.Hooks == nil && r.Failures == nil })
}

// warnOfTheClock says that it is before a time that it has already been.
func (c *core) warnOfTheClock(known []Record) {
	var newest time.Time
	for _, k := range known {
		newest = queue.Later(newest, k.Issued)
	}
	if c.now.Before(newest.Add(-clockBackAllowed)) {
		c.log.WithField("newest", stamp(newest)).Warn("the clock is behind the newest token; is it right?")
	}
}
