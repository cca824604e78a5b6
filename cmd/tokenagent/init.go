package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/examples/configs"
	"github.com/tokenagent/tokenagent/sinks/safefile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

const (
	configName = "tokenagent.hcl"
	keyName    = "key.pem" // as the configurations in examples/configs call it
)

func newInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init KIND [DIR]",
		Short: "Start a configuration: print one with comments, or write it with the key it needs",
		Long: `Start a configuration: print one with comments, or, with DIR, write it there as
` + configName + ` together with the signing key that it needs. What lies there already
is left as it is.

KIND is one of: ` + strings.Join(initKinds(), ", ") + `.`,
		Example: `  tokenagent init quickstart .quickstart   tokens of a minute, to watch
  tokenagent init local-key                print it
  tokenagent init local-key robot          write it, with a key, into the folder robot`,
		Args:      arguments(1, 2, "KIND"),
		ValidArgs: initKinds(),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := configs.Files.ReadFile(args[0] + ".hcl")
			if err != nil {
				return usage("there is no configuration %q to start with; there are: %s", args[0], strings.Join(initKinds(), ", "))
			}
			if len(args) == 1 {
				_, err = c.OutOrStdout().Write(text)
				return err
			}
			return begin(c.OutOrStdout(), args[1], text)
		},
	}
}

// initKinds are the configurations to start with.
func initKinds() []string {
	files, _ := fs.Glob(configs.Files, "*.hcl") // the pattern is well formed
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".hcl")
	}
	return files
}

// begin writes the configuration and its key into the folder, and prints what to do
// next.
func begin(w io.Writer, folder string, text []byte) error {
	withKey := strings.Contains(string(text), "${path.config}/"+keyName)
	if withKey {
		if err := readableLater(folder); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if withKey {
		if err := offer(w, filepath.Join(folder, keyName), 0o600, newPEM); err != nil {
			return err
		}
	}
	config := filepath.Join(folder, configName)
	if err := offer(w, config, 0o644, func() ([]byte, error) { return text, nil }); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, `next:
  tokenagent check --config %[1]s
  tokenagent run --config %[1]s
  tokenagent status --config %[1]s      in another terminal
`, host.ShellWord(config))
	return err
}

// readableLater is the error of a folder where root would make a key that its agent
// could not read: below another user's folder it reads as that user.
func readableLater(folder string) error {
	path, err := filepath.Abs(filepath.Join(folder, keyName))
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	_, err = safefile.New(safefile.Target{Path: path, Owner: host.Self(), Mode: 0o600}).Check()
	if foreign, ok := errors.AsType[*safefile.Foreign](err); ok {
		return fmt.Errorf("%s: %w; an agent of root could not read the key there; run this as that user, or name a folder of root's, such as /etc/tokenagent", folder, foreign)
	}
	return nil // writing the files finds what else is wrong
}

// offer writes a file unless one exists there, and prints which it did.
func offer(w io.Writer, path string, mode fs.FileMode, content func() ([]byte, error)) error {
	if _, err := os.Lstat(path); err == nil {
		fmt.Fprintf(w, "left as it is: %s\n", path)
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := content()
	if err != nil {
		return err
	}
	if err := writeNew(path, text, mode); err != nil {
		return err
	}
	fmt.Fprintf(w, "written: %s\n", path)
	return nil
}

// newPEM is a new EC key for P-256, which every profile of asymmetric tokens allows.
func newPEM() ([]byte, error) {
	key, err := keys.Generate("ES256")
	if err != nil {
		return nil, err
	}
	return key.MarshalPEM()
}
