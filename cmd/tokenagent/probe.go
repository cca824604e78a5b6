package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
)

const (
	probeLimit = 2 * time.Second
	stillAlive = 2 * time.Minute // the loop goes round at least every 30 s
)

// A probe is a question that a machine asks every few seconds, to restart an agent or
// to keep clients away from it.
type probe struct{ live, ready bool }

func (p *probe) flags(c *cobra.Command) {
	c.Flags().BoolVar(&p.live, "live", false, "only say, by the exit code, whether an agent answers (else 5) and its loop goes round (else 1)")
	c.Flags().BoolVar(&p.ready, "ready", false, "only say, by the exit code, whether an agent answers (else 5) and its required tokens are valid (else 4)")
}

func (p *probe) asked() bool { return p.live || p.ready }

// ask asks the agent. An agent that does not answer in time counts as none.
func (p *probe) ask(ctx context.Context, from *place, names []string) error {
	switch {
	case p.live && p.ready:
		return usage("--live and --ready are asked one at a time")
	case p.live && len(names) > 0:
		return usage("--live is about the agent, not about a token such as %q; --ready takes names", names[0])
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	client, err := from.client(ctx)
	if err == nil && p.live {
		err = alive(ctx, client)
	} else if err == nil {
		err = ready(ctx, client, names)
	}
	if err == nil || errors.As(err, new(*exitError)) || errors.As(err, new(*control.Refusal)) {
		return err
	}
	return &exitError{exitNoAgent, err}
}

// alive asks for the heartbeat of the loop. The answer does not come from the loop
// itself, which may hang.
func alive(ctx context.Context, client *control.Client) error {
	beat, err := client.Heartbeat(ctx)
	if still := wall().Sub(beat); err == nil && !beat.IsZero() && still > stillAlive {
		return &exitError{exitFailed, fmt.Errorf("the loop of the agent has stood still for %s", config.Spoken(still))}
	}
	return err
}

func ready(ctx context.Context, client *control.Client, names []string) error {
	tokens, err := client.Status(ctx, names...)
	if err != nil {
		return err
	}
	return notValid(tokens)
}
