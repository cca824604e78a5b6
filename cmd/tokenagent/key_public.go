package main

import (
	"bytes"
	"crypto"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/sources/keys"
)

func newKeyPublic() *cobra.Command {
	var format, keyID string
	c := &cobra.Command{
		Use:   "public FILE…",
		Short: "Print the public half of private keys, as the issuer publishes it",
		Long: `Print the public half of private keys: as the JWKS that an issuer publishes, or
one in another format. FILE - is standard input. Nothing private is printed.`,
		Example: `  tokenagent key public old.pem new.pem > .well-known/jwks.json
  tokenagent key public --format pem key.jwk`,
		Args: arguments(1, anyNumber, "FILE"),
		RunE: func(c *cobra.Command, files []string) error {
			write, err := publicFormat(format)
			if err != nil {
				return err
			}
			if len(files) > 1 && (format != "jwks" || keyID != "") {
				return usage("several keys fit only into --format jwks, and without --key-id")
			}
			all, err := readKeys(c, files, keyID)
			if err != nil {
				return err
			}
			text, err := write(all)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(append(bytes.TrimRight(text, "\n"), '\n'))
			return err
		},
	}
	c.Flags().StringVar(&format, "format", "jwks", "by `name`: jwks or jwk (RFC 7517), pem (SubjectPublicKeyInfo) or clustercockpit")
	c.Flags().StringVar(&keyID, "key-id", "", "the `name` (kid) to publish it under (default: that of a JWK, else the RFC 7638 thumbprint)")
	return c
}

// publicFormat is how public halves are written in the format; all but jwks
// take one key.
func publicFormat(name string) (func([]keys.Key) ([]byte, error), error) {
	switch name {
	case "jwks":
		return func(all []keys.Key) ([]byte, error) { return keys.JWKS(all...) }, nil
	case "jwk":
		return func(all []keys.Key) ([]byte, error) { return all[0].PublicJWK() }, nil
	case "pem":
		return func(all []keys.Key) ([]byte, error) { return all[0].PublicPEM() }, nil
	case "clustercockpit":
		return func(all []keys.Key) ([]byte, error) { return all[0].PublicClusterCockpit() }, nil
	}
	return nil, usage("--format %s: unknown; there are jwks, jwk, pem and clustercockpit", name)
}

// readKeys reads the private keys, each once; each goes by keyID unless that is "".
func readKeys(c *cobra.Command, files []string, keyID string) (all []keys.Key, err error) {
	if keyID != "" {
		if err := keys.CheckID(keyID); err != nil {
			return nil, usage("--key-id: %w", err)
		}
	}
	for _, file := range files {
		key, err := readKey(c, file)
		if err != nil {
			return nil, err
		}
		all = addKey(all, key.WithID(keyID))
	}
	return all, nil
}

// addKey adds the key unless it is there already under the same name.
func addKey(all []keys.Key, key keys.Key) []keys.Key {
	public := key.Public().(interface{ Equal(crypto.PublicKey) bool }) // as every public key is, see crypto.PublicKey
	if slices.ContainsFunc(all, func(k keys.Key) bool { return k.ID() == key.ID() && public.Equal(k.Public()) }) {
		return all
	}
	return append(all, key)
}

// readKey reads the private key in the file, or on standard input for "-".
func readKey(c *cobra.Command, file string) (keys.Key, error) {
	if file != "-" {
		return keys.Read(file)
	}
	text, err := readAll(c.InOrStdin(), "standard input", keys.MaxFile)
	if err != nil {
		return keys.Key{}, err
	}
	return keys.Parse(text)
}
