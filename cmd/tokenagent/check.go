package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent/config"
)

func newCheck() *cobra.Command {
	var from place
	var definitions, strict, asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Find every fault of the configuration, against the rules of its profiles",
		Long: `Find every fault of the configuration, against the rules of its profiles. It
issues nothing and writes nothing.

Exit codes: 0 it can be used, 78 it has faults (or, with --strict, warnings).`,
		Example: `  tokenagent check
  tokenagent check --config ./tokenagent.hcl --definitions --strict   in a git hook, far from the keys`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, faults := from.read(definitions)
			refused := faults.HasErrors() || strict && len(faults) > 0
			if asJSON {
				if err := printJSON(c.OutOrStdout(), newVerdict(cfg, faults, !refused)); err != nil {
					return err
				}
			} else {
				faults.WriteText(c.ErrOrStderr())
				fmt.Fprintln(c.OutOrStdout(), newVerdict(cfg, faults, !refused))
			}
			if refused {
				return &exitError{code: exitConfiguration}
			}
			return nil
		},
	}
	from.configFlag(c)
	c.Flags().BoolVar(&definitions, "definitions", false, "look at no key, secret, user or folder, only at the text")
	c.Flags().BoolVar(&strict, "strict", false, "take warnings for faults")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// A verdict is what check found.
type verdict struct {
	Usable bool          `json:"usable"`
	Tokens int           `json:"tokens"` // 0 when it is not usable
	Sinks  int           `json:"sinks"`
	Faults config.Faults `json:"faults"` // warnings too
}

func newVerdict(cfg *config.Config, faults config.Faults, usable bool) verdict {
	v := verdict{Usable: usable, Tokens: len(cfg.Renewers), Faults: faults}
	if faults == nil {
		v.Faults = config.Faults{}
	}
	for _, r := range cfg.Renewers {
		v.Sinks += len(r.Sinks)
	}
	return v
}

// String is the last line of check.
func (v verdict) String() string {
	warnings := len(v.Faults.Warnings())
	if !v.Usable {
		return fmt.Sprintf("not usable: %s, %s", plural(len(v.Faults)-warnings, "error"), plural(warnings, "warning"))
	}
	return fmt.Sprintf("usable: %s, %s, %s", plural(v.Tokens, "token"), plural(v.Sinks, "sink"), plural(warnings, "warning"))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
