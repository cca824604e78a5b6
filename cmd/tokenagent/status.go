package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks"
)

const watchEvery = 2 * time.Second

func newStatus() *cobra.Command {
	f := statusFlags{from: place{tells: true}}
	c := &cobra.Command{
		Use:   "status [NAME…]",
		Short: "Show each token's state: how long it lives, when it is renewed, what fails",
		Long: `Show each token's state: how long it lives, when it is renewed, what fails.

It asks the running agent. When none answers it reads the tokens' files instead,
and says so. A NAME is a token's (pilot), which stands for all that its for_each
makes, or one of those (pilot/ce1.example.org).

With --live or --ready it only answers a probe, such as that of Kubernetes: it asks
the agent and never the files, prints nothing when all is well, and takes two
seconds at most.

Exit codes: 0 all required tokens are valid, 4 one is not, 1 nothing could be
found out, 2 there is no such NAME, 78 the configuration has faults and so does
not tell where its agent answers, or none answers. Of probes: 5 no agent answers;
--live 1 its loop has stood still for two minutes; --ready 4.`,
		Example: `  tokenagent status
  tokenagent status pilot --json
  tokenagent status --ready
  tokenagent status --watch --config .quickstart/tokenagent.hcl`,
		RunE: func(c *cobra.Command, names []string) error { return f.answer(c, names) },
	}
	f.from.flags(c)
	jsonFlag(c, &f.json)
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "show it again every two seconds until interrupted")
	f.probe.flags(c)
	return c
}

// statusFlags are those of status.
type statusFlags struct {
	from        place
	json, watch bool
	probe       probe
}

// answer shows the tokens, or answers a probe.
func (f *statusFlags) answer(c *cobra.Command, names []string) error {
	switch {
	case f.probe.asked() && (f.json || f.watch):
		return usage("--live and --ready answer by the exit code, without --json or --watch")
	case f.probe.asked():
		return f.probe.ask(c.Context(), &f.from, names)
	case f.watch:
		return again(c.Context(), c.OutOrStdout(), func(ctx context.Context) error { return f.show(ctx, c, names) })
	}
	return f.show(c.Context(), c, names)
}

// show shows the tokens once.
func (f *statusFlags) show(ctx context.Context, c *cobra.Command, names []string) error {
	found, err := f.from.survey(ctx, names)
	if err != nil {
		return err
	}
	f.from.warnOfDoubts(c.ErrOrStderr())
	if !found.Agent {
		fmt.Fprintln(c.ErrOrStderr(), "tokenagent: no agent answers; this is what lies in the files")
	}
	return errors.Join(show(c.OutOrStdout(), f.json, found), notValid(found.Tokens))
}

// warnOfDoubts prints who else than root can change the configuration that was read
// last.
func (p *place) warnOfDoubts(w io.Writer) {
	for _, doubt := range p.doubts {
		fmt.Fprintf(w, "tokenagent: warning: %s\n", doubt)
	}
}

// again shows it every two seconds until it is interrupted. It prints errors and goes
// on: they may be gone the next time.
func again(ctx context.Context, stdout io.Writer, show func(context.Context) error) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if isTerminal(stdout) {
			fmt.Fprint(stdout, "\x1b[H\x1b[2J")
		}
		if err := show(ctx); err != nil && ctx.Err() == nil {
			if e, ok := errors.AsType[*exitError](err); !ok || e.code != exitNotValid { // the table shows that
				fmt.Fprintln(stdout, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			fmt.Fprintln(stdout)
		}
	}
}

// isTerminal reports whether the stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(descriptor)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// survey asks the agent for the states of the tokens. When none answers, it reads
// their files.
func (p *place) survey(ctx context.Context, names []string) (survey, error) {
	found := survey{Agent: true}
	client, err := p.client(ctx)
	if err == nil {
		found.Tokens, err = client.Status(ctx, names...)
	}
	switch {
	case errors.Is(err, control.ErrNoAgent):
		return p.surveyFiles(ctx, names)
	case err != nil:
		return survey{}, err
	case len(names) == 0:
		found.Leftovers, err = client.Leftovers(ctx)
		found.Unknown = p.unknown(ctx)
	}
	if err == nil {
		found.Refused, err = client.Refused(ctx)
	}
	cfg, faults := p.read(ctx, true)
	found.check = p.command(cfg.Settings, "check")
	if len(names) == 0 && !faults.HasErrors() {
		found.Sources = sourcesOf(cfg)
	}
	return found, err
}

// unknown are the files in the state folder that belong to an unknown configuration,
// as far as this user can see them.
func (p *place) unknown(ctx context.Context) []control.Leftover {
	if p.loaded == nil { // only the socket is known
		return nil
	}
	view := state.Look(p.home(p.loaded.Settings), claimsOf(ctx, p.loaded))
	return leftovers(sinks.RecordsOf(view.Unknown).Leftovers(ctx, p.loaded.Renewers))
}

// surveyFiles is what an agent that starts now would report, by the files and the
// records of the last agent.
func (p *place) surveyFiles(ctx context.Context, names []string) (survey, error) {
	p.key = func(s config.Settings) []byte { return state.KeyOf(p.home(s)) }
	cfg, faults := p.read(ctx, false)
	if faults.HasErrors() { // this user may not be allowed to read a key, which status does not need
		var err error
		if cfg, err = p.load(ctx, true); err != nil {
			return survey{}, err
		}
	}
	chosen, err := choose(cfg.Renewers, names)
	if err != nil {
		return survey{}, err
	}
	view := state.Look(p.home(cfg.Settings), claimsOf(ctx, cfg))
	known := sinks.RecordsOf(view.Records)
	found := survey{Tokens: []agent.Status{}}
	for _, r := range chosen {
		if len(r.Sinks) > 0 {
			one := known.Status(ctx, r, wall())
			one.Renew = known.Renewal(ctx, r)
			found.Tokens = append(found.Tokens, one)
		}
	}
	slices.SortFunc(found.Tokens, func(s, t agent.Status) int { return cmp.Compare(s.Name, t.Name) }) // as the agent does
	if len(names) == 0 {
		found.Leftovers = leftovers(known.Leftovers(ctx, cfg.Renewers))
		found.Unknown = leftovers(sinks.RecordsOf(view.Unknown).Leftovers(ctx, cfg.Renewers))
		found.Sources = sourcesOf(cfg)
	}
	return found, nil
}

// choose returns the renewers that the names select, all without a name.
func choose(renewers []agent.Renewer, names []string) ([]agent.Renewer, error) {
	if len(names) == 0 {
		return renewers, nil
	}
	used := map[string]bool{}
	var chosen []agent.Renewer
	for _, r := range renewers {
		selected := false
		for _, n := range names {
			if r.Selects(n) {
				selected, used[n] = true, true
			}
		}
		if selected {
			chosen = append(chosen, r)
		}
	}
	for _, n := range names {
		if !used[n] {
			return nil, usage("no token %q; there are: %s", n, namesOf(renewers))
		}
	}
	return chosen, nil
}

// namesOf lists the names for an error, but not thousands.
func namesOf(renewers []agent.Renewer) string {
	var names []string
	for _, r := range renewers {
		names = append(names, r.Name)
	}
	return host.Few(names, 20)
}

// notValid is an error, with exit code 4, where a required token is not valid.
func notValid(tokens []agent.Status) error {
	if names := invalid(tokens); len(names) > 0 {
		return &exitError{exitNotValid, errors.New(strings.Join(names, ", "))}
	}
	return nil
}
