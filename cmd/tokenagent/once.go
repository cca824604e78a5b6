package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
)

func newOnce() *cobra.Command {
	from := place{runs: true}
	var asJSON, force bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "once [NAME…]",
		Short: "Put every token in its place once, then stop: the first pass of the daemon",
		Long: `Put all tokens, or those named, in their places once, then stop: the first pass of
the daemon. A token that still lies there as an earlier agent left it, and is not
due, stays; the others are issued and written. What fails for a reason that may go
away by itself is tried again until the timeout.

Exit codes: 0 all required tokens are valid, 4 one is not, or a new one could not be
validated and is not installed, 78 the configuration has faults, 1 an agent runs
already (ask it with tokenagent refresh).`,
		Example: `  tokenagent once
  tokenagent once pilot --timeout 30s`,
		RunE: func(c *cobra.Command, names []string) error {
			ctx, stop := untilSignal(c.Context())
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			tokens, err := pass(ctx, &from, names, force, c.ErrOrStderr())
			if err != nil {
				return err
			}
			found := survey{Tokens: tokens}
			return errors.Join(show(c.OutOrStdout(), asJSON, found), notInPlace(tokens))
		},
	}
	from.flags(c)
	c.Flags().BoolVar(&force, "force", false, "issue all, however long the present ones live")
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to try")
	jsonFlag(c, &asJSON)
	return c
}

// pass puts the tokens that the names select in their places, and returns their
// states.
func pass(ctx context.Context, from *place, names []string, force bool, stderr io.Writer) ([]agent.Status, error) {
	cfg, m, warnings, err := from.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer m.close()
	if err := from.alone(ctx, cfg.Settings); err != nil {
		return nil, err
	}
	if err := m.taken(cfg.Settings); err != nil {
		return nil, err
	}
	log := newLogger(stderr, cfg.Settings)
	logLibraries(log)
	if levelOf(cfg.Settings) == logrus.InfoLevel { // the table tells what was written
		setLevel(log, logrus.WarnLevel)
	}
	for _, w := range warnings {
		log.Warn(w.Error())
	}
	m.claim(ctx, cfg, log)
	a := agent.New(wall, log, cfg.Renewers)
	m.give(a, log)
	if err := a.Only(names...); err != nil {
		return nil, usage("%w", err)
	}
	if force {
		a.Force()
	}
	defer keepOnce(ctx, a, m, cfg, log)()
	defer m.sweepBeside(ctx, log, cfg.Renewers)()
	return ended(a.Once(ctx)), nil
}

// ended removes the times of the next attempts, which this process will not make.
func ended(tokens []agent.Status) []agent.Status {
	end := func(f *agent.Failing) {
		if f != nil {
			f.Retry = time.Time{}
		}
	}
	for i := range tokens {
		t := &tokens[i]
		end(t.Failing)
		if t.Failing != nil {
			t.Renew = time.Time{}
		}
		for j := range t.Sinks {
			end(t.Sinks[j].Failing)
		}
		for j := range t.Hooks {
			end(&t.Hooks[j].Failing)
		}
	}
	return tokens
}

// notInPlace is notValid for tokens that were to be written: one that waits to be
// validated is not in its place either.
func notInPlace(tokens []agent.Status) error {
	var waiting []error
	for _, t := range tokens {
		if t.Required && t.Waiting {
			waiting = append(waiting, fmt.Errorf("the new token of %s is not validated, and the one before stays", t.Name))
		}
	}
	if len(waiting) == 0 {
		return notValid(tokens)
	}
	return &exitError{exitNotValid, errors.Join(append(waiting, notValid(tokens))...)}
}

// alone is an error where a running agent serves the configuration.
func (p *place) alone(ctx context.Context, s config.Settings) error {
	client, err := p.agent(ctx, s)
	if err == nil {
		_, err = client.Status(ctx)
	}
	if errors.Is(err, control.ErrNoAgent) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("an agent runs already, and answers at %s; have it issue new tokens: %s", client.Path(), p.command(s, "refresh"))
}
