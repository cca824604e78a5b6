package main

import "github.com/spf13/cobra"

func newToken() *cobra.Command {
	return family("token", "Make one token now, or look at one", newTokenCreate(), newTokenInspect(), newTokenVerify())
}
