// Package config turns HCL text into Renewers. It is given the kinds of sources and sinks,
// and what it may know of the machine. It reads files, writes nothing and logs nothing. It
// finds all faults of all files in one run, each at its value.
//
// Load goes from step to step, and each has a type: a reader reads and parses files, a
// document is what they declare, a resolver checks the names in expressions, an evaluator
// gives values, and a loading decodes blocks with them. Each Block goes to the decoder of
// its kind. All of them report to the same findings.
package config

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

// A Config is what a configuration says.
type Config struct {
	Settings Settings
	Renewers []agent.Renewer // in the order of the text, instances in that of their keys; also those without sinks
	Sources  []Source        // in the order of the text; nil after errors
	Doubts   []string        // how others than root could change the files; nil where nobody looked
	Files    []string        // absolute paths of all files and folders whose change is a reason to load again
}

// DefaultPaths are the paths to load where nobody names others. The folder conf.d
// need not exist, nor the file where conf.d has one.
func DefaultPaths() []string {
	return []string{"/etc/tokenagent/tokenagent.hcl", "/etc/tokenagent/conf.d/*.hcl"}
}

// Load reads the configuration from the paths, merged in their order: a file, a folder (its
// *.hcl, sorted by name, then those of conf.d in it), or FOLDER/*.hcl (only its *.hcl; the
// folder need not exist). A file need not exist where conf.d/*.hcl beside it is another of
// the paths and has files.
//
// The Config is never nil. After errors it has no Renewers and Sources. It has Files, so
// that a caller can wait for a correction, and what could be read of Settings, so that a
// caller can find the running agent.
//
// When ctx is done, Load returns at once, with a Config without Renewers and one fault. It
// does not wait for what hangs, such as a folder or the lookup of a user.
func Load(ctx context.Context, paths []string, kinds Kinds, env Environment) (*Config, Faults) {
	type loaded struct {
		config *Config
		faults Faults
	}
	all, returned := host.Await(ctx, func() (all loaded) {
		all.config, all.faults = loadWithin(ctx, usual, paths, kinds, env)
		return all
	})
	if !returned {
		return &Config{}, Faults{{File: strings.Join(paths, ", "), Severity: severityError, Summary: "the configuration was not read completely", Detail: "it was interrupted"}}
	}
	return all.config, all.faults
}

func loadWithin(ctx context.Context, most limits, paths []string, kinds Kinds, env Environment) (*Config, Faults) {
	env = env.complete()
	found := newFindings()
	r := &reader{
		paths: paths, found: found, included: map[string]included{},
		guard: &guard{trust: env.Trust, strict: env.Strict, found: found, known: map[string]bool{}},
	}
	r.read()
	config := &Config{Settings: Settings{LogLevel: "info", LogFormat: "text"}, Files: r.watched, Doubts: r.guard.doubts}
	if r.guard.refused { // look at nothing that it names
		return config, found.faults()
	}
	d := declare(r, slices.Sorted(maps.Keys(kinds.Sources)))
	l := newLoading(kinds, env, newEvaluator(d, r, &meter{interrupted: ctx.Err, limits: most}, env))
	r.note = func(path string) {
		l.places.readBy("the configuration", hcl.Range{Filename: path, Start: hcl.InitialPos}, path)
	}
	for _, s := range d.tokenOrder { // before its references are looked at: it may have a for_each
		correct(s, tokenAttributes, l.blocksInToken(), found)
	}
	resolver{d, env}.resolveAll()
	for _, name := range r.names {
		r.note(name)
	}
	l.eval.evaluateLocals()
	l.decodeSettings()
	sources := l.decodeSources()
	renewers := l.decodeTokens()
	l.reportShadows()
	config.Settings, config.Files, config.Doubts = l.settings, r.watched, r.guard.doubts
	for _, s := range sources {
		config.Files = append(config.Files, s.Files...)
	}
	faults := r.cover(found.faults())
	if !faults.HasErrors() {
		config.Renewers, config.Sources = renewers, sources
	}
	return config, faults
}

func newLoading(kinds Kinds, env Environment, eval *evaluator) *loading {
	return &loading{
		kinds:    kinds,
		env:      env,
		found:    eval.found,
		eval:     eval,
		places:   newPlaces(env.Definitions),
		settings: Settings{LogLevel: "info", LogFormat: "text"},
		sources:  map[sourceName]*source{},
		shared:   map[any]any{},
	}
}

// decodeSettings fills the settings from the first agent block. A further one is only
// checked.
func (l *loading) decodeSettings() {
	for i, s := range l.eval.agents {
		into := &l.settings
		if i > 0 {
			into = &Settings{}
		}
		b := l.block(s, "", nil)
		b.Decode(into)
		b.checkName(into)
		b.OneOf("log_level", into.LogLevel, "debug", "info", "warn", "error")
		b.OneOf("log_format", into.LogFormat, "text", "json")
	}
	l.digestKey = l.env.DigestKey(l.settings)
}

// fileName is what the name of a configuration looks like.
var fileName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// checkName reports a name that a folder cannot have.
func (b *Block) checkName(s *Settings) {
	if !b.Has("name") || b.Wrong("name") || fileName.MatchString(s.Name) && s.Name != "." && s.Name != ".." {
		return
	}
	b.Fault("name", "not a name for a configuration", `a folder gets this name: 1 to 64 letters, digits, ".", "_" and "-" are allowed, but not "." or ".." alone`)
	s.Name = ""
}
