package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/host"
)

// reload reads the configuration and, if it has no errors, replaces the old one by
// it. Faults are logged, and returned as a [*control.Refusal].
func (d *daemon) reload(ctx context.Context) (agent.Replaced, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.manager.Reloading()()
	began := time.Now()
	d.watcher.Seen()
	cfg, faults := d.from.read(ctx, false)
	if err := ctx.Err(); err != nil { // the agent stops
		return agent.Replaced{}, err
	}
	d.sayFaults(faults)
	d.noteRefusal(faults.HasErrors(), wall())
	if faults.HasErrors() { // the correction may come in a file of the old or the new one
		l := d.watched
		l.Files = union(l.Files, cfg.Files)
		d.follow(l, began)
		return agent.Replaced{}, &control.Refusal{Reason: control.Configuration, Text: textOf(faults)}
	}
	d.keeper.follow(cfg)
	replaced, err := d.agent.Replace(ctx, cfg.Renewers)
	if err != nil {
		return replaced, err
	}
	d.inUse, d.all = cfg.Renewers, cfg.Settings.RequireAll
	d.follow(watchedFiles(cfg), began)
	d.adopt(cfg.Settings)
	d.log.WithFields(logrus.Fields{
		"added": replaced.Added, "changed": replaced.Changed, "unchanged": replaced.Unchanged, "removed": replaced.Removed,
	}).Info("configuration reloaded")
	return replaced, nil
}

// reloadRefused reloads a configuration that was refused, if it can be used now or has other
// faults: what was wrong may lie outside its files, such as the mode of a folder, or a user
// that a directory service did not know yet.
func (d *daemon) reloadRefused(ctx context.Context) {
	if d.refused.Load() != nil && d.differs(ctx) {
		d.reload(ctx)
	}
}

// differs reports whether the configuration on disk has other faults than were last logged.
func (d *daemon) differs(ctx context.Context) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, faults := d.from.read(ctx, false)
	return ctx.Err() == nil && textOf(faults) != d.said
}

// noteRefusal remembers since when the configuration on disk has been refused: after
// a restart the agent would not start with it.
func (d *daemon) noteRefusal(refused bool, now time.Time) {
	switch {
	case !refused:
		d.refused.Store(nil)
	case d.refused.Load() == nil:
		d.refused.Store(&now)
	}
}

func (d *daemon) refusedSince() time.Time {
	if since := d.refused.Load(); since != nil {
		return *since
	}
	return time.Time{}
}

// union is all of both, sorted.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// adopt applies what can change in the agent block while the agent runs.
func (d *daemon) adopt(s config.Settings) {
	configure(d.log, s)
	for _, one := range []struct{ name, began, now string }{
		{"name", d.began.Name, s.Name},
		{"state_dir", d.began.StateDir, s.StateDir},
		{"control", d.began.Control, s.Control},
		{"control_group", d.began.ControlGroup, s.ControlGroup},
	} {
		if one.began != one.now {
			d.log.Warnf("%s has changed from %q to %q, which takes effect after a restart", one.name, one.began, one.now)
		}
	}
}

// mostLines is how many faults of one configuration are logged.
const mostLines = 20

// sayFaults logs the faults, unless they are the same as last time.
func (d *daemon) sayFaults(faults config.Faults) {
	text := textOf(faults)
	if text == d.said {
		return
	}
	d.said = text
	for i, f := range faults {
		if i == mostLines {
			d.log.Warnf("and %d more; %s shows all", len(faults)-mostLines, d.from.command(d.began, "check"))
			break
		}
		if f.IsWarning() {
			d.log.Warn(f.Error())
		} else {
			d.log.Error(f.Error())
		}
	}
	if faults.HasErrors() {
		d.log.Error(fmt.Sprintf("the new configuration is refused (%s); the old one stays in use, and the new one is tried again every minute",
			host.Plural(len(faults.Errors()), "error")))
	}
}
