package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/rotation"
)

// stepLimit is how long one look after the keys of an issuer may take.
const stepLimit = 2 * time.Minute

// A keeper looks after the keys of the issuers of a configuration, beside the agent.
type keeper struct {
	log *logrus.Logger

	mu      sync.Mutex // one round at a time
	issuers []*rotation.Issuer
	said    map[string]string // of each issuer, what was last said to be wrong with it

	again chan struct{} // has a round made at once
}

func newKeeper(log *logrus.Logger) *keeper {
	return &keeper{log: log, said: map[string]string{}, again: make(chan struct{}, 1)}
}

// follow looks after the issuers of this configuration from now on.
func (k *keeper) follow(cfg *config.Config) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range k.issuers {
		i.Release()
	}
	k.issuers = sources.Issuers(cfg)
	for _, i := range k.issuers {
		_ = i.Hold() // the next round says why it cannot
	}
	select {
	case k.again <- struct{}{}:
	default:
	}
}

// run looks after the keys until ctx is done. After each round it calls seen.
func (k *keeper) run(ctx context.Context, seen func()) {
	ticker := time.NewTicker(rotation.Compared)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			k.close()
			return
		case <-ticker.C:
		case <-k.again:
		}
		if _ = k.round(ctx); ctx.Err() == nil { // what is wrong was logged
			seen()
		}
	}
}

func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range k.issuers {
		i.Release()
	}
}

// round moves the keys of all issuers on. They do not wait for each other.
func (k *keeper) round(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := make([]error, len(k.issuers))
	reports := make([]rotation.Report, len(k.issuers))
	var steps sync.WaitGroup
	for n, i := range k.issuers {
		steps.Go(func() { reports[n], found[n] = k.step(ctx, i) })
	}
	steps.Wait()
	for n, i := range k.issuers {
		k.say(i.Settings().Name, reports[n], found[n])
	}
	return errors.Join(found...)
}

// step moves the keys of one issuer on: twice where that may show that a first key is
// published.
func (k *keeper) step(ctx context.Context, i *rotation.Issuer) (rotation.Report, error) {
	if err := i.Hold(); err != nil {
		return rotation.Report{}, err
	}
	ctx, cancel := context.WithTimeout(agent.WithClock(ctx, wall), stepLimit)
	defer cancel()
	r, err := i.Step(ctx)
	if err == nil && r.Now.Signing() == "" && r.Published {
		var again rotation.Report
		again, err = i.Step(ctx)
		again.Before, again.Published = r.Before, true
		r = again
	}
	return r, err
}

// say logs what a step has done, and what is wrong, unless it is the same as the last time.
func (k *keeper) say(name string, r rotation.Report, err error) {
	log := k.log.WithField("issuer", name)
	for _, line := range r.Changes() {
		log.Info(line)
	}
	if r.Published {
		log.Info("the published files are written")
	}
	wrong := errors.Join(err, r.Untold, r.Unseen)
	text := ""
	if wrong != nil {
		text = wrong.Error()
	}
	for _, w := range r.Warnings {
		text += "\n" + w
	}
	if text == k.said[name] {
		return
	}
	k.said[name] = text
	for _, w := range r.Warnings {
		log.Warn(w)
	}
	if err != nil {
		log.WithError(err).Error("the keys cannot be looked after; tried again every minute")
	}
	if r.Untold != nil {
		log.WithError(r.Untold).Error("the hook on_publish failed; it is run again within 10 min")
	}
	if r.Unseen != nil {
		log.WithError(r.Unseen).Warn("the published document cannot be fetched; no key takes turns until it can")
	}
	if text == "" {
		log.Info("the keys are looked after again")
	}
}

// withRevoked are the names of the tokens that carry a key which was revoked, where another
// one signs. kids are the IDs of the keys in the sinks of each token.
func (k *keeper) withRevoked(kids map[string][]string) (names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var bad []string
	for _, i := range k.issuers {
		if l, err := i.Life(); err == nil && l.Signing() != "" {
			bad = append(bad, l.Revoked()...)
		}
	}
	for name, all := range kids {
		if slices.ContainsFunc(all, func(kid string) bool { return slices.Contains(bad, kid) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// keysOf are the key IDs of the tokens in the sinks.
func keysOf(tokens []agent.Status) map[string][]string {
	all := map[string][]string{}
	for _, t := range tokens {
		for _, s := range t.Sinks {
			if s.KeyID != "" {
				all[t.Name] = append(all[t.Name], s.KeyID)
			}
		}
	}
	return all
}

// renewRevoked has the tokens renewed at once that carry a revoked key, and those that failed
// before a first key could sign.
func (d *daemon) renewRevoked(ctx context.Context) {
	tokens, err := d.agent.Status(ctx)
	if err != nil {
		return // it stops
	}
	names := d.keeper.withRevoked(keysOf(tokens))
	if len(names) == 0 {
		return
	}
	d.log.WithField("tokens", len(names)).Warn("tokens are signed with a revoked key; new ones are issued")
	if _, err := d.agent.Refresh(ctx, names...); err != nil && ctx.Err() == nil {
		d.log.WithError(err).Error("tokens with a revoked key are not renewed")
	}
}

// keep is a round of the keeper that somebody has asked for.
func (d *daemon) keep(ctx context.Context) error {
	err := d.keeper.round(ctx)
	d.renewRevoked(ctx)
	return err
}

// keepOnce looks after the keys before a pass, and makes the tokens due that carry a revoked
// one. The result ends it.
func keepOnce(ctx context.Context, a *agent.Agent, m *memory, cfg *config.Config, log *logrus.Logger) (end func()) {
	k := newKeeper(log)
	k.follow(cfg)
	_ = k.round(ctx) // what is wrong was logged
	if m.state != nil {
		kids := map[string][]string{}
		for _, r := range m.state.Recall() {
			kids[r.Token] = append(kids[r.Token], r.KeyID)
		}
		if names := k.withRevoked(kids); len(names) > 0 {
			a.Force(names...)
		}
	}
	return k.close
}
