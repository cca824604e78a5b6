package agent

import (
	"cmp"
	"context"
	"slices"
)

// Leftovers are the records of our files that no definition has any more, sorted by name.
func (a *Agent) Leftovers(ctx context.Context) (all []Record, err error) {
	err = a.call(ctx, func() { all = a.leftoverRecords() })
	return all, err
}

func (s *set) leftoverRecords() (all []Record) {
	for _, p := range s.leftovers {
		all = append(all, p.fullRecord())
	}
	slices.SortFunc(all, func(r, s Record) int { return cmp.Compare(r.Name, s.Name) })
	return all
}

// recallLeftover adds the file of a definition that was removed while no agent ran.
func (c *core) recallLeftover(k Record, t Target) {
	e := &entry{core: c, Renewer: Renewer{Name: k.Token, DeleteRemoved: k.Delete}, gone: true}
	p := newPlacement(c, e, t)
	p.record, p.recalled = k, true
	e.sinks = []*placement{p}
	p.leave()
}

// leave makes the file a leftover. It is removed if its definition said so. Otherwise the agent
// knows of it for as long as it is there.
func (p *placement) leave() {
	if p.store == nil || p.Name == "" {
		return
	}
	p.leftover, p.pending = true, false
	p.leftovers[p.Name] = p
	p.schedule(p.now)
}

// leftoverSeen notes the result of an attempt at a leftover.
func (p *placement) leftoverSeen(r result) {
	if r.written.Mark != nil { // it was being written when its definition was removed
		p.record.Mark = r.written.Mark
	}
	p.tried = p.tried || p.doing == removing || r.err != nil
	switch {
	case p.leftovers[p.Name] != p: // a definition has it again
	case r.err != nil && p.doing == removing:
		p.failed(r.err, "file of a removed definition not removed", "file of a removed definition still not removed")
	case r.err != nil:
		p.lookLater()
	case r.difference != "":
		p.forget() // somebody else has put something there
	case p.doing == removing:
		p.forget()
		p.about().Info("file removed, as its definition was")
	default:
		p.recalled = p.recalled && p.doing != adopting
		if p.entry.DeleteRemoved {
			p.schedule(p.now)
		} else {
			p.lookLater()
		}
	}
}

// forget ends a leftover.
func (p *placement) forget() {
	if p.leftovers[p.Name] == p {
		delete(p.leftovers, p.Name)
		p.pool.Drop(&p.Job)
		p.records.stale = true
	}
}
