package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent"
)

// A source is what was decoded from a source block.
type source struct {
	Source
	block  *Block
	digest []byte // of what was set, and of the signing key
}

// sourceType is the type of source.KIND.NAME in expressions, which can only name it.
var sourceType = cty.Capsule("source", reflect.TypeFor[source]())

// decodeSources decodes the source blocks, and makes them known to expressions.
func (l *loading) decodeSources() (all []Source) {
	kinds := map[string]map[string]cty.Value{}
	for _, s := range l.eval.sourceOrder {
		name := nameOf(s)
		instances, value := l.decodeInstances(s)
		for _, decoded := range instances {
			all = append(all, decoded.Source)
		}
		if l.eval.sources[name] != s {
			continue
		}
		if kinds[name.kind] == nil {
			kinds[name.kind] = map[string]cty.Value{}
		}
		kinds[name.kind][name.name] = value
	}
	values := make(map[string]cty.Value, len(kinds))
	for kind, sources := range kinds {
		values[kind] = cty.ObjectVal(sources)
	}
	if issuers, any := values[issuerKind]; any {
		l.eval.shared.Variables[issuerKind] = issuers
		delete(values, issuerKind)
	}
	l.eval.shared.Variables["source"] = cty.ObjectVal(values)
	return all
}

// decodeInstances are the sources of a block, and what an expression finds under its name:
// a source, or an object with one for each key of for_each.
func (l *loading) decodeInstances(s *stanza) (all []*source, value cty.Value) {
	each := s.attribute("for_each")
	if each == nil {
		decoded := l.decodeSource(s, nil)
		if decoded == nil {
			return nil, cty.UnknownVal(sourceType)
		}
		return []*source{decoded}, cty.CapsuleVal(sourceType, decoded)
	}
	byKey := map[string]cty.Value{}
	for _, in := range l.eval.instances(s) {
		decoded := l.decodeSource(s, in)
		switch {
		case in.checkOnly:
		case decoded == nil:
			byKey[in.key] = cty.UnknownVal(sourceType)
		default:
			all = append(all, decoded)
			byKey[in.key] = cty.CapsuleVal(sourceType, decoded)
		}
	}
	if len(byKey) == 0 && wrongForEach(each.value) != "" {
		return nil, cty.DynamicVal
	}
	return all, cty.ObjectVal(byKey)
}

// decodeSource is the source of a block, or of one instance of it; nil where nothing could
// be made of it.
func (l *loading) decodeSource(s *stanza, in *instance) *source {
	name, at := nameOf(s), s.header
	decode := l.kinds.Sources[name.kind]
	if s.kind == issuerKind {
		decode = l.kinds.Issuer
	}
	if decode == nil || s.broken {
		return nil
	}
	label, reference := name.name, name.String()
	if in != nil {
		label, reference = in.name, reference+strings.TrimPrefix(in.name, name.name)
	}
	b := l.block(s, label, in)
	decoded := &source{Source: decode(b), block: b}
	if decoded.Source.Source == nil {
		return nil
	}
	decoded.Identity = Identity{reference, label, fmt.Sprintf("%s:%d", at.Filename, at.Start.Line)}
	l.places.readBy(decoded.Name, at, decoded.Files...)
	decoded.digest = b.sourceDigest(decoded.Source)
	decoded.Key.Mark = agent.Secret{}
	if l.sources[name] == nil && l.eval.sources[name] == s {
		l.sources[name] = decoded
	}
	return decoded
}

// origins are the attributes of sources that claims and header parameters come from.
var origins = map[string][]string{
	"iss": {"issuer", "trust_domain"}, "alg": {"algorithm", "key_file"}, "kid": {"key_id", "key_file"},
}

// explains reports whether a problem with the claim may follow from an error in the block
// of the source.
func (s *source) explains(claim string) bool {
	return slices.ContainsFunc(origins[claim], s.block.Wrong)
}

// wrongSourceHint says how to name a source where the text has that value.
func wrongSourceHint(v cty.Value) string {
	if v.Type() == cty.String && (strings.HasPrefix(v.AsString(), "source.") || strings.HasPrefix(v.AsString(), issuerKind+".")) {
		return "a reference is written without quotes: " + v.AsString()
	}
	return fmt.Sprintf("source is a reference such as source.local_key.NAME, source.local_key.NAME[each.key] where the source has for_each, or issuer.NAME, and this is %s", describe(v.Type()))
}
