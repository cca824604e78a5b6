package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// A Record is what is remembered of one file across restarts. It holds nothing
// of the token itself.
type Record struct {
	Token   string          `json:"token"`            // the name of its definition
	Path    string          `json:"path"`             // where the file lies
	Digest  string          `json:"digest"`           // of the definition that it was issued for
	Issued  time.Time       `json:"issued"`           // see Token
	Expires time.Time       `json:"expires,omitzero"` // see Token
	Delete  bool            `json:"delete,omitempty"` // the file goes with its definition
	Mark    json.RawMessage `json:"mark"`             // see Keeper
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
	// Orphan is a sink for a file that no definition has any more; nil when
	// nothing can be said of it.
	Orphan(Record) Sink
	Debts
}

// A Keeper is a sink that knows its file again after a restart.
type Keeper interface {
	Sink
	// Mark tells the file that was put last from any other, as JSON and
	// without a secret.
	Mark() json.RawMessage
	// Adopt takes the file of that mark for one that this sink has put, and
	// says what differs, as Look does; then it is not taken.
	Adopt(ctx context.Context, mark json.RawMessage) (difference string, err error)
}

// A Remover is a sink that can take its file away again. It leaves alone a file
// that is not as it was put.
type Remover interface {
	Sink
	Remove(ctx context.Context) error
}

const (
	betweenKeeps  = 10 * time.Second
	betweenChecks = time.Minute
	adoptPatience = 5 * time.Second // for a folder that hangs at the start, before a token is asked for anyway
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
		if s := r.Orphan(k); s != nil {
			a.orphan(orphanOf(k, s))
		}
	}
	for _, e := range a.entries {
		a.recall(e, recalled)
	}
	a.handOver(r.Owed())
	a.warnOfTheClock(known)
}

// orphanOf is the duty for the file of a definition that went while no agent ran.
func orphanOf(k Record, s Sink) *duty {
	e := &entry{Renewer: Renewer{Name: k.Token, DeleteRemoved: k.Delete}, gone: true}
	d := &duty{entry: e, sink: s, path: k.Path, record: k, recalled: true}
	e.duties = []*duty{{entry: e}, d} // there is no source to ask
	return d
}

// recall prepares the adoption of an entry's files.
func (a *Agent) recall(e *entry, recalled map[string]Record) {
	same := !e.copies() // what is copied is read anew
	for _, d := range e.sinks() {
		k, known := recalled[d.path]
		if _, can := d.sink.(Keeper); !known || !can {
			same = false
			continue
		}
		d.record, d.recalled = k, true
		e.unheard++
		same = same && k.Digest == e.Digest
		a.schedule(d, a.now)
	}
	if same {
		e.ask().asked = false
		a.schedule(e.ask(), a.now.Add(adoptPatience))
	}
}

// adoptionGoesOn reports whether the duty is an ask that need not be yet: the
// sinks have yet to say whether the token lies there, and their folders answer.
func (a *Agent) adoptionGoesOn(ask *duty) bool {
	if ask.sink != nil || ask.asked || ask.entry.unheard == 0 {
		return false
	}
	for _, d := range ask.entry.sinks() {
		if d.recalled && a.now.Sub(d.lane.moved) < adoptPatience {
			return true
		}
	}
	return false
}

// adopted takes in whether a file of an earlier process is as it was.
func (a *Agent) adopted(d *duty, o outcome) {
	e := d.entry
	d.recalled = false
	switch {
	case o.err == nil && o.difference == "":
		d.inPlace = Token{Issued: d.record.Issued.UTC(), Expires: d.record.Expires.UTC()}
	case o.difference != "":
		d.inPlace = Token{}
		a.about(d).Warnf("the file is not as it was when it was last recorded: %s; a new token is asked for", o.difference)
	}
	a.lookLater(d)
	if e.unheard > 0 {
		if e.unheard--; e.unheard == 0 {
			a.adopt(e)
		}
	}
}

// adopt goes on with the token that lies in all sinks of the entry, or asks for
// one now.
func (a *Agent) adopt(e *entry) {
	if e.ask().asked || e.ask().running {
		return
	}
	first := e.sinks()[0].inPlace
	for _, d := range e.sinks() {
		if d.inPlace.IsZero() || d.inPlace != first || d.record.Digest != e.Digest {
			a.schedule(e.ask(), a.now)
			return
		}
	}
	e.token = first
	due, future := e.Schedule.Next(first), e.fromTheFuture(a.now)
	if future && a.clockIsWrong() {
		due = a.now.Add(min(due.Sub(first.Issued), clockPatience))
	}
	e.ask().asked = future && !a.clockIsWrong()
	a.schedule(e.ask(), due)
	if !e.ask().due.After(a.now) {
		return
	}
	a.log.WithField("token", e.Name).WithField("expires", stamp(first.Expires)).WithField("renew_at", stamp(e.ask().due)).
		Info("token adopted as an earlier agent left it")
}

// orphan takes on a file that no definition has any more: to remove it if that
// is wanted, else to know of it for as long as it lies there.
func (a *Agent) orphan(d *duty) {
	_, keeper := d.sink.(Keeper)
	if _, looker := d.sink.(Looker); !looker || !keeper || d.path == "" {
		return
	}
	_, remover := d.sink.(Remover)
	d.orphan, d.owed, d.remove = true, false, d.entry.DeleteRemoved && remover
	d.lane = a.sinkLane(d.sink, d.entry)
	a.orphans[d.path] = d
	a.schedule(d, a.now)
}

// orphanSeen takes in what came of an attempt at an orphan.
func (a *Agent) orphanSeen(d *duty, o outcome) {
	if o.mark != nil { // it was being written when its definition went
		d.record.Mark = o.mark
	}
	d.tried = d.tried || d.doing == removing || o.err != nil
	switch {
	case a.orphans[d.path] != d: // a definition has it again
	case o.err != nil && d.doing == removing:
		a.sinkFailed(d, o.err, "file of a removed definition not removed", "file of a removed definition still not removed")
	case o.err != nil:
		a.lookLater(d)
	case o.difference != "":
		a.forget(d) // what lies there is none of ours
	case d.doing == removing:
		a.forget(d)
		a.about(d).Info("file removed, as its definition was")
	case d.remove:
		d.recalled = d.recalled && d.doing != adopting
		a.schedule(d, a.now)
	default:
		d.recalled = d.recalled && d.doing != adopting
		a.lookLater(d)
	}
}

// forget ends an orphan: what lies there is none of ours any more.
func (a *Agent) forget(d *duty) {
	if a.orphans[d.path] == d {
		delete(a.orphans, d.path)
		a.timers.take(d)
		d.lane.ready.take(d)
		a.reopen(d.lane)
		a.stale = true
	}
}

// A Leftover is a file of ours that no definition has any more.
type Leftover struct {
	Token string `json:"token"` // the name of the definition that it was of
	Path  string `json:"path"`
}

// Leftovers are the files of ours that no definition has any more, by path.
func (a *Agent) Leftovers(ctx context.Context) (all []Leftover, err error) {
	err = a.call(ctx, func() {
		for _, r := range a.orphaned() {
			all = append(all, Leftover{r.Token, r.Path})
		}
	})
	return all, err
}

func (a *Agent) orphaned() (all []Record) {
	for _, d := range a.orphans {
		all = append(all, d.fullRecord())
	}
	slices.SortFunc(all, func(r, s Record) int { return cmp.Compare(r.Path, s.Path) })
	return all
}

// fullRecord is the record with what its definition says.
func (d *duty) fullRecord() Record {
	r := d.record
	r.Token, r.Path, r.Delete = d.entry.Name, d.path, d.entry.DeleteRemoved
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
			if d.path != "" && (d.recalled || !d.inPlace.IsZero()) {
				all = append(all, d.fullRecord())
			}
		}
	}
	return slices.DeleteFunc(all, func(r Record) bool { return r.Mark == nil })
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
