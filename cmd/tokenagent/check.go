package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks"
	"github.com/tokenagent/tokenagent/sources"
)

func newCheck() *cobra.Command {
	var from place
	var flags checkFlags
	c := &cobra.Command{
		Use:   "check",
		Short: "Find every fault of the configuration, against the rules of its profiles",
		Long: `Find every fault of the configuration, against the rules of its profiles. It
issues nothing and writes nothing.

With --online it also asks the issuers whether they answer and offer what is
asked of them, and looks at what lies in the sinks; with --issue too it asks
each source for one token, as the agent would, and shows all of it but the token.
A refresh token that is replaced by that is stored; nothing else is written.

Exit codes: 0 it can be used, 78 it has faults (or, with --strict, warnings), 1 an
issuer cannot be reached, or not now.`,
		Example: `  tokenagent check
  tokenagent check --online --issue                                   before the first start
  tokenagent check --config ./tokenagent.hcl --definitions --strict   in a git hook, far from the keys`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := flags.validate(); err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context())
			defer stop()
			return flags.check(ctx, &from, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	from.configFlag(c)
	flags.add(c)
	return c
}

// checkFlags are the flags of check, except those of place.
type checkFlags struct {
	definitions, online, issue, strict, json bool
	timeout                                  time.Duration
}

func (f *checkFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.BoolVar(&f.definitions, "definitions", false, "look at no key, secret, user or folder, only at the text")
	flags.BoolVar(&f.online, "online", false, "ask the issuers too, and look at what lies in the sinks")
	flags.BoolVar(&f.issue, "issue", false, "with --online: ask each source for one token")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "with --online: how long all of it may take")
	flags.BoolVar(&f.strict, "strict", false, "take warnings for faults")
	flags.BoolVar(&f.json, "json", false, "print JSON")
}

// validate is the error of flags that make no sense together.
func (f *checkFlags) validate() error {
	switch {
	case f.issue && !f.online:
		return usage("--issue needs --online")
	case f.online && f.definitions:
		return usage("--online needs the keys and secrets that --definitions does not look at; leave out one of them")
	case f.timeout <= 0:
		return usage("--timeout %s: it must be more than 0, such as 1m", f.timeout)
	}
	return nil
}

// check prints all that it finds; the faults of the text go to stderr.
func (f *checkFlags) check(ctx context.Context, from *place, stdout, stderr io.Writer) error {
	from.checking = true
	from.runs = f.issue // programs, too
	cfg, faults := from.read(ctx, f.definitions)
	if ctx.Err() != nil {
		return errInterrupted
	}
	v := newVerdict(cfg, faults)
	show := func(outcome) {}
	if !f.json {
		faults.WriteText(stderr)
		show = func(s outcome) { s.print(stdout) }
	}
	if f.online && !faults.HasErrors() {
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		known := sinks.RecordsOf(state.Look(from.home(cfg.Settings), claimsOf(ctx, cfg)).Records)
		v.Online = examine(ctx, f.subjects(cfg, known), show, stderr)
	}
	code := v.decide(f.strict)
	if f.json {
		if err := printJSON(stdout, v); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(stdout, v)
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// A verdict is what check found.
type verdict struct {
	Usable bool          `json:"usable"`
	Tokens int           `json:"tokens"` // 0 when the text has errors
	Sinks  int           `json:"sinks"`
	Faults config.Faults `json:"faults"`          // of the text; warnings too
	Online []outcome     `json:"online,omitzero"` // nil: not looked
}

func newVerdict(cfg *config.Config, faults config.Faults) verdict {
	v := verdict{Tokens: len(cfg.Renewers), Faults: faults}
	if faults == nil {
		v.Faults = config.Faults{}
	}
	for _, r := range cfg.Renewers {
		v.Sinks += len(r.Sinks)
	}
	return v
}

// decide sets whether the configuration is usable, and returns the exit code.
func (v *verdict) decide(strict bool) int {
	warnings, faults, transient := v.online()
	warnings += len(v.Faults.Warnings())
	faults += len(v.Faults.Errors())
	switch {
	case faults > 0 || strict && warnings > 0:
		return exitConfiguration
	case transient > 0:
		return exitFailed
	}
	v.Usable = true
	return 0
}

// online counts the warnings and faults that were found online. Transient faults may
// go away by themselves, and are counted apart.
func (v *verdict) online() (warnings, faults, transient int) {
	for _, s := range v.Online {
		for _, f := range s.Findings {
			switch {
			case f.Mark == sources.Warning:
				warnings++
			case f.Mark == sources.Wrong && f.Transient:
				transient++
			case f.Mark == sources.Wrong:
				faults++
			}
		}
	}
	return warnings, faults, transient
}

// String is the last line of check.
func (v verdict) String() string {
	warnings := len(v.Faults.Warnings())
	faults := host.Plural(len(v.Faults)-warnings, "error") + ", " + host.Plural(warnings, "warning")
	text := "not usable: " + faults
	if v.Usable {
		text = fmt.Sprintf("usable: %s, %s, %s", host.Plural(v.Tokens, "token"), host.Plural(v.Sinks, "sink"), host.Plural(warnings, "warning"))
	}
	if v.Online == nil {
		return text
	}
	more, wrong, transient := v.online()
	text += fmt.Sprintf("; online: %s, %s", host.Plural(wrong+transient, "fault"), host.Plural(more, "warning"))
	if transient > 0 && wrong == 0 {
		text += "; what is missing may come back by itself"
	}
	return text
}
