package main

import "github.com/spf13/cobra"

func newKey() *cobra.Command {
	return family("key", "Make a signing key, or print its public half", newKeyCreate(), newKeyPublic())
}
