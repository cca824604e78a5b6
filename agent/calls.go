package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// ErrStopped is the error of a call to an Agent whose loop has ended.
	ErrStopped = errors.New("the agent has stopped")
	// ErrUnknown is in the error of a selector that names no token. The error lists the
	// tokens that there are.
	ErrUnknown = errors.New("no token")
)

// call lets the loop run f, and waits for that.
func (a *Agent) call(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case a.calls <- func() { f(); close(ran) }:
		<-ran
		return nil
	case <-a.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status tells the state of the tokens that the selectors name (see
// [Renewer.Selects]), sorted by name; without a selector, of all tokens. A selector
// that names none is an [ErrUnknown].
func (a *Agent) Status(ctx context.Context, selectors ...string) (all []Status, err error) {
	callErr := a.call(ctx, func() {
		if err = a.known(selectors); err == nil {
			all = statuses(a.selected(selectors))
		}
	})
	return all, errors.Join(callErr, err)
}

// Refresh asks the sources of the selected tokens now, even if the tokens are fresh, and
// waits until each is written or has failed, which the Status says.
func (a *Agent) Refresh(ctx context.Context, selectors ...string) (all []Status, err error) {
	var waits []chan struct{}
	callErr := a.call(ctx, func() {
		if err = a.known(selectors); err != nil {
			return
		}
		for _, e := range a.selected(selectors) {
			waits = append(waits, e.renewal.want())
		}
	})
	if err := errors.Join(callErr, err); err != nil {
		return nil, err
	}
	if err := a.await(ctx, waits); err != nil {
		return nil, err
	}
	err = a.call(ctx, func() { all = statuses(a.selected(selectors)) })
	return all, err
}

// Settled waits until each token is in its sinks or has failed once, or until ctx is done.
func (a *Agent) Settled(ctx context.Context) error {
	var waits []chan struct{}
	err := a.call(ctx, func() {
		for _, e := range a.entries {
			w := make(chan struct{})
			waits, e.waiters = append(waits, w), append(e.waiters, w)
			e.settle()
		}
	})
	if err != nil {
		return err
	}
	return a.await(ctx, waits)
}

// await waits until all are closed.
func (a *Agent) await(ctx context.Context, waits []chan struct{}) error {
	for _, w := range waits {
		select {
		case <-w:
		case <-a.ended:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Only limits the Once that follows to the tokens that the selectors name. Without a selector
// it does nothing. A selector that names no token is an [ErrUnknown].
func (a *Agent) Only(selectors ...string) error {
	if err := a.known(selectors); err != nil || len(selectors) == 0 {
		return err
	}
	for _, e := range a.entries {
		if !slices.ContainsFunc(selectors, e.Selects) {
			e.idle, e.final = true, true
			a.pool.Drop(&e.renewal.Job)
			for _, s := range e.subjects() {
				s.Idle = true // its hooks are left to the next process
			}
		}
	}
	a.hooks.queue.Refresh(a.now)
	for _, p := range a.leftovers {
		a.pool.Drop(&p.Job)
		p.tried = true
	}
	return nil
}

// Force makes the tokens that the selectors name due at once, even if they are fresh;
// without a selector all. Call it before Run or Once.
func (a *Agent) Force(selectors ...string) {
	for _, e := range a.selected(selectors) {
		e.renewal.wanted, e.renewal.cause = true, "asked for"
		e.renewal.schedule(a.now)
	}
}

func (a *Agent) allFinal() bool {
	if !a.hooks.final() {
		return false
	}
	for _, p := range a.leftovers {
		if p.entry.DeleteRemoved && !p.tried {
			return false
		}
	}
	for _, e := range a.entries {
		if !e.final {
			return false
		}
	}
	return true
}

// Touched tells the agent that something happened to the file at path. The agent looks at it
// if it is the file of a sink, at most once a second, and asks the sources that follow it
// (see [Follower]).
func (a *Agent) Touched(ctx context.Context, path string) {
	a.call(ctx, func() {
		for _, e := range a.follow[path] {
			e.renewal.follow()
		}
		if p := a.named[path]; p != nil {
			p.lookNow()
		}
	})
}

// known is an error where a selector names nothing.
func (s *set) known(selectors []string) error {
	for _, selector := range selectors {
		if len(s.selected([]string{selector})) == 0 {
			return fmt.Errorf("%w %q; there are: %s", ErrUnknown, selector, s.names())
		}
	}
	return nil
}

func (s *set) names() string {
	const most = 20
	var names []string
	for _, e := range s.selected(nil) {
		names = append(names, e.Name)
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// selected are the entries that the selectors name, sorted by name; without one, all.
func (s *set) selected(selectors []string) []*entry {
	var chosen []*entry
	for _, e := range s.entries {
		if len(selectors) == 0 || slices.ContainsFunc(selectors, e.Selects) {
			chosen = append(chosen, e)
		}
	}
	slices.SortFunc(chosen, func(e, f *entry) int { return strings.Compare(e.Name, f.Name) })
	return chosen
}

func statuses(chosen []*entry) []Status {
	all := make([]Status, 0, len(chosen))
	for _, e := range chosen {
		all = append(all, e.status())
	}
	return all
}
