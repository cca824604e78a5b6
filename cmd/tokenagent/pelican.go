package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// pelicanKey finds the key with which the Pelican origin configured in the folder
// signs, and its path: of issuer.jwk and the files in issuer-keys the one whose name
// comes first. Pelican keeps these files readable by its own user and group, so their
// modes are not checked here.
func pelicanKey(folder string) (keys.Key, string, error) {
	found := []string{filepath.Join(folder, "issuer.jwk")}
	for _, pattern := range []string{"*.pem", "*.jwk"} {
		more, _ := filepath.Glob(filepath.Join(folder, "issuer-keys", pattern)) // the pattern is well formed
		found = append(found, more...)
	}
	slices.SortStableFunc(found, func(a, b string) int { return cmp.Compare(filepath.Base(a), filepath.Base(b)) })
	for _, path := range found {
		text, err := readAtMost(path, keys.MaxFile)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return keys.Key{}, "", fmt.Errorf("the key of Pelican: %w; name another with --private-key", err)
		}
		key, err := keys.Parse(text, "")
		if err == nil {
			err = keys.RefuseDemonstration(key)
		}
		if err != nil {
			return keys.Key{}, "", fmt.Errorf("the key of Pelican, %s: %w; name another with --private-key", path, err)
		}
		return key, path, nil
	}
	return keys.Key{}, "", usage("--private-key is missing: name the file of the signing key (tokenagent key create makes one); there is no key of Pelican in %s", folder)
}

// pelicanFolder is where Pelican is configured: for root in /etc, else at home.
func pelicanFolder() (string, error) {
	if os.Geteuid() == 0 {
		return "/etc/pelican", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usage("--private-key is missing: name the file of the signing key")
	}
	return filepath.Join(home, ".config", "pelican"), nil
}

// readAtMost reads a file of at most so many bytes, without checks of its mode.
func readAtMost(path string, most int64) ([]byte, error) {
	f, err := host.OpenPlain(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	return readAll(f, path, most)
}

// readAll reads at most so many bytes. Its errors begin with the name.
func readAll(r io.Reader, name string, most int64) ([]byte, error) {
	text, err := host.ReadAtMost(r, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}
