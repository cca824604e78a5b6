package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/sources/keys"
)

func newKeyCreate() *cobra.Command {
	var algorithm, format string
	c := &cobra.Command{
		Use:   "create FILE",
		Short: "Make a new private key that only its owner can read, and print its key ID",
		Long: `Make a new private key in FILE, which must not exist yet and which only its
owner can read (0600), and print its key ID. With - it goes to standard output,
and its key ID to standard error.`,
		Example: `  tokenagent key create /etc/tokenagent/keys/ospool.pem
  tokenagent key create --algorithm RS256 --format jwk key.jwk
  tokenagent key create --algorithm EdDSA --format clustercockpit -`,
		Args: arguments(1, 1, "FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			key, text, err := generate(algorithm, format)
			if err != nil {
				return err
			}
			if args[0] == "-" {
				fmt.Fprintln(c.ErrOrStderr(), key.ID())
				_, err = c.OutOrStdout().Write(text)
				return err
			}
			if err := writeNew(args[0], text, 0o600); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), key.ID())
			return err
		},
	}
	c.Flags().StringVar(&algorithm, "algorithm", "ES256", "what the key signs with, by `name`: "+strings.Join(keys.Algorithms(), ", "))
	c.Flags().StringVar(&format, "format", "pem", "by `name`: pem (PKCS#8), jwk (RFC 7517) or clustercockpit (EdDSA only)")
	return c
}

// generate makes a key and the text of its file.
func generate(algorithm, format string) (key keys.Key, text []byte, err error) {
	write, known := privateFormats[format]
	if !known {
		return key, nil, usage("--format %s: unknown; there are pem, jwk and clustercockpit", format)
	}
	if !slices.Contains(keys.Algorithms(), algorithm) {
		return key, nil, usage("--algorithm %s: unknown; there are %s", algorithm, strings.Join(keys.Algorithms(), ", "))
	}
	if key, err = keys.Generate(algorithm); err != nil {
		return key, nil, err
	}
	if text, err = write(key); err != nil {
		return key, nil, usage("--format %s: %v", format, err)
	}
	return key, text, nil
}

// privateFormats write a private key.
var privateFormats = map[string]func(keys.Key) ([]byte, error){
	"pem":            keys.Key.MarshalPEM,
	"jwk":            keys.Key.MarshalJWK,
	"clustercockpit": keys.Key.MarshalClusterCockpit,
}

// writeNew writes a file that is not there yet. On an error none is left.
func writeNew(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: the file exists already and is kept; move it away or choose another name", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
	}
	return err
}
