package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/rotation"
)

// stepLimit is how long a round waits for the step of an issuer, which goes on after that.
const stepLimit = 2 * time.Minute

// A keeper looks after the keys of the issuers of a configuration, beside the agent. An issuer
// whose folder, web server or hook hangs holds up neither the others nor a reload.
type keeper struct {
	log   *logrus.Logger
	again chan struct{} // has a round made at once

	rounds sync.Mutex // one at a time

	mu  sync.Mutex
	all []*kept
}

// A kept is one issuer that a keeper looks after. What a round changes in it, it changes with
// the lock of the keeper.
type kept struct {
	*rotation.Issuer
	before  []*rotation.Issuer   // of the configuration before, which have the same folder
	running *host.Call[stepDone] // nil: no step runs
	life    rotation.Life        // after the last step
	began   bool                 // a first key has begun to sign, and what had failed was not tried again yet
	said    string               // what was last said to be wrong
}

// A stepDone is the result of a step.
type stepDone struct {
	rotation.Report
	err error
}

func newKeeper(log *logrus.Logger) *keeper {
	return &keeper{log: log, again: make(chan struct{}, 1)}
}

// follow looks after the issuers of this configuration from now on. It waits for nothing.
func (k *keeper) follow(cfg *config.Config) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.all
	k.all = nil
	for _, i := range sources.Issuers(cfg) {
		i.Keeps()
		one := &kept{Issuer: i}
		for _, old := range was {
			if old.Settings().KeysDir == i.Settings().KeysDir {
				one.before, one.life, one.said = append(old.before, old.Issuer), old.life, old.said
			}
		}
		k.all = append(k.all, one)
	}
	for _, old := range was {
		if !slices.ContainsFunc(k.all, func(one *kept) bool { return slices.Contains(one.before, old.Issuer) }) {
			go old.Release()
		}
	}
	select {
	case k.again <- struct{}{}:
	default:
	}
}

func (k *keeper) current() []*kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.all
}

// run looks after the keys until ctx is done. After each round it calls seen.
func (k *keeper) run(ctx context.Context, seen func()) {
	ticker := time.NewTicker(rotation.Compared)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return // the locks end with the process
		case <-ticker.C:
		case <-k.again:
		}
		if _ = k.round(ctx); ctx.Err() == nil { // what is wrong was logged
			seen()
		}
	}
}

// close lets other processes keep the keys. It waits a moment; then the end of the process does it.
func (k *keeper) close() {
	within, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, one := range k.current() {
		if one.running == nil {
			_, _ = host.Await(within, func() bool { one.Release(); return true })
		}
	}
}

// round moves the keys of all issuers on.
func (k *keeper) round(ctx context.Context) error {
	k.rounds.Lock()
	defer k.rounds.Unlock()
	within, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	all := k.current()
	for _, one := range all {
		k.begin(agent.WithClock(ctx, wall), one)
	}
	var found []error
	for _, one := range all {
		done, returned := one.running.Wait(within)
		if !returned && ctx.Err() != nil {
			return ctx.Err()
		}
		if !returned {
			done.err = errors.New("looking after its keys takes longer than 2 min; see whether its folders and its web server answer, and what its hook does")
		} else {
			k.mu.Lock()
			one.began = one.began || one.life.Signing() == "" && done.Now.Signing() != ""
			one.running, one.life = nil, done.Now
			k.mu.Unlock()
		}
		if err := errors.Join(done.err, done.Untold); err != nil {
			found = append(found, fmt.Errorf("issuer %s: %w", one.Settings().Name, err))
		}
		k.say(one, done)
	}
	return errors.Join(found...)
}

// begin begins a step of the issuer, if none runs.
func (k *keeper) begin(ctx context.Context, one *kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one.running != nil {
		return
	}
	before, life := one.before, one.life
	one.before = nil
	one.running = host.Begin(func() stepDone {
		for _, old := range before {
			old.Release()
		}
		return one.step(ctx, life)
	})
}

// step moves the keys on: twice where that may show that a first key is published.
func (one *kept) step(ctx context.Context, life rotation.Life) stepDone {
	if err := one.Hold(); err != nil {
		return stepDone{rotation.Report{Now: life, Before: life}, err}
	}
	r, err := one.Step(ctx)
	if err == nil && r.Now.Signing() == "" && r.Published {
		before := r.Before
		r, err = one.Step(ctx)
		r.Before, r.Published = before, true
	}
	return stepDone{r, err}
}

// say logs what a step has done, and what is wrong, unless it is the same as the last time.
func (k *keeper) say(one *kept, r stepDone) {
	log, err := k.log.WithField("issuer", one.Settings().Name), r.err
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
	k.mu.Lock()
	same := text == one.said
	one.said = text
	k.mu.Unlock()
	if same {
		return
	}
	for _, w := range r.Warnings {
		log.Warn(w)
	}
	if err != nil {
		log.WithError(err).Error("the keys cannot be looked after; tried again every minute")
	}
	if r.Untold != nil {
		log.WithError(r.Untold).Error("the hook on_publish failed; it is run again within 5 min")
	}
	if r.Unseen != nil {
		log.WithError(r.Unseen).Warn("the published document cannot be fetched; no key takes turns until it can")
	}
	if text == "" {
		log.Info("the keys are looked after again")
	}
}

// withRevoked are the names of the tokens that carry a key of their issuer which was revoked,
// where another one signs. kids are the IDs of the keys in the sinks of each token.
func (k *keeper) withRevoked(renewers []agent.Renewer, kids map[string][]string) (names []string) {
	k.rounds.Lock()
	defer k.rounds.Unlock()
	for _, one := range k.current() {
		bad := one.life.Revoked()
		if one.life.Signing() == "" || len(bad) == 0 {
			continue
		}
		for _, r := range renewers {
			if one.signs(r) && slices.ContainsFunc(kids[r.Name], func(kid string) bool { return slices.Contains(bad, kid) }) {
				names = append(names, r.Name)
			}
		}
	}
	return names
}

// signs reports whether the tokens of the renewer are of the issuer.
func (one *kept) signs(r agent.Renewer) bool {
	of, any := r.Source.(interface{ Settings() rotation.Settings })
	return any && of.Settings().KeysDir == one.Settings().KeysDir
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

// canBegin are the names of the tokens that fail though a first key of their issuer has begun
// to sign.
func (k *keeper) canBegin(renewers []agent.Renewer, tokens []agent.Status) (names []string) {
	k.rounds.Lock()
	defer k.rounds.Unlock()
	failing := map[string]bool{}
	for _, t := range tokens {
		failing[t.Name] = t.Failing != nil
	}
	for _, one := range k.current() {
		for _, r := range renewers {
			if one.began && failing[r.Name] && one.signs(r) {
				names = append(names, r.Name)
			}
		}
		one.began = false
	}
	return names
}

// renewRevoked has the tokens renewed at once that carry a revoked key, and those that waited
// for a first key.
func (d *daemon) renewRevoked(ctx context.Context) {
	tokens, err := d.agent.Status(ctx)
	if err != nil {
		return // it stops
	}
	if names := d.keeper.canBegin(d.renewers(), tokens); len(names) > 0 {
		_, _ = d.agent.Refresh(ctx, names...) // what fails is logged
	}
	names := d.keeper.withRevoked(d.renewers(), keysOf(tokens))
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

// onceLimit is how long a pass waits for the keys of issuers before it goes on with the tokens.
const onceLimit = 20 * time.Second

// keepOnce looks after the keys before a pass, and makes the tokens due that carry a revoked
// one. The result ends it.
func keepOnce(ctx context.Context, a *agent.Agent, m *memory, cfg *config.Config, log *logrus.Logger) (end func()) {
	k := newKeeper(log)
	k.follow(cfg)
	within, cancel := context.WithTimeout(ctx, onceLimit)
	defer cancel()
	_ = k.round(within) // what is wrong was logged
	if m.state != nil {
		kids := map[string][]string{}
		for _, r := range m.state.Recall() {
			kids[r.Token] = append(kids[r.Token], r.KeyID)
		}
		if names := k.withRevoked(cfg.Renewers, kids); len(names) > 0 {
			a.Force(names...)
		}
	}
	return k.close
}
