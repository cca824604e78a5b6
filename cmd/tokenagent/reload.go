package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/control"
)

func newReload() *cobra.Command {
	var from place
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the running agent read its configuration again",
		Long: `Have the running agent read its configuration again, and wait for the outcome. The
agent does so by itself a moment after a file has changed. If the configuration has
faults, they are printed, and the old one stays in use.

Exit codes: 0 it is in use, 78 it has faults, 5 no agent answers.`,
		Example: `  tokenagent reload
  tokenagent reload --config .quickstart/tokenagent.hcl`,
		Args: arguments(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := from.client(c.Context())
			if err != nil {
				return err
			}
			replaced, err := client.Reload(c.Context())
			if refusal, ok := errors.AsType[*control.Refusal](err); ok {
				return faulted(refusal.Text)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "reloaded:", counted(replaced))
			return nil
		},
	}
	from.flags(c)
	return c
}

func counted(r agent.Replaced) string {
	return fmt.Sprintf("%d added, %d changed, %d unchanged, %d removed", r.Added, r.Changed, r.Unchanged, r.Removed)
}
