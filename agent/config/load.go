// Package config turns HCL text into Renewers. It is handed the kinds of
// sources and sinks, and what it may know of the machine; it reads files,
// writes nothing, and logs nothing. All faults of all files are found in one
// run, each at its value.
package config

import (
	"context"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

// A Config is what a configuration says.
type Config struct {
	Settings Settings
	Renewers []agent.Renewer // in the order of the text, instances in that of their keys; also those without sinks
	Sources  []Source        // in the order of the text; nil after errors
	Doubts   []string        // how others than root could change the files; empty where nobody looked
	Files    []string        // absolute paths of every file and folder whose change is a reason to load again
}

// Settings are the agent block. What it leaves out is the zero value, but for
// LogLevel "info" and LogFormat "text".
type Settings struct {
	Name         string `hcl:"name,optional"` // of the configuration, where its state is kept; "": a name made of its paths
	StateDir     string `hcl:"state_dir,optional,path"`
	Control      string `hcl:"control,optional,path"`
	ControlGroup string `hcl:"control_group,optional"`
	LogLevel     string `hcl:"log_level,optional"`   // "debug", "info", "warn" or "error"
	LogFormat    string `hcl:"log_format,optional"`  // "text" or "json"
	RequireAll   bool   `hcl:"require_all,optional"` // every token is required, whatever its block says
}

// DefaultPaths are the paths to load where nobody names others. The folder conf.d
// need not exist, nor the file where conf.d has one.
func DefaultPaths() []string {
	return []string{"/etc/tokenagent/tokenagent.hcl", "/etc/tokenagent/conf.d/*.hcl"}
}

// Load reads the configuration from the paths, merged in their order: a file, a
// folder (its *.hcl, sorted by name, then those of conf.d in it), or FOLDER/*.hcl
// (only its *.hcl; the folder need not exist). A file need not exist where
// conf.d/*.hcl beside it is another of the paths and has files. After errors the Config, which is never nil, has no
// Renewers, but Files, so that one can wait for the change that corrects it, and
// what could be read of Settings, so that an agent that runs can be found.
//
// When ctx is done it returns at once, with a Config without Renewers and one fault. What
// hangs then, such as a folder or a lookup of a user, is left to hang.
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
		return &Config{}, Faults{{File: strings.Join(paths, ", "), Severity: severityError, Summary: "the configuration was not read to its end", Detail: "it was interrupted"}}
	}
	return all.config, all.faults
}

func loadWithin(ctx context.Context, most limits, paths []string, kinds Kinds, env Environment) (*Config, Faults) {
	l := newLoading(paths, kinds, env, &meter{ctx: ctx, limits: most})
	l.read()
	if faults := l.faults(); l.refused { // nothing that it names is looked at, or made
		return &Config{Files: l.watched, Settings: l.settings, Doubts: l.doubts}, faults
	}
	l.declare()
	l.evaluateLocals()
	l.decodeAgents()
	l.digestKey = l.env.DigestKey(l.settings)
	l.decodeSources()
	renewers := l.decodeTokens()
	l.shadows()
	faults := l.faults()
	if faults.HasErrors() {
		return &Config{Settings: l.settings, Files: l.watched, Doubts: l.doubts}, faults
	}
	return &Config{Settings: l.settings, Renewers: renewers, Sources: l.listed(), Files: l.watched, Doubts: l.doubts}, faults
}

// A loading is what one call of Load knows and has found so far.
type loading struct {
	paths     []string
	kinds     Kinds
	env       Environment
	meter     *meter
	functions *hcl.EvalContext // outermost: functions, and the names that all files share
	fields    map[reflect.Type][]field
	schedules map[string]cronResult
	hooks     map[*stanza]decodedHook

	files     []*file
	fileOrder map[string]int
	text      map[string][]byte
	lost      lost // what may stand in text that could not be read or parsed
	watched   []string

	agents      []*stanza // one, or a fault
	settings    Settings
	digestKey   []byte
	locals      map[string]*local
	localOrder  []*local
	sources     map[sourceName]*source
	sourceOrder []*source
	tokens      map[string]*stanza
	tokenOrder  []*stanza
	written     map[location]writer
	kept        map[location]writer // by what lies in folders that one source has to itself; see Block.Keep
	contenders  []contender

	shared     map[any]any     // see Block.Shared
	distrusted map[string]bool // paths by which others can change the configuration, that were reported
	doubts     []string        // see Config.Doubts
	refused    bool            // for one of them
	hung       map[string]bool // folders that did not answer, see Block.Look
	asked      bool            // see Block.Asked
	found      []finding
}

// lost says of what kinds there may be more blocks than were found. What refers to
// one that is not there may be right then.
type lost struct{ tokens, locals, sources bool }

func newLoading(paths []string, kinds Kinds, env Environment, m *meter) *loading {
	env = env.complete()
	l := &loading{
		paths:      paths,
		kinds:      kinds,
		env:        env,
		meter:      m,
		fields:     map[reflect.Type][]field{},
		schedules:  map[string]cronResult{},
		hooks:      map[*stanza]decodedHook{},
		fileOrder:  map[string]int{},
		text:       map[string][]byte{},
		locals:     map[string]*local{},
		sources:    map[sourceName]*source{},
		tokens:     map[string]*stanza{},
		written:    map[location]writer{},
		kept:       map[location]writer{},
		shared:     map[any]any{},
		hung:       map[string]bool{},
		distrusted: map[string]bool{},
		settings:   Settings{LogLevel: "info", LogFormat: "text"},
	}
	l.functions = &hcl.EvalContext{Functions: functions(env, m.bytes), Variables: map[string]cty.Value{}}
	return l
}

func (l *loading) fault(at hcl.Range, summary, detail string) {
	l.found = append(l.found, finding{severity: severityError, at: at, summary: summary, detail: detail})
}

// decodeAgents fills the settings from the first agent block. Of any further one it
// says what is wrong.
func (l *loading) decodeAgents() {
	for i, s := range l.agents {
		into := &l.settings
		if i > 0 {
			into = &Settings{}
		}
		b := l.block(s, "", nil)
		b.decode(into)
		b.checkName(into)
		b.OneOf("log_level", into.LogLevel, "debug", "info", "warn", "error")
		b.OneOf("log_format", into.LogFormat, "text", "json")
	}
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

// watch adds an absolute path to those whose change is a reason to load again.
func (l *loading) watch(path string) {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if !slices.Contains(l.watched, path) {
		l.watched = append(l.watched, path)
	}
}
