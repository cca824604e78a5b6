package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/sources"
)

func newLogout() *cobra.Command {
	l := logout{from: place{runs: true}} // it sends secrets to whom the configuration names
	c := &cobra.Command{
		Use:   "logout SOURCE",
		Short: "End the refresh token of a source",
		Long: `End the refresh token of a source "refresh_token": have its issuer revoke it (RFC
7009), and remove it from the state folder. Where the issuer cannot revoke it, or
does not answer, it stays; --local removes it all the same, and it may be good
until it ends.

Tokens that came of it stay valid until they end, unless the issuer ends them too.
Run it as the agent's user. A running agent gets no new tokens from the source
until tokenagent login.

Exit codes: 0 it is revoked and removed, 1 one of that failed, 2 there is no such
SOURCE, 78 the configuration has faults.`,
		Example: `  tokenagent logout cilogon
  tokenagent logout cilogon --local`,
		Args: arguments(1, 1, "SOURCE"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := untilSignal(c.Context())
			defer stop()
			l.out = c.OutOrStdout()
			return l.run(ctx, args[0])
		},
	}
	l.from.flags(c)
	c.Flags().BoolVar(&l.local, "local", false, "remove it here, and do not ask the issuer")
	return c
}

// A logout is one call of the command.
type logout struct {
	from  place
	local bool
	out   io.Writer
}

func (l *logout) run(ctx context.Context, name string) error {
	cfg, chosen, err := l.from.loadLogin(ctx, name)
	switch {
	case err != nil:
		return err
	case !strings.HasPrefix(chosen.Name, "source.refresh_token"):
		return usage("%s has no refresh token; remove its long-lived token from token_dir, and have an administrator of the pool revoke it", chosen.Name)
	}
	done, err := sources.LogOut(ctx, chosen.Source, l.local)
	if err != nil && !l.local {
		return fmt.Errorf("%s: %w; to remove what is stored without asking the issuer: %s --local", chosen.Name, err, l.from.command(cfg.Settings, "logout", name))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", chosen.Name, err)
	}
	l.print(done)
	return nil
}

// print says what was done, and what is left to do.
func (l *logout) print(done sources.Logout) {
	if done.Revoked {
		fmt.Fprintln(l.out, "the issuer has revoked the refresh token; access tokens that came of it may be valid until they end")
	}
	if done.Removed != "" {
		fmt.Fprintf(l.out, "the refresh token is removed: %s\n", done.Removed)
	} else {
		fmt.Fprintln(l.out, "no refresh token was stored")
	}
	if done.Left != "" {
		fmt.Fprintf(l.out, "remove %s too, or the agent begins again with what it holds\n", done.Left)
	}
}
