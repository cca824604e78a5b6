package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks"
	"github.com/tokenagent/tokenagent/sources"
)

// A place says where the configuration lies and where its agent answers.
type place struct {
	configs  []string                     // files and folders; none: the default
	socket   string                       // "": as the configuration says
	runs     bool                         // programs of it run, or get secrets, so others must not be able to change it
	tells    bool                         // warn when others can change it, even where only its text counts
	doubts   []string                     // who else can change what was read last; see config.Config
	checking bool                         // see config.Environment
	key      func(config.Settings) []byte // see config.Environment; nil where digests are not compared
	sinkless bool                         // nothing is written and no hook runs: what those blocks say does not matter
	loaded   *config.Config               // the last that client read
	began    *state.Home                  // of the agent in this process, also after a reload; nil: no agent
}

func (p *place) flags(c *cobra.Command) {
	p.configFlag(c)
	c.Flags().StringVar(&p.socket, "control", "", "control `socket` of the agent (default: as the configuration says)")
}

func (p *place) configFlag(c *cobra.Command) {
	c.Flags().StringArrayVarP(&p.configs, "config", "c", nil, "configuration: a `path` of a file, or of a folder with *.hcl or conf.d/*.hcl; may be repeated (default "+strings.Join(config.DefaultPaths(), ", ")+")")
}

// kinds are all sources and sinks that a configuration may name.
var kinds = config.Kinds{Sources: sources.Kinds, Issuer: sources.DecodeIssuer, Sinks: sinks.Kinds, Hook: program.DecodeHook, Validate: sinks.DecodeValidate}

// withoutSinks are kinds that take every sink, hook and validation, and do nothing with them.
func withoutSinks() config.Kinds {
	k := config.Kinds{
		Sources: sources.Kinds,
		Issuer:  sources.DecodeIssuer,
		Sinks:   map[string]config.SinkDecoder{},
		Hook:    func(*config.Block, hooks.Event) hooks.Hook { return hooks.Hook{} },

		Validate: func(*config.Block, agent.Request, config.Sink) agent.Validation { return agent.Validation{} },
	}
	for kind := range sinks.Kinds {
		k.Sinks[kind] = func(*config.Block, agent.Request) config.Sink { return config.Sink{} }
	}
	return k
}

// paths are the files and folders to load.
func (p *place) paths() []string {
	if len(p.configs) == 0 {
		return config.DefaultPaths()
	}
	return p.configs
}

// load reads the configuration. Errors come as one faulted error; warnings are
// dropped.
func (p *place) load(ctx context.Context, definitions bool) (*config.Config, error) {
	cfg, faults := p.read(ctx, definitions)
	if faults.HasErrors() {
		return nil, p.refuse(faults.Errors())
	}
	return cfg, nil
}

// refuse is the error of a configuration with faults. Without any configuration it
// says how to start one.
func (p *place) refuse(faults config.Faults) error {
	text := textOf(faults)
	if _, err := os.Stat(config.DefaultPaths()[0]); len(p.configs) == 0 && errors.Is(err, fs.ErrNotExist) {
		text += "\nname another place with --config, or start one with tokenagent init"
	}
	return faulted(text)
}

// read is load for commands that report errors and warnings in their own way.
func (p *place) read(ctx context.Context, definitions bool) (*config.Config, config.Faults) {
	kinds := kinds
	if p.sinkless {
		kinds = withoutSinks()
	}
	env := p.environment(definitions)
	if !definitions || p.runs || p.tells {
		env.Trust, env.Strict = host.TrustOfRoot(os.Getenv), p.runs
	}
	cfg, faults := config.Load(ctx, p.paths(), kinds, env)
	p.doubts = cfg.Doubts
	return cfg, faults
}

// askAgent are the commands that take --control.
var askAgent = []string{"run", "once", "status", "refresh", "reload", "login", "issuer"}

// command is what a person types into a shell to run this program for this
// configuration and its agent. The first argument is the command. All advice to type
// a command comes from here.
func (p *place) command(s config.Settings, args ...string) string {
	words := append([]string{"tokenagent"}, args...)
	for _, path := range p.configs {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		words = append(words, "--config", path)
	}
	if p.socket != "" && slices.Contains(askAgent, args[0]) {
		words = append(words, "--control", p.socket)
	}
	for i, word := range words {
		words[i] = host.ShellWord(word)
	}
	if dir := folderFrom("STATE_DIRECTORY"); dir != "" && s.StateDir == "" && dir != usualState() {
		words = slices.Insert(words, 0, "STATE_DIRECTORY="+host.ShellWord(dir)) // set by systemd, but not in a person's shell
	}
	return strings.Join(words, " ")
}

// errInterrupted is the error of a command that a signal ended while it read.
var errInterrupted = &exitError{exitFailed, errors.New("interrupted before the configuration was read")}

func textOf(faults config.Faults) string {
	var text strings.Builder
	faults.WriteText(&text) // a strings.Builder takes everything
	return text.String()
}

// client is a client of this configuration's agent. Where faults hide the path of
// its socket, they are the error; the agent of the default configuration is looked
// for in the default place.
func (p *place) client(ctx context.Context) (*control.Client, error) {
	if p.socket != "" { // the configuration does not matter, and need not exist
		return control.NewClient(p.socket), nil
	}
	cfg, faults := p.read(ctx, true)
	p.loaded = cfg
	if faults.HasErrors() && cfg.Settings.Control == "" && len(p.configs) > 0 {
		return nil, faulted(textOf(faults.Errors()) + "\nno agent was asked: the configuration that says where it answers has faults; its socket can be named with --control")
	}
	return p.agent(ctx, cfg.Settings)
}

// agent is a client of the agent that serves this configuration. Where neither a flag
// nor the configuration names the socket, the agent that answers must follow these
// files: the agent of another configuration is refused.
func (p *place) agent(ctx context.Context, s config.Settings) (*control.Client, error) {
	paths := p.socketPaths(s)
	own := control.NewClient(paths[0])
	switch {
	case paths[0] == "":
		return nil, fmt.Errorf("%w: there is no folder for a control socket; set control in the agent block, or name a socket with --control", control.ErrNoAgent)
	case p.socket != "" || s.Control != "":
		return own, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	var another error
	for _, path := range paths {
		client := control.NewClient(path)
		theirs, err := client.Follows(ctx)
		switch {
		case errors.Is(err, control.ErrNoAgent):
			continue
		case err != nil || p.servedBy(theirs): // the next question will return the error too
			return client, nil
		}
		another = fmt.Errorf("control socket %s: %w for %s, only for %s; name the socket of the right one with --control (of tokenagent@NAME it is /run/tokenagent/NAME/control.sock)",
			path, control.ErrNoAgent, strings.Join(p.followed(), ", "), strings.Join(theirs, ", "))
	}
	return own, another
}

// servedBy reports whether an agent that follows these files serves this
// configuration.
func (p *place) servedBy(theirs []string) bool {
	ours := p.followed()
	return serves(ours, theirs) || p.isDefault() && slices.Contains(theirs, new(place).followed()[0])
}
