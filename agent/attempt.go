package agent

import (
	"context"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// doing is what one attempt at a sink does.
type doing int

const (
	putting doing = iota
	looking
	adopting // to look whether the file is as an earlier process left it
	removing
)

// A result is what came of one attempt at a sink.
type result struct {
	token      Token // what was put
	written    Written
	difference string       // what a look found
	lost       bool         // a look found that readers no longer find the token
	first      bool         // no acceptable token lay in the sink before
	level      *hooks.Level // what hooks hear of when the file was written; nil: no hook is for it
	unkept     error        // why they would not survive a power cut
	err        error
}

const sinkLimit = time.Minute // for one attempt

// begin starts an attempt to do what the sink needs most. The goroutine gets copies, because
// a reload may change the entry meanwhile.
func (p *placement) begin() {
	p.doing = p.next()
	var act func(context.Context) result
	switch p.doing {
	case putting:
		act = p.put()
	case adopting:
		act = p.adopt
	case removing:
		act = p.takeAway
	default:
		act = p.look()
	}
	wall := p.wall
	p.aside(func() func() { // a stop of the agent does not cancel it: a write that has begun is finished
		ctx, cancel := context.WithTimeout(WithClock(context.Background(), wall), sinkLimit)
		defer cancel()
		var r result
		if err := shielded(func() { r = act(ctx) }); err != nil {
			r = result{err: err}
		}
		return func() { p.ended(r) }
	})
}

// next is what the sink needs most.
func (p *placement) next() doing {
	switch {
	case p.pending:
		return putting
	case p.recalled:
		return adopting
	case p.leftover && p.entry.DeleteRemoved, p.hasExpired():
		return removing
	default:
		return looking
	}
}

// hasExpired reports whether the sink holds an expired token that has to be removed.
func (p *placement) hasExpired() bool {
	return p.removesExpired() && !p.inPlace.IsZero() && p.inPlace.Expired(p.now)
}

func (p *placement) put() func(context.Context) result {
	t, r, w := p.entry.token, p.readers(), p.writing()
	recalled, mark := p.recalled, p.record.Mark
	form, known := p.entry.Form, p.record.Form > 0
	return func(ctx context.Context) (o result) {
		if recalled { // else a file with the very token would be written again; after an error it is
			_, _ = p.store.Adopt(ctx, mark)
		}
		o.token = t
		if form != nil && !known && r.form(ctx, form) > form(t.Secret) { // as where the state folder was lost
			o.err = lessWhole()
			return o
		}
		o.first = w.first || w.level != nil && !w.inPlace && !r.find(ctx)
		o.level, o.unkept = w.begin(ctx, o.first, t)
		o.written, o.err = p.sink.Put(ctx, t)
		return o
	}
}

func (p *placement) look() func(context.Context) result {
	r := p.readers()
	return func(ctx context.Context) (o result) {
		o.difference, o.err = p.store.Look(ctx)
		o.lost = o.difference != "" && !r.find(ctx)
		return o
	}
}

func (p *placement) adopt(ctx context.Context) (o result) {
	o.difference, o.err = p.store.Adopt(ctx, p.record.Mark)
	return o
}

// takeAway removes the file if it is still the one that was put.
func (p *placement) takeAway(ctx context.Context) (o result) {
	if o.difference, _ = p.store.Look(ctx); o.difference == "" {
		o.err = p.store.Remove(ctx)
	}
	return o
}

// readers are what has to be known to read a sink as its readers do.
type readers struct {
	store  Store  // nil: it cannot be read
	token  Secret // what they should find; the zero Secret: any acceptable token
	decode func(Secret) (Token, error)
	now    time.Time
}

func (p *placement) readers() readers {
	r := readers{store: p.store, decode: p.entry.Decode, now: p.now}
	if p.doing == looking {
		r.token = p.entry.token.Secret
	}
	return r
}

// find reports whether readers find the token, whether we put it there or somebody else.
func (r readers) find(ctx context.Context) bool {
	if r.store == nil {
		return false
	}
	text, err := r.store.Read(ctx)
	if err != nil {
		return false
	}
	if r.token != (Secret{}) {
		return text.Equal(r.token)
	}
	return r.accept(text)
}

// accept reports whether the token can be used.
func (r readers) accept(text Secret) bool {
	if r.decode == nil {
		return false
	}
	t, err := r.decode(text)
	return err == nil && !t.Expired(r.now)
}

// form is that of the token that readers find; 0 where they find none that can be used.
func (r readers) form(ctx context.Context, of func(Secret) int) int {
	if r.store == nil {
		return 0
	}
	text, err := r.store.Read(ctx)
	if err != nil || !r.accept(text) {
		return 0
	}
	return of(text)
}
