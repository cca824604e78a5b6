package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// Kinds are the kinds of source and sink that a configuration may use: from the
// label of a block (source "local_key", sink "file") to what decodes it.
type Kinds struct {
	Sources map[string]SourceDecoder
	Sinks   map[string]SinkDecoder
	Hook    HookDecoder // nil: hook blocks are unknown

	Validate ValidateDecoder // nil: validate blocks are unknown
}

// A SourceDecoder makes the source that a block describes. After a fault it still
// returns what it can, so that the tokens of the source are checked in the same run;
// such a source is never asked for a token.
type SourceDecoder func(b *Block) Source

// A SinkDecoder makes the sink that a block describes, for a token that asks for
// req. After a fault it returns what it can.
type SinkDecoder func(b *Block, req agent.Request) Sink

// A HookDecoder makes the hook that a block describes, for that event. One without a
// Command is left out.
type HookDecoder func(b *Block, event hooks.Event) hooks.Hook

// A ValidateDecoder makes the validation that a block describes, for a token that asks
// for req and whose first sink is first. After a fault it returns the zero one.
type ValidateDecoder func(b *Block, req agent.Request, first Sink) agent.Validation

// A Source is a source block: what issues its tokens, and what its decoder knows of it.
type Source struct {
	Name   string       // source.refresh_token.cilogon; set by Load
	Place  string       // FILE:LINE of the block; set by Load
	Source agent.Source // nil where nothing could be made of the block

	Issuer   string        // as agent.Renewer has it
	Limits   queue.Limits  // as agent.Renewer has them
	Profile  string        // of a source of one profile: a token block that names none has this one, and another is a fault
	Lifetime time.Duration // of a token whose block names none; zero: the issuer decides
	Files    []string      // absolute paths of what it reads; a change is a reason to load again
	Key      SigningKey    // of a source that signs by itself
	Program  bool          // a program prints its tokens
	RunsAs   string        // the user whom its block names for that program; "": the agent's own

	// Ends is when the token ends with which the source asks for others; the zero time:
	// never. Its error says how to get such a token where there is none. nil: the source
	// asks without one.
	Ends func() (time.Time, error)

	// Check says what is wrong with a Request before anything is issued. Each
	// problem is shown at the attribute of the token block that its claim comes
	// from: aud at audience, scope at scope, sub at subject, exp at lifetime, iss,
	// alg and kid at source, any other at claims. A text of the form "what; what is
	// allowed" is shown as summary and detail. nil: nothing can be wrong.
	Check func(agent.Request) []profile.Problem
	// ComparesScope says that the source itself compares audience and scope of a
	// token with the Request, with what its issuer says of them beside the token.
	// What it lets pass is in the token's Note.
	ComparesScope bool
	// Opaque says that nothing in its tokens is read, whatever they look like.
	Opaque bool
}

// A SigningKey is what is known of a key before it signs a token.
type SigningKey struct {
	Issuer string       // the claim iss of its tokens; "": not known
	ID     string       // the header kid of its tokens; "": not known
	Mark   agent.Secret // equal for equal keys: another key makes another definition; cleared by Load
}

// A Sink is a sink block: where it puts the token, and what its decoder knows of it.
type Sink struct {
	agent.Target
	Owner     string // of the file, as the block names it; "": the agent's own user
	Condor    bool   // HTCondor chooses among the tokens in the folder of the file
	CondorUID int    // the user whose HTCondor does
}

// A loading is what the blocks of one load have in common.
type loading struct {
	kinds      Kinds
	env        Environment
	found      *findings
	eval       *evaluator
	places     *places
	settings   Settings
	digestKey  []byte
	sources    map[sourceName]*source // those that could be decoded, the first of each name
	contenders []contender
	shared     map[any]any // see once
	asked      bool        // see Block.Asked
}

// once is the value that make returns for the key the first time.
func once[T any](l *loading, key any, make func() T) T {
	value, made := l.shared[key]
	if !made {
		value = make()
		l.shared[key] = value
	}
	known, _ := value.(T)
	return known
}

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

func (l *loading) block(s *stanza, name string, in *instance) *Block {
	return &Block{load: l, stanza: s, values: l.eval.values(s, in), name: name, instance: in}
}

// Name is the name of a source as its second label gives it, or the name of the
// token that a sink belongs to, as in agent.Renewer.
func (b *Block) Name() string { return b.name }

// DefinitionsOnly reports whether only the text is to be checked, on a machine
// that is not the one it is for: then a decoder looks at no key, secret, user
// or folder, and still returns what it made.
func (b *Block) DefinitionsOnly() bool { return b.load.env.Definitions }

// Checking reports whether to find out all that can be wrong, as check does. Otherwise a
// decoder leaves out what costs time and changes no token.
func (b *Block) Checking() bool { return b.load.env.Checking }

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

// Getenv is the variable of the agent's environment; "" where it is not set.
func (b *Block) Getenv(name string) string { return b.load.env.Machine.Getenv(name) }

// LookPath is the absolute path of the program of that name in the agent's PATH. It
// is not for a decoder that looks at definitions only.
func (b *Block) LookPath(name string) (string, error) { return b.load.env.Machine.LookPath(name) }

// State is where this configuration keeps what must outlast a restart.
func (b *Block) State() State { return b.load.env.State(b.load.settings) }

// Scratch is where private folders for one program may be made: how their paths begin,
// the best first.
func (b *Block) Scratch() []string { return b.load.env.Scratch(b.load.settings) }

// Command is what a person types into a shell to run this program with the
// arguments, on the same configuration.
func (b *Block) Command(args ...string) string { return b.load.env.Command(b.load.settings, args...) }

// Trust is the rule for who may change other files that a block names. Where nobody
// looks, it is the rule for what root alone may change.
func (b *Block) Trust() host.Trust {
	if b.load.env.Trust == nil {
		return host.Trust{}
	}
	return *b.load.env.Trust
}

// Trusting reports whether decoders look at who else could change a file.
func (b *Block) Trusting() bool { return b.load.env.Trust != nil && !b.DefinitionsOnly() }

// Look calls f, which looks at the folder, and reports whether it returned. Where the
// folder's server is gone, f hangs, see [host.Call]: then nothing that f uses may be
// used any more. Such a folder is not looked at again in this load, and after several
// of them no folder is.
func (b *Block) Look(folder string, f func()) (answered bool) { return b.load.places.look(folder, f) }

// Shared is what several blocks of one load share, such as what was found out
// about the machine: make is called once for each key.
func (b *Block) Shared(key any, make func() any) any { return once(b.load, key, make) }

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
		return // this fault would only follow from that one
	}
	b.wrong, b.faulty = append(b.wrong, attr), true
	b.report(severityError, b.place(attr), summary, detail)
}

// Warn reports what is not wrong but surely not meant, like Fault.
func (b *Block) Warn(attr, summary, detail string) {
	if !slices.Contains(b.unread, attr) {
		b.report(severityWarning, b.place(attr), summary, detail)
	}
}

func (b *Block) report(severity string, at hcl.Range, summary, detail string) {
	b.load.found.list = append(b.load.found.list, finding{severity, at, summary, detail, b.instance})
}

// OneOf reports a value of the attribute that is set, but none of those allowed.
func (b *Block) OneOf(attr, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		b.Fault(attr, fmt.Sprintf("unknown %s %q", attr, value),
			suggestion(value, allowed, "%q", fmt.Sprintf(`it is "%s"`, strings.Join(allowed, `", "`))))
	}
}

// Wrong reports whether an error was reported at the attribute, or whether an unknown
// attribute is probably meant for it.
func (b *Block) Wrong(attr string) bool {
	return slices.Contains(b.wrong, attr) || slices.Contains(b.unread, attr)
}

// Faulty reports whether an error was reported of the block.
func (b *Block) Faulty() bool { return b.faulty }

// Keep notes that the folder of the file belongs to the source alone: what else lies
// there would be used in its place. The attribute names the folder. One that another
// source has is a fault.
func (b *Block) Keep(attr, file string) {
	if b.stanza.spare || b.Wrong(attr) {
		return // which was reported
	}
	p, folder := b.load.places, filepath.Dir(file)
	where := p.locateFolder(folder)
	if first, taken := p.folders[where]; taken {
		b.Fault(attr, "duplicate "+attr, fmt.Sprintf("%s keeps its token in %s, at %s; name a folder of its own for each source", first.what, folder, placeText(first.at)))
		return
	}
	p.folders[where] = writer{nameOf(b.stanza).String(), true, b.place(attr)}
}

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
