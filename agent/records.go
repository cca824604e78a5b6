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

// A Record is what is remembered of one sink across restarts. It has nothing of the text of
// the token.
type Record struct {
	Token   string          `json:"token"`            // the name of its definition
	Name    string          `json:"path"`             // of the Target
	Digest  string          `json:"digest"`           // of the definition that it was issued for
	Issued  time.Time       `json:"issued"`           // see Token
	Expires time.Time       `json:"expires,omitzero"` // see Token
	AskBy   time.Time       `json:"ask_by,omitzero"`  // see Token
	KeyID   string          `json:"kid,omitempty"`    // see Token
	Delete  bool            `json:"delete,omitempty"` // the file is removed with its definition
	Form    int             `json:"form,omitempty"`   // see Renewer
	Mark    json.RawMessage `json:"mark,omitempty"`   // see Written; nil: nothing is known of the file itself

	Hooks    *hooks.Level `json:"hooks,omitempty"`    // what hooks have heard of the file; nil: everything
	Failures *hooks.Level `json:"failures,omitempty"` // what hooks have heard of the token's failures
}

// Records keep what the agent remembers across restarts.
type Records interface {
	// Recall returns what was kept last.
	Recall() []Record
	// Keep replaces all that was kept before. It is called every 10 s at most, and again
	// after an error. When it returns nil, pending hooks are kept as well.
	Keep([]Record) error
	// Check reports whether what was kept is still there; else Keep is called.
	Check() bool
	// Warnings are those since the last call.
	Warnings() []string
	// Leftover is the sink of a record that no definition has any more; the zero Target
	// where there is no way to reach it.
	Leftover(Record) Target
	// Begin records what is about to happen, until Keep has kept as much: the Hooks of a file
	// that will be written, or the Failures of a token that hooks will be told of. After an
	// error they would be recalled, but not after a power cut.
	Begin(ctx context.Context, begun ...Record) error
}

const (
	betweenKeeps  = 10 * time.Second
	betweenChecks = time.Minute
)

// Remember makes the agent keep records and go on where the last process stopped: it does not
// ask for a token before it is due if the definition is unchanged and all sinks still hold
// the token as it was put. Call Remember before Run or Once.
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

// fullRecord is the record of the sink as it has to be kept now.
func (p *placement) fullRecord() Record {
	var r Record
	if p.recalled || !p.inPlace.IsZero() || p.leftover {
		r = p.record
	}
	r.Hooks, r.Failures = p.hooked.Level(), p.entry.hooked.Level()
	r.Token, r.Name, r.Delete = p.entry.Name, p.Name, p.entry.DeleteRemoved
	return r
}

// A journal has Records keep the agent's records up to date.
type journal struct {
	*core
	Records
	stale   bool      // the records are not as they were kept
	keeping bool      // they are being written or checked
	kept    time.Time // when they were last written
	checked time.Time // when they were last checked
	unkept  bool      // they, or pending hooks, could not be written
}

// keep writes the records if they are stale, or checks them once a minute. The disk may be
// slow, so a goroutine does it.
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

// due is when the records are written next; not any: they are as kept.
func (j *journal) due() (at time.Time, any bool) {
	return j.kept.Add(betweenKeeps), j.Records != nil && j.stale && !j.keeping
}

// clockWentBack keeps a step of the clock from delaying the next write and check.
func (j *journal) clockWentBack() {
	j.kept, j.checked = queue.Earlier(j.kept, j.now), queue.Earlier(j.checked, j.now)
}

// noteSilence warns when writing the records takes long.
func (j *journal) noteSilence() {
	if j.now.Sub(queue.Later(j.kept, j.checked)) >= betweenKeeps {
		j.notKept(errors.New("what keeps them does not answer"))
	}
}

// notKept warns once that the records or pending hooks are not kept. They are written again
// until they are.
func (j *journal) notKept(err error) {
	j.stale = true
	if j.unkept {
		return
	}
	j.unkept = true
	j.log.WithError(err).Warn("records and pending hooks cannot be kept; tokens are renewed as before, but after a restart sources may be asked again and hooks may be missing; tried again every 10 s")
}

// written notes the result of writing the records.
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

// lookedAt notes whether the records are still there.
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

// keepLast writes the records when the agent stops, unless that takes longer than the limit.
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

// warnOfTheClock warns of a clock that is behind the newest token.
func (c *core) warnOfTheClock(known []Record) {
	var newest time.Time
	for _, k := range known {
		newest = queue.Later(newest, k.Issued)
	}
	if c.now.Before(newest.Add(-clockBackAllowed)) {
		c.log.WithField("newest", stamp(newest)).Warn("the clock is behind the newest token; is it right?")
	}
}
