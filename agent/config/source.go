package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A sourceName is what a source block is referred to by.
type sourceName struct{ kind, name string }

func (n sourceName) String() string {
	if hclsyntax.ValidIdentifier(n.name) {
		return "source." + n.kind + "." + n.name
	}
	return fmt.Sprintf("source.%s[%q]", n.kind, n.name)
}

// A Source is a source block: what issues its tokens, and what its decoder knows
// of it. The zero value of a field says that there is no such thing.
type Source struct {
	Name   string       // source.refresh_token.cilogon; set by Load
	Place  string       // FILE:LINE of the block; set by Load
	Source agent.Source // nil where nothing could be made of the block

	Issuer   string        // as agent.Renewer has it
	Limits   queue.Limits  // as agent.Renewer has them
	Profile  string        // the only profile of its tokens: a token block that names none has this one, and another is a fault
	Lifetime time.Duration // of a token whose block names none; zero: the issuer decides
	Files    []string      // absolute paths of what it reads; a change is a reason to load again
	Key      SigningKey    // of a source that signs by itself
	Program  bool          // a program prints its tokens
	RunsAs   string        // the user whom its block names for that program; "": the agent's own

	// Ends is when the token ends with which the source asks for others; the zero
	// time: never. Its error says how to get such a token, where there is none.
	Ends func() (time.Time, error)

	// Check says what is wrong with a Request before anything is issued. Each
	// problem is shown at the attribute of the token block that its claim comes
	// from: aud at audience, scope at scope, sub at subject, exp at lifetime, iss,
	// alg and kid at source, any other at claims. A text of the form "what; what is
	// allowed" is shown as summary and detail.
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

// A source is a source block, and what its decoder made of it.
type source struct {
	name   sourceName
	stanza *stanza
	Source
	digest []byte // of what was set, and of the signing key
	block  *Block // nil before it is decoded
	broken bool   // it could not be parsed
}

// sourceType is the type of source.KIND.NAME in expressions: there is nothing to
// be done with it but to name it.
var sourceType = cty.Capsule("source", reflect.TypeFor[source]())

// decodeSources decodes the source blocks, and makes them known to expressions.
func (l *loading) decodeSources() {
	kinds := map[string]map[string]cty.Value{}
	for _, s := range l.sourceOrder {
		if kinds[s.name.kind] == nil {
			kinds[s.name.kind] = map[string]cty.Value{}
		}
		value := l.decodeSource(s)
		if l.sources[s.name] == s {
			kinds[s.name.kind][s.name.name] = value
		}
	}
	all := make(map[string]cty.Value, len(kinds))
	for kind, sources := range kinds {
		all[kind] = cty.ObjectVal(sources)
	}
	l.functions.Variables["source"] = cty.ObjectVal(all)
}

// sourceKind is the kind of source that the block names, or means.
func (l *loading) sourceKind(s *stanza) string {
	kind := s.labels[0]
	if l.kinds.Sources[kind] != nil {
		return kind
	}
	known := slices.Sorted(maps.Keys(l.kinds.Sources))
	l.fault(s.labelAt[0], fmt.Sprintf("unknown kind of source %q", kind), kindHint(kind, known))
	return cmp.Or(profile.Meant(kind, known), kind)
}

// decodeSource gives the value of source.KIND.NAME; an unknown one where nothing could
// be made of the block.
func (l *loading) decodeSource(s *source) cty.Value {
	decode := l.kinds.Sources[s.name.kind]
	if decode == nil || s.broken {
		return cty.UnknownVal(sourceType)
	}
	b := l.block(s.stanza, s.name.name, nil)
	s.block = b
	s.Source = decode(b)
	if s.Source.Source == nil {
		return cty.UnknownVal(sourceType)
	}
	at := s.stanza.header
	s.Name, s.Place = s.name.String(), fmt.Sprintf("%s:%d", at.Filename, at.Start.Line)
	l.watched = append(l.watched, s.Files...)
	l.readBy(s.Name, at, s.Files...)
	s.digest = l.sourceDigest(s.Key, b)
	s.Key.Mark = agent.Secret{}
	return cty.CapsuleVal(sourceType, s)
}

// origins are the attributes of sources that claims and header parameters come from.
var origins = map[string][]string{
	"iss": {"issuer", "trust_domain"}, "alg": {"algorithm", "key_file"}, "kid": {"key_id", "key_file"},
}

// explains reports whether a problem with the claim may come from an error in the block
// of the source, which has been reported.
func (s *source) explains(claim string) bool {
	return slices.ContainsFunc(origins[claim], s.block.Wrong)
}

// listed are all sources, for those who ask them something else than a token.
func (l *loading) listed() []Source {
	var all []Source
	for _, s := range l.sourceOrder {
		all = append(all, s.Source)
	}
	return all
}

func kindHint(kind string, known []string) string {
	if near := profile.Nearest(kind, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "the kinds are " + strings.Join(known, ", ")
}

// sourceOf is the source that a token block names.
func (b *Block) sourceOf(v cty.Value) *source {
	if v.Type() == sourceType {
		return v.EncapsulatedValue().(*source)
	}
	detail := fmt.Sprintf("source is a reference such as source.local_key.NAME, and this is %s", describe(v.Type()))
	if v.Type() == cty.String && strings.HasPrefix(v.AsString(), "source.") {
		detail = "a reference is written without quotes: " + v.AsString()
	}
	b.Fault("source", "wrong type for source", detail)
	return nil
}

// missingSource is the source that source.KIND[expression] asked for in vain;
// "" when the attribute is nothing of the kind.
func (l *loading) missingSource(a *attribute, scope *hcl.EvalContext) string {
	index, ok := a.expr.(*hclsyntax.IndexExpr)
	if !ok {
		return ""
	}
	collection, ok := index.Collection.(*hclsyntax.ScopeTraversalExpr)
	if !ok || collection.Traversal.RootName() != "source" {
		return ""
	}
	kind, _ := memberName(collection.Traversal, 1)
	key, diags := index.Key.Value(scope)
	if diags.HasErrors() || key.Type() != cty.String || !key.IsKnown() || key.IsNull() {
		return ""
	}
	return sourceName{kind, key.AsString()}.String()
}
