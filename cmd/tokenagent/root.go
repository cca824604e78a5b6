package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
)

// execute runs the command that args name.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := newRoot()
	begun := false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	called, err := root.ExecuteContextC(agent.WithClock(context.Background(), wall))
	if err != nil && !begun { // cobra itself refused the command line
		return usage("%s\nsee %s --help", strings.TrimSpace(err.Error()), called.CommandPath())
	}
	return err
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "tokenagent",
		Short: "Keeps tokens fresh: issues them, writes them where their readers look, renews them in time",
		Example: `  tokenagent init quickstart .quickstart               a first configuration, with a key
  tokenagent run --config .quickstart/tokenagent.hcl   keep its token fresh
  tokenagent token inspect .quickstart/token           what the token says`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddGroup(
		&cobra.Group{ID: "agent", Title: "The agent and its tokens:"},
		&cobra.Group{ID: "tools", Title: "One token, one key, one configuration:"},
	)
	inGroup(root, "agent", newRun(), newOnce(), newCheck(), newStatus(), newHistory(), newRefresh(), newReload())
	token := family("token", "Make one token now, or look at one", newTokenCreate(), newTokenInspect(), newTokenVerify())
	key := family("key", "Make a signing key, convert it, or print its public half", newKeyCreate(), newKeyConvert(), newKeyPublic())
	issuer := family("issuer", "The keys of a simple issuer: how they stand, rotate, revoke, publish", newIssuerStatus(), newIssuerRotate(), newIssuerRevoke(), newIssuerPublish())
	inGroup(root, "tools", token, key, issuer, newDoctor(), newInit(), newSystemdDropin(), newExec(), newLogin(), newLogout())
	root.AddCommand(newVersion())
	return root
}

func inGroup(parent *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = id
	}
	parent.AddCommand(commands...)
}

// family returns a command that only has subcommands. Without one it is an error.
func family(use, short string, members ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(members...)
	c.RunE = func(c *cobra.Command, args []string) error {
		var names []string
		for _, m := range members {
			names = append(names, m.Name())
		}
		if len(args) > 0 {
			return usage("unknown command %q for %q; there are: %s", args[0], c.CommandPath(), strings.Join(names, ", "))
		}
		return usage("a command is missing after %q; there are: %s", c.CommandPath(), strings.Join(names, ", "))
	}
	return c
}

// arguments demands from least to most arguments; errors call them by the names.
func arguments(least, most int, names string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("%s is missing: %s", names, c.UseLine())
		case len(args) > most && most == 0:
			return fmt.Errorf("%s takes no argument, but got %q", c.CommandPath(), args[0])
		case len(args) > most:
			return fmt.Errorf("%s takes only %s, but also got %q", c.CommandPath(), names, args[most])
		}
		return nil
	}
}

const anyNumber = math.MaxInt // of arguments

func jsonFlag(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}
