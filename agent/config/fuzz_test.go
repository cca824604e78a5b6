package config

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

func FuzzLoad(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range fixtures {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("locals { a = \"${\"${\"\" }\" }\" }\r\n\xef\xbb\xbf"))
	f.Add([]byte("token \"a\" { for_each = toset([null])\n source = source.a.b[*] }"))
	path := filepath.Join(f.TempDir(), "a.hcl")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		config, faults := Load(t.Context(), []string{path}, fakes("key"), testEnvironment())
		if err := faults.WriteText(io.Discard); err != nil {
			t.Fatal(err)
		}
		if !faults.HasErrors() && config.Settings.LogLevel == "" {
			t.Error("a configuration without errors has no settings")
		}
		for _, fault := range faults {
			if fault.Summary == "" || fault.File != path {
				t.Errorf("a fault of nowhere: %+v", fault)
			}
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"90s", "1h30m", "2d12h", "3600", "-1s", "106752d", "１h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err == nil && d < 0 {
			t.Errorf("%q is %s", text, d)
		}
	})
}

func FuzzParseMode(f *testing.F) {
	for _, text := range []string{"0600", "640", "0o600", "4755"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mode, err := parseMode(text)
		if err == nil && mode&^0o777 != 0 {
			t.Errorf("%q is %v", text, mode)
		}
	})
}

func FuzzParseCron(f *testing.F) {
	for _, text := range []string{"30 4 * * *", "TZ=UTC", "CRON_TZ=Europe/Berlin 0 3 * * 1-5", "0 0 30 2 *", "@daily", "*/0 * * * *"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := agent.ParseCron(text)
		if (s == nil) == (err == nil) {
			t.Errorf("%q is %v, %v", text, s, err)
		}
	})
}
