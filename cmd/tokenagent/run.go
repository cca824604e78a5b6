package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/systemd"
	"github.com/tokenagent/tokenagent/agent/watch"
)

func newRun() *cobra.Command {
	from := place{runs: true}
	c := &cobra.Command{
		Use:   "run",
		Short: "Keep all tokens fresh until SIGTERM: the daemon",
		Long: `Keep all tokens fresh, until SIGTERM or SIGINT. The configuration is read again
when one of its files or keys changes, on SIGHUP, and by tokenagent reload. If the
new one has faults, the old one stays in use.

Exit codes: 0 stopped by a signal, 78 the configuration has faults, 1 another agent
runs already.`,
		Example: `  tokenagent run
  tokenagent run --config .quickstart/tokenagent.hcl`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), &from, c.ErrOrStderr())
		},
	}
	from.flags(c)
	return c
}

// serve runs the daemon until a signal ends it.
func serve(ctx context.Context, from *place, stderr io.Writer) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // first of all: until then SIGHUP ends the process
	ctx, stop := until(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	began := time.Now()
	cfg, m, warnings, err := from.begin(ctx)
	switch {
	case errors.Is(err, errInterrupted): // by a signal
		return nil
	case err != nil:
		return err
	}
	defer m.close()
	if err := m.taken(cfg.Settings); err != nil {
		return err
	}
	if len(from.socketPaths(cfg.Settings)) > 1 { // an agent of an older version has the socket of the base
		if err := from.alone(ctx, cfg.Settings); err != nil {
			return err
		}
	}
	d := newDaemon(from, cfg, stderr)
	d.sayFaults(warnings)
	sayClock(d.log, wall())
	m.claim(ctx, cfg, d.log)
	m.give(d.agent, d.log)
	listener, err := d.listen()
	if err != nil {
		return err
	}
	d.watch(ctx, cfg, began)
	d.agent.EachRound(d.manager.Beat)
	d.log.WithFields(logrus.Fields{"version": versionText(), "tokens": len(cfg.Renewers)}).Info("running")
	d.run(ctx, m, listener, hangup)
	d.log.Info("stopped; the tokens stay where they are")
	return nil
}

// run keeps everything going until ctx is done.
func (d *daemon) run(ctx context.Context, m *memory, listener net.Listener, hangup <-chan os.Signal) {
	recorded := m.recorded() // before the agent changes them
	var parts sync.WaitGroup
	parts.Go(func() { m.sweep(ctx, d.log, recorded, d.renewers) })
	if m.history != nil {
		parts.Go(func() { keepHistory(ctx, m.history, d.log) })
	}
	if listener != nil {
		parts.Go(func() { d.answer(ctx, listener) })
	}
	parts.Go(func() { d.watcher.Run(ctx) })
	parts.Go(func() { d.reloadOn(ctx, hangup) })
	parts.Go(func() { d.agent.Run(ctx) })
	parts.Go(func() { d.keeper.run(ctx, func() { d.renewRevoked(ctx) }) })
	parts.Go(func() { d.manager.Run(ctx, d.forManager()) })
	parts.Wait()
}

// A daemon is an agent with its log, its socket and the configuration that it
// follows.
type daemon struct {
	from    *place
	log     *logrus.Logger
	agent   *agent.Agent
	watcher *watch.Watcher
	manager *systemd.Notifier
	keeper  *keeper
	began   config.Settings // some of which only a restart changes

	mu      sync.Mutex // one reload at a time
	inUse   []agent.Renewer
	all     bool       // require_all of the configuration in use
	watched watch.List // for the configuration in use
	said    string     // the faults as they were last logged

	refused atomic.Pointer[time.Time] // since when the configuration on disk has been refused; nil: it is in use
}

func newDaemon(from *place, cfg *config.Config, stderr io.Writer) *daemon {
	d := &daemon{from: from, log: newLogger(stderr, cfg.Settings), began: cfg.Settings, inUse: cfg.Renewers, all: cfg.Settings.RequireAll}
	logLibraries(d.log)
	d.agent = agent.New(wall, d.log, cfg.Renewers)
	d.manager = systemd.NewNotifier(newManager(d.log))
	d.keeper = newKeeper(d.log)
	d.keeper.follow(cfg)
	return d
}

// renewers are those of the configuration in use.
func (d *daemon) renewers() []agent.Renewer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inUse
}

// requireAll reports whether the daemon is ready only when all tokens are valid.
func (d *daemon) requireAll() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}

// listenControl makes the listener of the control socket. The tests replace it,
// to search each answer for secrets.
var listenControl = control.Listen

const noSocket = "there is no control socket; status, refresh and reload find no agent, SIGHUP reloads"

// listen makes the control socket. An agent works without one, but not where another
// agent answers.
func (d *daemon) listen() (net.Listener, error) {
	group := control.OwnerOnly
	if name := d.began.ControlGroup; name != "" {
		var err error
		if group, err = (&host.Database{}).Group(name); err != nil {
			return nil, &exitError{exitConfiguration, fmt.Errorf("control_group %q: %w", name, err)}
		}
	}
	path := d.from.socketPath(d.began)
	if path == "" {
		d.log.Warn("there is no folder for a control socket, so status, refresh and reload find no agent; set control in the agent block; SIGHUP reloads")
		return nil, nil
	}
	trust := host.TrustOfRoot(os.Getenv)
	if _, err := control.Exposed(path, trust); err != nil {
		d.log.WithError(err).Warn(noSocket)
		return nil, nil
	}
	listener, err := listenControl(path, group)
	exposed, _ := control.Exposed(path, trust)
	for _, w := range exposed {
		d.log.Warnf("control socket %s: others can put another in its place: %v", path, w)
	}
	if errors.Is(err, control.ErrInUse) {
		return nil, fmt.Errorf("%w; %s asks it for new tokens, %s has it read its configuration",
			err, d.from.command(d.began, "refresh"), d.from.command(d.began, "reload"))
	}
	if err != nil {
		d.log.WithError(err).Warn(noSocket)
		return nil, nil
	}
	return listener, nil
}

// watch begins to watch the files of the configuration.
func (d *daemon) watch(ctx context.Context, cfg *config.Config, since time.Time) {
	d.watcher = watch.New(watch.Reports{
		Changed: func() { d.reload(ctx) },
		Touched: func(path string) { d.agent.Touched(ctx, path) },
		Blind: func(err error) {
			d.log.WithError(err).WithField("look_every", watch.LookEvery).
				Warn("inotify does not watch all folders; changes are found by looking (see fs.inotify.max_user_watches and max_user_instances)")
		},
	})
	d.follow(watchedFiles(cfg), since)
}

// follow watches these files from now on.
func (d *daemon) follow(l watch.List, since time.Time) {
	d.watched = l
	d.watcher.Watch(l, since)
}

// watchedFiles are the files to watch for the configuration.
func watchedFiles(cfg *config.Config) watch.List {
	l := watch.List{Files: cfg.Files, Sinks: sinkPaths(cfg.Renewers)}
	for _, r := range cfg.Renewers {
		if f, ok := r.Source.(agent.Follower); ok && len(r.Sinks) > 0 {
			if path, _ := f.Follows(); path != "" {
				l.Followed = append(l.Followed, path)
			}
		}
	}
	return l
}

// sinkPaths are the files of all sinks.
func sinkPaths(renewers []agent.Renewer) (all []string) {
	for _, r := range renewers {
		for _, s := range r.Sinks {
			if s.Path != "" {
				all = append(all, s.Path)
			}
		}
	}
	return all
}

func (d *daemon) answer(ctx context.Context, listener net.Listener) {
	err := control.Serve(ctx, listener, control.Answers{
		Status:    named(d.agent.Status),
		Refresh:   named(d.agent.Refresh),
		Reload:    func(context.Context) (agent.Replaced, error) { return d.reload(ctx) }, // not under the caller's ctx: the reload goes on when the caller leaves
		Keep:      d.keep,
		Leftovers: d.leftovers,
		Refused:   d.refusedSince,
		Heartbeat: d.agent.Heartbeat,
		Follows:   d.from.followed,
	})
	if err != nil {
		d.log.WithError(err).Error("the control socket no longer answers; the tokens are still kept fresh, SIGHUP reloads")
	}
}

// leftovers are the files that no definition has any more.
func (d *daemon) leftovers(ctx context.Context) ([]control.Leftover, error) {
	records, err := d.agent.Leftovers(ctx)
	return leftovers(records), err
}

func leftovers(records []agent.Record) (all []control.Leftover) {
	for _, r := range records {
		all = append(all, control.Leftover{Token: r.Token, Path: r.Name})
	}
	return all
}

// A question is Status or Refresh.
type question func(ctx context.Context, names ...string) ([]agent.Status, error)

// named turns the error of an unknown name into a Refusal.
func named(ask question) question {
	return func(ctx context.Context, names ...string) ([]agent.Status, error) {
		found, err := ask(ctx, names...)
		if errors.Is(err, agent.ErrUnknown) {
			err = &control.Refusal{Reason: control.UnknownToken, Text: err.Error()}
		}
		return found, err
	}
}

func (d *daemon) reloadOn(ctx context.Context, hangup <-chan os.Signal) {
	again := time.NewTicker(watch.LookEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			d.reload(ctx)
		case <-again.C:
			d.reloadRefused(ctx)
		}
	}
}
