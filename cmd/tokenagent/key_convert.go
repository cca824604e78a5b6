package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/sources/keys"
)

func newKeyConvert() *cobra.Command {
	var to, keyID string
	c := &cobra.Command{
		Use:   "convert --to FORMAT FILE NEW",
		Short: "Write a private key in another format",
		Long: `Write the private key in FILE into the file NEW, in another format. NEW must not
exist yet; only its owner can read it (0600). With - FILE is standard input, and
NEW standard output.

The formats: pem (PKCS#8), pkcs1 (RSA, in PEM), sec1 (elliptic curves, in PEM), jwk,
jwks (RFC 7517; of a set all keys) and clustercockpit (EdDSA, the two lines of
gen-keypair). The format of FILE is found out. PEM and ClusterCockpit's lines hold no
key ID; the command tells which one is lost. For public halves see tokenagent key public.`,
		Example: `  tokenagent key convert --to jwk --key-id 2026-11 ospool.pem ospool.jwk
  tokenagent key convert --to clustercockpit cc.pem -
  tokenagent key convert --to pem .env cc.pem`,
		Args: arguments(2, 2, "FILE NEW"),
		RunE: func(c *cobra.Command, args []string) error {
			all, err := readKeys(c, args[:1], keyID)
			if err != nil {
				return err
			}
			text, err := converted(all, to, args[0])
			if err != nil {
				return err
			}
			if lost := lostID(all[0], to); lost != "" {
				fmt.Fprintln(c.ErrOrStderr(), "tokenagent: "+lost)
			}
			if args[1] == "-" {
				_, err = c.OutOrStdout().Write(text)
				return err
			}
			return writeNew(args[1], text, 0o600)
		},
	}
	c.Flags().StringVar(&to, "to", "", "by `name`: "+strings.Join(convertFormats(), ", "))
	c.Flags().StringVar(&keyID, "key-id", "", "the `name` (kid) of the new key (default: that of a JWK, else the RFC 7638 thumbprint); of a set it chooses the key")
	return c
}

// convertFormats are what key convert can write.
func convertFormats() []string {
	return []string{"pem", "pkcs1", "sec1", "jwk", "jwks", "clustercockpit"}
}

// converted is the text of the keys of a file in another format.
func converted(all []keys.Key, to, file string) ([]byte, error) {
	if to == "jwks" {
		return keys.PrivateJWKS(all...)
	}
	write := privateFormats[to]
	switch to {
	case "pkcs1":
		write = keys.Key.MarshalPKCS1
	case "sec1":
		write = keys.Key.MarshalSEC1
	}
	switch {
	case to == "":
		return nil, usage("--to is missing: write one of %s", strings.Join(convertFormats(), ", "))
	case write == nil:
		return nil, usage("--to %s: write one of %s", to, strings.Join(convertFormats(), ", "))
	case len(all) > 1:
		return nil, usage("%s has several keys, which fit only into jwks; choose one with --key-id", file)
	}
	text, err := write(all[0])
	if err != nil {
		return nil, usage("--to %s: %v", to, err)
	}
	return text, nil
}

// lostID says that a format does not hold the name of the key; "" where nothing is lost.
func lostID(k keys.Key, to string) string {
	if slices.Contains([]string{"jwk", "jwks"}, to) || k.Unnamed() {
		return ""
	}
	return fmt.Sprintf("%s holds no key ID; where the key is used, write key_id = %q", to, k.ID())
}
