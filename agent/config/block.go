package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

// Kinds are the kinds of source and sink that a configuration may use: from the
// label of a block (source "local_key", sink "file") to what decodes it.
type Kinds struct {
	Sources map[string]SourceDecoder
	Sinks   map[string]SinkDecoder
	Hook    HookDecoder // there is but one kind; nil: hook blocks are unknown
}

// A SourceDecoder makes the source that a block describes. After a fault it still
// returns what it can, so that the tokens of the source are checked in the same run;
// such a source is never asked for a token.
type SourceDecoder func(b *Block) Source

// A SinkDecoder makes the sink that a block describes, for a token that asks for
// req. After a fault it returns what it can.
type SinkDecoder func(b *Block, req agent.Request) Sink

// A Sink is a sink block: where it puts the token, and what its decoder knows of it.
type Sink struct {
	agent.Target
	Condor    bool // HTCondor chooses among the tokens in the folder of the file
	CondorUID int  // the user whose HTCondor does
}

// A HookDecoder makes the hook that a block describes, for that event; false
// after a fault.
type HookDecoder func(b *Block, event hooks.Event) (hooks.Hook, bool)

// A Block is one source, sink or hook block of the configuration as its decoder sees
// it, with all expressions evaluated. The text of faults is lower case without
// a full stop and holds no secret.
type Block struct {
	load     *loading
	stanza   *stanza
	values   []cty.Value // those of stanza.attributes, in that order
	name     string
	instance *instance // nil outside of a token with for_each
	wrong    []string  // attributes with an error
	unread   []string  // attributes that have no value because of an error
	faulty   bool      // an error was reported of it, at an attribute or not
}

// Name is the name of a source as its second label gives it, or the name of the
// token that a sink belongs to, as in agent.Renewer.
func (b *Block) Name() string { return b.name }

// DefinitionsOnly reports whether only the text is to be checked, on a machine
// that is not the one it is for: then a decoder looks at no key, secret, user
// or folder, and still returns what it made.
func (b *Block) DefinitionsOnly() bool { return b.load.env.Definitions }

// Knob is what HTCondor's configuration on this machine says under the name, such
// as TRUST_DOMAIN; an error, which begins with the name, where it says nothing.
// It is not for a decoder that looks at definitions only.
func (b *Block) Knob(name string) (string, error) {
	b.load.asked = true
	return b.load.env.Machine.Knob(name)
}

// Asked reports whether a block has asked Knob before. Then another question costs
// nothing: HTCondor tells all of its configuration at once.
func (b *Block) Asked() bool { return b.load.asked }

// CEKnob is Knob of HTCondor-CE's configuration.
func (b *Block) CEKnob(name string) (string, error) { return b.load.env.Machine.CEKnob(name) }

// Checking reports whether somebody wants to know all that can be found out, as
// check does: what costs time and changes no token is left out otherwise.
func (b *Block) Checking() bool { return b.load.env.Checking }

// Getenv is the variable of the agent's environment; "" where it is not set.
func (b *Block) Getenv(name string) string { return b.load.env.Machine.Getenv(name) }

// LookPath is the absolute path of the program of that name in the agent's PATH. It
// is not for a decoder that looks at definitions only.
func (b *Block) LookPath(name string) (string, error) { return b.load.env.Machine.LookPath(name) }

// State is where this configuration keeps what must outlast a restart.
func (b *Block) State() State { return b.load.env.State(b.load.settings) }

// Command is what a person types into a shell to run this program with the
// arguments, on the same configuration.
func (b *Block) Command(args ...string) string { return b.load.env.Command(b.load.settings, args...) }

// Shared is what several blocks of one load share, such as what was found out
// about the machine: make is called once for each key.
func (b *Block) Shared(key any, make func() any) any {
	shared, made := b.load.shared[key]
	if !made {
		shared = make()
		b.load.shared[key] = shared
	}
	return shared
}

// Has reports whether the attribute is set. One that is null is not.
func (b *Block) Has(attr string) bool {
	v, set := b.value(attr)
	return set && !v.IsNull()
}

// Fault reports an error at the value of the attribute, or at the header of the
// block where attr is "" or not set. The summary says in a few words what is
// wrong, the detail what is allowed or what to do. It is not shown where Decode has
// found no value of the attribute, and reported that.
func (b *Block) Fault(attr, summary, detail string) {
	if slices.Contains(b.unread, attr) {
		return // what is said of a value that there is not follows from why there is none
	}
	b.wrong, b.faulty = append(b.wrong, attr), true
	b.report(severityError, b.place(attr), summary, detail)
}

// Warn reports what is not wrong but surely not meant, like Fault.
func (b *Block) Warn(attr, summary, detail string) {
	if slices.Contains(b.unread, attr) {
		return
	}
	b.report(severityWarning, b.place(attr), summary, detail)
}

func (b *Block) report(severity string, at hcl.Range, summary, detail string) {
	b.load.found = append(b.load.found, finding{severity, at, summary, detail, b.instance})
}

// Wrong reports whether an error was reported at the attribute, or whether an unknown
// attribute is probably meant for it.
func (b *Block) Wrong(attr string) bool {
	return slices.Contains(b.wrong, attr) || slices.Contains(b.unread, attr)
}

// Faulty reports whether an error was reported of the block.
func (b *Block) Faulty() bool { return b.faulty }

// place is where a fault of the attribute is shown.
func (b *Block) place(attr string) hcl.Range {
	if a := b.stanza.attribute(attr); a != nil {
		return a.expr.Range()
	}
	return b.stanza.header
}

func (b *Block) value(attr string) (v cty.Value, set bool) {
	a := b.stanza.attribute(attr)
	if a == nil {
		return cty.NilVal, false
	}
	return b.values[a.index], true
}
