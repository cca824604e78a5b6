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
		name, value := nameOf(s), cty.UnknownVal(sourceType)
		decoded := l.decodeSource(s)
		if decoded != nil {
			all = append(all, decoded.Source)
			value = cty.CapsuleVal(sourceType, decoded)
		}
		if l.eval.sources[name] != s {
			continue
		}
		if kinds[name.kind] == nil {
			kinds[name.kind] = map[string]cty.Value{}
		}
		kinds[name.kind][name.name] = value
		l.sources[name] = decoded
	}
	values := make(map[string]cty.Value, len(kinds))
	for kind, sources := range kinds {
		values[kind] = cty.ObjectVal(sources)
	}
	l.eval.shared.Variables["source"] = cty.ObjectVal(values)
	return all
}

// decodeSource is the source of a block; nil where nothing could be made of it.
func (l *loading) decodeSource(s *stanza) *source {
	name, at := nameOf(s), s.header
	decode := l.kinds.Sources[name.kind]
	if decode == nil || s.broken {
		return nil
	}
	b := l.block(s, name.name, nil)
	decoded := &source{Source: decode(b), block: b}
	if decoded.Source.Source == nil {
		return nil
	}
	decoded.Name, decoded.Place = name.String(), fmt.Sprintf("%s:%d", at.Filename, at.Start.Line)
	l.places.readBy(decoded.Name, at, decoded.Files...)
	decoded.digest = b.sourceDigest(decoded.Key)
	decoded.Key.Mark = agent.Secret{}
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
	if v.Type() == cty.String && strings.HasPrefix(v.AsString(), "source.") {
		return "a reference is written without quotes: " + v.AsString()
	}
	return fmt.Sprintf("source is a reference such as source.local_key.NAME, and this is %s", describe(v.Type()))
}
