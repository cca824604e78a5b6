package config

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// fakeSource is a source of the kind "fake".
type fakeSource struct {
	Issuer  string        `hcl:"issuer"`
	KeyFile string        `hcl:"key_file,optional,path"`
	KeyID   string        `hcl:"key_id,optional"`
	Size    int           `hcl:"size,optional"`
	Share   float64       `hcl:"share,optional"`
	Wait    time.Duration `hcl:"wait,optional"`
}

func (s *fakeSource) Issue(context.Context, agent.Request) (agent.Token, error) {
	return agent.Token{}, errors.New("no tokens here")
}

// facts are those of a source with that signing key.
func (s *fakeSource) facts(key string) Source {
	facts := Source{Source: s, Lifetime: time.Hour, Check: s.check, Key: SigningKey{Issuer: s.Issuer, ID: "POOL", Mark: agent.NewSecret(key)}}
	if s.KeyFile != "" {
		facts.Files = []string{s.KeyFile}
	}
	return facts
}

// check finds fault with an audience that is missing, and with the claims "wrong" and
// "odd".
func (s *fakeSource) check(req agent.Request) (problems []profile.Problem) {
	if req.Profile == "wlcg" && len(req.Audience) == 0 {
		problems = append(problems, profile.Problem{Claim: "aud", Text: "it is missing; write audience"})
	}
	if _, there := req.Claims["odd"]; there {
		problems = append(problems, profile.Problem{Text: "a claim is odd for the profile; leave it out"})
	}
	if slices.Contains(req.Scope, "odd") {
		problems = append(problems, profile.Problem{Claim: "scope", Text: "odd is unusual; leave it out", Warning: true})
	}
	if _, there := req.Claims["wrong"]; there {
		problems = append(problems, profile.Problem{Claim: "wrong", Text: "it is never right; leave it out"})
	}
	return problems
}

// fakeSink is a sink of the kind "fake".
type fakeSink struct {
	File   string      `hcl:"path,path"`
	Mode   fs.FileMode `hcl:"mode,optional"`
	Create bool        `hcl:"create_dir,optional"`
	token  string
	req    agent.Request
}

func (s *fakeSink) Put(context.Context, agent.Token) (agent.Written, error) {
	return agent.Written{Changed: true}, nil
}

// facts say that somebody's HTCondor reads the files of each folder tokens.d, and
// somebody else's the read-only ones in it.
func (s *fakeSink) facts() Sink {
	folder := filepath.Dir(s.File)
	target := agent.Target{Sink: s, Name: s.File, Queue: folder, Path: s.File}
	return Sink{Target: target, Owner: "robot", Condor: filepath.Base(folder) == "tokens.d", CondorUID: int(s.Mode & 0o200)}
}

// fakes are the kinds of the tests; key is the signing key of every source.
func fakes(key string) Kinds {
	return Kinds{
		Sources: map[string]SourceDecoder{"fake": func(b *Block) Source {
			s := &fakeSource{}
			b.Decode(s)
			if s.Size > 9 {
				b.Fault("size", "size is too large", "it is at most 9")
			}
			if s.Size < 0 {
				b.Fault("", "no room", "a size below zero leaves none")
			}
			return s.facts(key)
		}},
		Sinks: map[string]SinkDecoder{"fake": func(b *Block, req agent.Request) Sink {
			s := &fakeSink{Mode: 0o600, token: b.Name(), req: req}
			b.Decode(s)
			return s.facts()
		}},
		Hook: func(b *Block, event hooks.Event) hooks.Hook {
			var h fakeHook
			b.Decode(&h)
			return hooks.Hook{Event: event, Key: strings.Join(h.Command, " "), Before: h.Before, Command: &h}
		},
		Validate: func(b *Block, req agent.Request, first Sink) agent.Validation {
			h := fakeHook{User: first.Owner}
			b.Decode(&h)
			return agent.Validation{Validate: h.Validate, Key: strings.Join(h.Command, " "), Queue: req.Profile + " as " + h.User}
		},
	}
}

// fakeHook is what a hook or validate block runs.
type fakeHook struct {
	Command []string      `hcl:"command"`
	User    string        `hcl:"user,optional"`
	Before  time.Duration `hcl:"before,optional"`
}

func (*fakeHook) Validate(context.Context, agent.Token) error { return nil }

func (*fakeHook) Run(context.Context, hooks.Event, []hooks.Notice) error { return nil }

func testEnvironment() Environment {
	return Environment{
		Machine: Machine{
			Seed:     "seed",
			Getenv:   func(name string) string { return map[string]string{"SITE": "north"}[name] },
			Hostname: func() (string, error) { return "node1", nil },
			FQDN:     func() (string, error) { return "", errors.New("no such host") },
		},
		Discovery: "/tmp/bt_u0",
		DigestKey: func(Settings) []byte { return []byte("digest key") },
	}
}

// write puts files into a new folder, and gives the folder.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// load loads one file that is to have no errors.
func load(t testing.TB, text string) *Config {
	t.Helper()
	folder := write(t, map[string]string{"a.hcl": text})
	config, faults := Load(t.Context(), []string{folder}, fakes("key"), testEnvironment())
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return config
}

// loadFaults loads one file and gives the faults as text, one a line.
func loadFaults(t testing.TB, text string) string {
	t.Helper()
	folder := write(t, map[string]string{"a.hcl": text})
	_, faults := Load(t.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), testEnvironment())
	return strings.ReplaceAll(faults.Error(), folder+"/", "")
}

func replaceIn(t *testing.T, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("%q is not in the text", from)
	}
	return strings.Replace(text, from, to, 1)
}
