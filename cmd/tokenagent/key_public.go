package main

import (
	"bytes"
	"crypto"
	"errors"
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
one in another format. FILE - is standard input. Of a set of keys (JWKS) all are
printed, or the one that --key-id names. Nothing private is printed.`,
		Example: `  tokenagent key public old.pem new.pem > .well-known/jwks.json
  tokenagent key public --format pem key.jwk`,
		Args: arguments(1, anyNumber, "FILE"),
		RunE: func(c *cobra.Command, files []string) error {
			write, known := publicFormats[format]
			if !known && format != "jwks" {
				return usage("--format %s: unknown; there are jwks, jwk, pem and clustercockpit", format)
			}
			if len(files) > 1 && (format != "jwks" || keyID != "") {
				return usage("several keys fit only into --format jwks, and without --key-id")
			}
			all, err := readKeys(c, files, keyID)
			if err != nil {
				return err
			}
			if len(all) > 1 && format != "jwks" {
				return usage("%s has several keys, which fit only into --format jwks; choose one with --key-id", files[0])
			}
			var text []byte
			if known {
				text, err = write(all[0])
			} else {
				text, err = keys.JWKS(all...)
			}
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

// publicFormats write the public half of one key. The format jwks takes several.
var publicFormats = map[string]func(keys.Key) ([]byte, error){
	"jwk":            keys.Key.PublicJWK,
	"pem":            keys.Key.PublicPEM,
	"clustercockpit": keys.Key.PublicClusterCockpit,
}

// readKeys reads the private keys, each once; each goes by keyID unless that is "".
func readKeys(c *cobra.Command, files []string, keyID string) (all []keys.Key, err error) {
	if keyID != "" {
		if err := keys.CheckID(keyID); err != nil {
			return nil, usage("--key-id: %w", err)
		}
	}
	for _, file := range files {
		found, err := readKey(c, file, keyID)
		if err != nil {
			return nil, err
		}
		for _, key := range found {
			all = addKey(all, key)
		}
	}
	return all, nil
}

// addKey adds the key unless the list has it under the same name.
func addKey(all []keys.Key, key keys.Key) []keys.Key {
	public := key.Public().(interface{ Equal(crypto.PublicKey) bool }) // as every public key is, see crypto.PublicKey
	if slices.ContainsFunc(all, func(k keys.Key) bool { return k.ID() == key.ID() && public.Equal(k.Public()) }) {
		return all
	}
	return append(all, key)
}

// readKey reads the private keys in the file, or on standard input for "-": all of
// them, or the one that goes by keyID.
func readKey(c *cobra.Command, file, keyID string) ([]keys.Key, error) {
	switch {
	case file != "-" && keyID == "":
		return keys.ReadAll(file)
	case file != "-":
		key, err := keys.Read(file, keyID)
		return []keys.Key{key}, err
	}
	text, err := readAll(c.InOrStdin(), "standard input", keys.MaxFile)
	switch {
	case err != nil:
		return nil, err
	case keyID == "":
		all, err := keys.ParseAll(text)
		for _, key := range all {
			err = errors.Join(err, keys.RefuseDemonstration(key))
		}
		return all, err
	}
	key, err := keys.Parse(text, keyID)
	if err == nil {
		err = keys.RefuseDemonstration(key)
	}
	return []keys.Key{key}, err
}
