package agent

import (
	"cmp"
	"context"
	"slices"
)

// orphanOf is the duty for the file of a definition that went while no agent ran.
func (a *Agent) orphanOf(k Record, t Target) *duty {
	e := &entry{Renewer: Renewer{Name: k.Token, DeleteRemoved: k.Delete}, gone: true}
	d := newDuty(e, t)
	d.Queue = a.sinkQueue(t, e)
	d.record, d.recalled = k, true
	e.duties = []*duty{{entry: e}, d} // there is no source to ask
	return d
}

// orphan takes on a file that no definition has any more: to remove it if that
// is wanted, else to know of it for as long as it lies there.
func (a *Agent) orphan(d *duty) {
	if d.store == nil || d.Path == "" {
		return
	}
	d.orphan, d.owed, d.remove = true, false, d.entry.DeleteRemoved
	a.orphans[d.Path] = d
	a.schedule(d, a.now)
}

// orphanSeen takes in what came of an attempt at an orphan.
func (a *Agent) orphanSeen(d *duty, o outcome) {
	if o.written.Mark != nil { // it was being written when its definition went
		d.record.Mark = o.written.Mark
	}
	d.tried = d.tried || d.doing == removing || o.err != nil
	switch {
	case a.orphans[d.Path] != d: // a definition has it again
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
	if a.orphans[d.Path] == d {
		delete(a.orphans, d.Path)
		a.pool.Drop(&d.Job)
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
