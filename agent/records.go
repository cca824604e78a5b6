package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// A Record is what is remembered of one sink across restarts. It holds nothing
// of the token itself.
type Record struct {
	Token   string          `json:"token"`            // the name of its definition
	Path    string          `json:"path"`             // the name of the Target
	Digest  string          `json:"digest"`           // of the definition that it was issued for
	Issued  time.Time       `json:"issued"`           // see Token
	Expires time.Time       `json:"expires,omitzero"` // see Token
	Delete  bool            `json:"delete,omitempty"` // the file goes with its definition
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
	// Orphan is the sink of what no definition has any more; the zero Target when
	// nothing can be said of it.
	Orphan(Record) Target
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
	a.records, a.checked = r, a.now
	known := r.Recall()
	recalled := map[string]Record{}
	for _, k := range known {
		recalled[k.Path] = k
		if a.paths[k.Path] != nil {
			continue
		}
		if t := r.Orphan(k); t.Sink != nil {
			a.orphan(a.orphanOf(k, t))
		}
	}
	for _, e := range a.entries {
		e.recallHooks(recalled)
		a.recall(e, recalled)
	}
	a.rehook()
	a.warnOfTheClock(known)
}

// fullRecord is the record with what its definition says, and its hooks have heard.
func (d *duty) fullRecord() Record {
	var r Record
	if d.recalled || !d.inPlace.IsZero() || d.orphan {
		r = d.record
	}
	r.Hooks, r.Failures = d.hooked.Level(), d.entry.hooked.Level()
	r.Token, r.Path, r.Delete = d.entry.Name, d.Path, d.entry.DeleteRemoved
	return r
}

// keepRecords writes the records if they are stale, in a goroutine of its own,
// as the disk may be slow. Otherwise it has a look at them now and then.
func (a *Agent) keepRecords() {
	switch {
	case a.records == nil:
	case a.keeping:
		a.noteSilence()
	case a.stale && a.now.Sub(a.kept) >= betweenKeeps:
		all := a.snapshot()
		a.stale, a.keeping, a.kept = false, true, a.now
		a.aside(func() func() {
			err := a.records.Keep(all)
			return func() { a.recordsKept(err) }
		})
	case a.now.Sub(a.checked) >= betweenChecks:
		a.keeping, a.checked = true, a.now
		a.aside(func() func() {
			there := a.records.Check()
			return func() { a.recordsChecked(there) }
		})
	}
}

func (a *Agent) recordsDue() bool { return a.records != nil && a.stale && !a.keeping }

// noteSilence says that the records take long to be written.
func (a *Agent) noteSilence() {
	if a.now.Sub(later(a.kept, a.checked)) >= betweenKeeps {
		a.notKept(errors.New("what keeps them does not answer"))
	}
}

// notKept says once that the records, or hooks that are pending, are not kept.
// They are tried again until they are.
func (a *Agent) notKept(err error) {
	a.stale = true
	if a.unkept {
		return
	}
	a.unkept = true
	a.log.WithError(err).Warn("records and pending hooks cannot be kept; tokens are renewed as before, but after a restart sources may be asked again and hooks may be missing; tried again every 10 s")
}

// recordsKept takes in what came of keepRecords.
func (a *Agent) recordsKept(err error) {
	a.keeping = false
	a.sayWarnings()
	if err != nil {
		a.notKept(err)
		return
	}
	if a.unkept {
		a.log.Info("records and pending hooks are kept again")
	}
	a.unkept = false
}

// recordsChecked takes in whether the records are still there.
func (a *Agent) recordsChecked(there bool) {
	a.keeping = false
	a.sayWarnings()
	if !there {
		a.stale, a.kept = true, time.Time{}
	}
}

func (a *Agent) sayWarnings() {
	for _, w := range a.records.Warnings() {
		a.log.Warn(w)
	}
}

// keepLast writes the records when the agent stops, if that takes no longer than
// until the end of the limit.
func (a *Agent) keepLast(limit <-chan time.Time) {
	if a.records == nil || !a.stale && !a.keeping {
		return
	}
	kept := make(chan error, 1)
	all := a.snapshot()
	go func() { kept <- a.records.Keep(all) }()
	select {
	case err := <-kept:
		a.recordsKept(err)
	case <-limit:
		a.log.Warn("stopped without the records, which take too long to write")
	}
}

func (a *Agent) snapshot() []Record {
	all := a.orphaned()
	for _, e := range a.entries {
		for _, d := range e.sinks() {
			if d.Path != "" {
				all = append(all, d.fullRecord())
			}
		}
	}
	return slices.DeleteFunc(all, func(r Record) bool { return r.Mark == nil && r.Hooks == nil && r.Failures == nil })
}

// warnOfTheClock says that it is before a time that it has already been.
func (a *Agent) warnOfTheClock(known []Record) {
	var newest time.Time
	for _, k := range known {
		newest = later(newest, k.Issued)
	}
	if a.now.Before(newest.Add(-clockBackAllowed)) {
		a.log.WithField("newest", stamp(newest)).Warn("the clock is behind the newest token; is it right?")
	}
}
