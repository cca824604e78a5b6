package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
)

func newRefresh() *cobra.Command {
	var from place
	var asJSON bool
	c := &cobra.Command{
		Use:   "refresh [NAME…]",
		Short: "Have the running agent issue new tokens now, and wait for the outcome",
		Long: `Have the running agent issue new tokens now, even if the present ones are still
valid, and wait until each is written or has failed. Without a NAME: all tokens.

Exit codes: 0 all were written, 1 one was not, 2 there is no such NAME,
5 no agent answers.`,
		Example: `  tokenagent refresh
  tokenagent refresh pilot/ce1.example.org`,
		RunE: func(c *cobra.Command, names []string) error {
			ctx, stop := untilSignal(c.Context())
			defer stop()
			client, err := from.client(ctx)
			if err != nil {
				return err
			}
			tokens, err := client.Refresh(ctx, names...)
			if err != nil {
				return err
			}
			found := survey{Agent: true, Tokens: tokens}
			return errors.Join(show(c.OutOrStdout(), asJSON, found), failed(tokens))
		},
	}
	from.flags(c)
	jsonFlag(c, &asJSON)
	return c
}

// failed is the error of tokens that were not written.
func failed(tokens []agent.Status) error {
	var names []string
	for _, t := range tokens {
		if t.Failing != nil {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return errors.New("not written: " + strings.Join(names, ", "))
}
