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
	Issuer  SourceDecoder // of an issuer block
	Hook    HookDecoder   // nil: hook blocks are unknown

	Validate ValidateDecoder // nil: validate blocks are unknown
}

// A SourceDecoder makes the source that a block describes. After a fault it still returns
// what it can, so that the tokens of the source are checked in the same run. That source
// is never asked for a token.
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
	Identity
	Source agent.Source // nil where nothing could be made of the block

	Issuer   queue.Issuer  // as agent.Renewer has it
	Profile  string        // the only one of its tokens: a block that names another is at fault; "": any
	Lifetime time.Duration // of a token whose block names none; zero: the issuer decides
	Files    []string      // absolute paths of what it reads; a change is a reason to load again
	Key      SigningKey    // of a source that signs by itself
	Program  bool          // a program prints its tokens
	RunsAs   string        // the user whom its block names for that program; "": the agent's own

	// Ends are those of what the source asks with; nil: it asks with nothing that ends.
	Ends func() []End

	// Check says what is wrong with a Request before anything is issued. Each problem is
	// shown at the attribute that its claim comes from: aud at audience, scope at scope,
	// sub at subject, exp at lifetime, iss, alg and kid at source, any other at claims. A
	// text of the form "what; what is allowed" is shown as summary and detail. nil: nothing
	// can be wrong.
	Check func(agent.Request) []profile.Problem
	// ComparesScope says that the source itself compares audience and scope of a token with
	// the Request. It also knows what the issuer says of them outside the token. Differences
	// that it accepts are in the token's Note.
	ComparesScope bool
	// Form is as agent.Renewer has it.
	Form func(agent.Secret) int
	// Opaque says not to read its tokens, whatever they look like.
	Opaque bool
	// Apart are the attributes of the block that make no other tokens, so that a change of
	// them is no reason to issue any.
	Apart []string
}

// An End is that of what a source asks with.
type End struct {
	What string    // "token", "refresh token", "client certificate"
	At   time.Time // zero: never
	Err  error     // why that is not known, and how to get one
}

// An Identity is how a source is named. Load sets it.
type Identity struct {
	Name  string // source.refresh_token.cilogon
	Label string // as people type it: cilogon, or cilogon["cms"] of one with for_each
	Place string // FILE:LINE of the block
}

// A SigningKey is what is known of a key before it signs a token.
type SigningKey struct {
	Issuer string       // the claim iss of its tokens; "": not known
	ID     string       // the header kid of its tokens; "": not known
	Mark   agent.Secret // equal for equal keys, so that another key makes another definition; cleared by Load
}

// A Sink is a sink block: where the token goes, and what its decoder knows of it.
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
	sources    map[sourceName]*source // those that could be decoded: the first instance of each
	candidates []candidate
	shared     map[any]any // see once
	asked      bool        // Block.Asked
}

// once calls make the first time it is asked for the key, and keeps the value.
func once[T any](l *loading, key any, make func() T) T {
	value, made := l.shared[key]
	if !made {
		value = make()
		l.shared[key] = value
	}
	known, _ := value.(T)
	return known
}

// A Block is one block of the configuration as its decoder sees it, with all expressions
// evaluated. A decoder writes the text of faults in lower case, without a full stop and
// without secrets.
type Block struct {
	load     *loading
	stanza   *stanza
	values   []cty.Value // those of stanza.attributes, in that order
	name     string
	instance *instance // nil outside of a token with for_each
	wrong    []string  // attributes with an error
	unread   []string  // attributes that have no value because of an error
	faulty   bool      // it has an error, at an attribute or not
}

func (l *loading) block(s *stanza, name string, in *instance) *Block {
	return &Block{load: l, stanza: s, values: l.eval.values(s, in), name: name, instance: in}
}

// Name is the name of a source as its second label gives it, or the name of the
// token that a sink belongs to, as in agent.Renewer.
func (b *Block) Name() string { return b.name }

// DefinitionsOnly reports whether to check the text alone, as on a machine that it is not
// for. Then a decoder looks at no key, secret, user or folder, and still returns what it
// made.
func (b *Block) DefinitionsOnly() bool { return b.load.env.Definitions }

// Checking reports whether to find all that can be wrong, as the command check does.
// Otherwise a decoder leaves out what takes time and changes no token.
func (b *Block) Checking() bool { return b.load.env.Checking }

// Knob is the value of that name, such as TRUST_DOMAIN, in HTCondor's configuration on this
// machine. A value that is not set is an error; each error begins with the name. Where
// DefinitionsOnly is true, do not call it.
func (b *Block) Knob(name string) (string, error) {
	b.load.asked = true
	return b.load.env.Machine.Knob(name)
}

// Asked reports whether a block has called Knob before. HTCondor prints its whole
// configuration for the first question, so that another one costs nothing.
func (b *Block) Asked() bool { return b.load.asked }

// CEKnob is Knob of HTCondor-CE's configuration.
func (b *Block) CEKnob(name string) (string, error) { return b.load.env.Machine.CEKnob(name) }

// Getenv is the variable of the agent's environment; "" where it is not set.
func (b *Block) Getenv(name string) string { return b.load.env.Machine.Getenv(name) }

// LookPath is the absolute path of the program of that name in the agent's PATH. Where
// DefinitionsOnly is true, do not call it.
func (b *Block) LookPath(name string) (string, error) { return b.load.env.Machine.LookPath(name) }

// State is where this configuration keeps what must outlast a restart.
func (b *Block) State() State { return b.load.env.State(b.load.settings) }

// Scratch is where private folders for one program may be made: how their paths begin,
// the best first.
func (b *Block) Scratch() []string { return b.load.env.Scratch(b.load.settings) }

// Command is what a person types to run this program with the arguments, on the same
// configuration.
func (b *Block) Command(args ...string) string { return b.load.env.Command(b.load.settings, args...) }

// Trust is the rule for who may change other files that a block names. Where the
// Environment has no rule, it is the one for files that root alone may change.
func (b *Block) Trust() host.Trust {
	if b.load.env.Trust == nil {
		return host.Trust{}
	}
	return *b.load.env.Trust
}

// Trusting reports whether to look at who else could change a file.
func (b *Block) Trusting() bool { return b.load.env.Trust != nil && !b.DefinitionsOnly() }

// Look calls f, which looks at the folder, and reports whether f returned in time. Where
// the folder's server is gone, f hangs: then do not use any more what f uses, see
// [host.Call]. This load does not look at that folder again, and after several such
// folders at none.
func (b *Block) Look(folder string, f func()) (answered bool) { return b.load.places.look(folder, f) }

// Spelled is the path as it is spelled on the disk, where that can be looked up: HCL
// composes the characters of all text (NFC), and a file may have a name in another form.
func (b *Block) Spelled(path string) string {
	spelled := path
	if !b.DefinitionsOnly() && strings.ContainsFunc(path, func(r rune) bool { return r > '~' }) {
		var found string
		if b.Look(filepath.Dir(path), func() { found = host.Spelled(path) }) {
			spelled = found
		}
	}
	return spelled
}

// Shared is a value that several blocks of one load share, such as an answer about the
// machine. It calls make once for each key.
func (b *Block) Shared(key any, make func() any) any { return once(b.load, key, make) }

// Has reports whether the attribute is set. One that is null is not.
func (b *Block) Has(attr string) bool {
	v, set := b.value(attr)
	return set && !v.IsNull()
}

// Fault reports an error at the value of the attribute, or at the header of the block
// where attr is "" or not set. The summary says in a few words what is wrong, the detail
// what is allowed or what to do. Nothing is reported where Decode has already reported
// that the attribute has no value.
func (b *Block) Fault(attr, summary, detail string) {
	if slices.Contains(b.unread, attr) {
		return // this fault would only follow from that one
	}
	b.wrong, b.faulty = append(b.wrong, attr), true
	b.report(severityError, b.place(attr), summary, detail)
}

// Warn is Fault for what is not wrong, but surely not meant.
func (b *Block) Warn(attr, summary, detail string) {
	if !slices.Contains(b.unread, attr) {
		b.report(severityWarning, b.place(attr), summary, detail)
	}
}

func (b *Block) report(severity string, at hcl.Range, summary, detail string) {
	b.load.found.list = append(b.load.found.list, finding{severity, at, summary, detail, b.instance})
}

// OneOf reports a value of the attribute that is not "" and not one of those allowed.
func (b *Block) OneOf(attr, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		b.Fault(attr, fmt.Sprintf("unknown %s %q", attr, value),
			suggestion(value, allowed, "%q", fmt.Sprintf(`it is "%s"`, strings.Join(allowed, `", "`))))
	}
}

// Wrong reports whether the attribute has an error, or an unknown attribute is probably
// meant for it.
func (b *Block) Wrong(attr string) bool {
	return slices.Contains(b.wrong, attr) || slices.Contains(b.unread, attr)
}

// Faulty reports whether the block has an error.
func (b *Block) Faulty() bool { return b.faulty }

// Inner are the blocks of that kind in the block, which Decode has allowed. Each has one
// label, its Name, which is one of those allowed.
func (b *Block) Inner(kind, form string, allowed ...string) (all []*Block) {
	for _, s := range b.stanza.inner(kind) {
		if s.labelled(b.load.found, form) && !slices.Contains(allowed, s.labels[0]) {
			b.load.found.fault(s.labelAt[0], fmt.Sprintf("unknown %s %q", kind, s.labels[0]),
				suggestion(s.labels[0], allowed, "%q", `it is "`+strings.Join(allowed, `", "`)+`"`))
		}
		all = append(all, b.load.block(s, s.labels[0], b.instance))
	}
	return all
}

// Reserve reserves the folder of the file, which the attribute names, for the source alone:
// it might take what others put there for its own. It is a fault if another source has that
// folder, or if a token is written into it.
func (b *Block) Reserve(attr, file string) {
	if b.stanza.duplicate || b.Wrong(attr) {
		return
	}
	p, folder := b.load.places, filepath.Dir(file)
	where := p.locateFolder(folder)
	if first, taken := p.folders[where]; taken {
		b.Fault(attr, "duplicate "+attr, fmt.Sprintf("%s keeps its files in %s, at %s; name a folder of its own for each", first.what, folder, placeText(first.at)))
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
