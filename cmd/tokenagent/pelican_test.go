package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sources/keys"
)

func TestPelicansKeyIsTheOneWhoseNameComesFirst(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"the old place alone":       {[]string{"issuer.jwk"}, "issuer.jwk"},
		"the new place alone":       {[]string{"issuer-keys/b.pem", "issuer-keys/a.jwk"}, "issuer-keys/a.jwk"},
		"a generated name is later": {[]string{"issuer.jwk", "issuer-keys/pelican_generated_1_2.pem"}, "issuer.jwk"},
		"an earlier one is chosen":  {[]string{"issuer.jwk", "issuer-keys/2026.pem"}, "issuer-keys/2026.pem"},
		"others are no keys":        {[]string{"issuer.jwk", "issuer-keys/README"}, "issuer.jwk"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			ids := map[string]string{}
			for _, f := range c.files {
				ids[f] = putKey(t, filepath.Join(folder, f))
			}
			key, path, err := pelicanKey(folder)
			if err != nil {
				t.Fatal(err)
			}
			if path != filepath.Join(folder, c.want) || key.ID() != ids[c.want] {
				t.Errorf("chose %s", path)
			}
		})
	}
}

func TestWithoutPelicanTheFlagIsNamed(t *testing.T) {
	_, _, err := pelicanKey(t.TempDir())
	if e, ok := errors.AsType[*exitError](err); !ok || e.code != exitUsage || !strings.Contains(err.Error(), "--private-key") {
		t.Errorf("error is %v", err)
	}
}

func TestBrokenKeyOfPelicanIsNotPassedOver(t *testing.T) {
	folder := t.TempDir()
	putKey(t, filepath.Join(folder, "issuer.jwk"))
	check(t, os.MkdirAll(folder+"/issuer-keys", 0o700))
	put(t, folder+"/issuer-keys/a.pem", "no key")
	_, _, err := pelicanKey(folder)
	if err == nil || !strings.Contains(err.Error(), "a.pem") || !strings.Contains(err.Error(), "--private-key") {
		t.Errorf("error is %v", err)
	}
}

// putKey writes a new key with the mode that Pelican gives it, and returns its ID.
func putKey(t *testing.T, path string) string {
	t.Helper()
	key, err := keys.Generate("ES256")
	check(t, err)
	text, err := key.MarshalPEM()
	check(t, err)
	check(t, os.MkdirAll(filepath.Dir(path), 0o750))
	check(t, os.WriteFile(path, text, 0o640))
	return key.ID()
}
