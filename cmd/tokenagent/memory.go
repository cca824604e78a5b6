package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/history"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks"
	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// A memory is the state folder of run or once. It is opened and locked when the
// configuration says where it is.
type memory struct {
	from  *place
	state *state.State // nil: there is none
	err   error        // why not
	key   []byte

	history *history.Journal // nil: there is none
}

// begin reads the configuration and opens its state folder, which the caller closes.
// Errors of the configuration are the error, and the faults are warnings alone.
func (p *place) begin(ctx context.Context) (*config.Config, *memory, config.Faults, error) {
	m := &memory{from: p}
	p.key = m.digestKey
	cfg, faults := p.read(ctx, false)
	if ctx.Err() != nil { // the load may still go on, and use the memory
		return nil, nil, nil, errInterrupted
	}
	if faults.HasErrors() {
		m.close()
		return nil, nil, nil, p.refuse(faults)
	}
	return cfg, m, faults, nil
}

// digestKey opens the folder at the first call. Without a folder the key is one for
// this process, and digests are compared only within it.
func (m *memory) digestKey(s config.Settings) []byte {
	if m.key != nil {
		return m.key
	}
	home := m.from.home(s)
	m.from.began = &home
	m.state, m.err = openState(home)
	if m.err != nil {
		m.key = make([]byte, 32)
		rand.Read(m.key) // never fails, see crypto/rand
		return m.key
	}
	m.key = m.state.DigestKey()
	return m.key
}

func openState(home state.Home) (*state.State, error) {
	if home.Base == "" {
		return nil, errors.New("there is no home directory for one; set state_dir in the agent block")
	}
	s, err := state.OpenHome(home)
	if err != nil {
		return nil, err
	}
	s.LeftoverSink = sinks.Leftover
	return s, nil
}

// claim makes the state folder belong to the configuration, and moves into it what an
// older version kept in the base. What cannot be moved stays there.
func (m *memory) claim(ctx context.Context, cfg *config.Config, log logrus.FieldLogger) {
	if m.state == nil {
		return
	}
	sinks.SweepScratch(m.from.scratch(cfg.Settings)) // the lock of the state folder keeps other agents away
	within, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	opened := m.state
	err, returned := host.Await(within, func() error { return opened.Claim(*m.from.began, claimsOf(ctx, cfg)) })
	switch {
	case returned && err != nil:
		log.WithError(err).Warn("not all that an older version kept for this configuration could be moved to its state folder; it stays where it is, and the next start tries again")
	case !returned && ctx.Err() != nil:
		m.state, m.err = nil, ctx.Err()
	case !returned:
		m.state, m.err = nil, errors.New("its file system does not answer") // the claim may still use it
	}
}

// claimLimit is how long a start waits for a state folder that hangs.
const claimLimit = 30 * time.Second

// claimBase makes the base belong to the default configuration, if no agent has done
// so yet: else another configuration could take what a login stores there.
func (p *place) claimBase(ctx context.Context, cfg *config.Config) {
	home := p.home(cfg.Settings)
	if home.Name != "" || home.Base == "" {
		return
	}
	if s, err := state.OpenHome(home); err == nil { // else an agent has it, and has done so
		_ = s.Claim(home, claimsOf(ctx, cfg)) // the next start of the agent reports what fails
		s.Close()
	}
}

// claimsOf is what the configuration names in a state folder.
func claimsOf(ctx context.Context, cfg *config.Config) state.Names {
	names := state.Names{Paths: map[string]bool{}}
	for _, path := range sinkPaths(cfg.Renewers) {
		names.Paths[path] = true
	}
	names.Evict = func(from, to string) error {
		return refresh.Evict(ctx, from, to, func(name string, t refresh.Token) bool { return namesRefresh(cfg, name, t) })
	}
	return names
}

// namesRefresh reports whether the refresh token is that of a source.
func namesRefresh(cfg *config.Config, name string, t refresh.Token) bool {
	return slices.ContainsFunc(cfg.Sources, func(s config.Source) bool {
		return sources.KeepsRefreshToken(s.Source, name, t)
	})
}

// taken is an error where another agent uses the folder.
func (m *memory) taken(s config.Settings) error {
	if locked, ok := errors.AsType[*state.Locked](m.err); ok {
		return fmt.Errorf("%w; the running one is asked for new tokens with %s", locked, m.from.command(s, "refresh"))
	}
	return nil
}

// give makes the agent go on where the last one stopped, and logs the warnings of the
// folder.
func (m *memory) give(a *agent.Agent, log logrus.FieldLogger) {
	a.Built(builtAt())
	if m.state == nil {
		log.WithError(m.err).Warn("the state folder cannot be used; nothing is remembered across restarts")
		return
	}
	m.history = history.New(m.from.began.Dir(), wall)
	record(a, m.history)
	for _, w := range m.state.Warnings() {
		log.Warn(w)
	}
	a.Remember(m.state)
}

// recorded are the files that the last agent wrote, also those that are no longer in
// the configuration.
func (m *memory) recorded() (all []agent.Target) {
	if m.state == nil {
		return nil
	}
	for _, r := range m.state.Recall() {
		if t := m.state.Leftover(r); t.Sink != nil {
			all = append(all, t)
		}
	}
	return all
}

func (m *memory) close() {
	if m.state != nil {
		if m.history != nil {
			m.history.Close()
		}
		m.state.Close()
	}
}

const (
	betweenSweeps = time.Hour
	sweepLimit    = time.Minute
)

// sweep removes the temporary files that killed agents left next to the sinks of the
// renewers, now and once an hour; the first time also those next to recorded files. It
// returns soon after ctx is done, even while a folder hangs.
func (m *memory) sweep(ctx context.Context, log logrus.FieldLogger, recorded []agent.Target, renewers func() []agent.Renewer) {
	for ; ctx.Err() == nil; recorded = nil {
		m.sweepOnce(ctx, log, recorded, renewers())
		select {
		case <-ctx.Done():
		case <-time.After(betweenSweeps):
		}
	}
}

// sweepBeside starts one sweep, and returns a function that stops it and waits for its
// end.
func (m *memory) sweepBeside(ctx context.Context, log logrus.FieldLogger, renewers []agent.Renewer) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	recorded := m.recorded()
	var sweeping sync.WaitGroup
	sweeping.Go(func() { m.sweepOnce(ctx, log, recorded, renewers) })
	return func() { cancel(); sweeping.Wait() }
}

func (m *memory) sweepOnce(ctx context.Context, log logrus.FieldLogger, recorded []agent.Target, renewers []agent.Renewer) {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	var all []agent.Target
	for _, r := range renewers {
		all = append(all, r.Sinks...)
	}
	removed, err := sinks.Sweep(ctx, append(all, recorded...), m.state != nil)
	for _, path := range removed {
		log.WithField("path", path).Info("temporary file of a killed agent removed")
	}
	if err != nil {
		log.WithError(err).Debug("not every folder could be searched for temporary files of killed agents")
	}
}
