package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// An instance is one of those that a token block with for_each makes.
type instance struct {
	name  string // pilot["ce1"]
	key   string
	value cty.Value
	set   bool             // for_each is a set, so that each.value is the key
	total int              // how many instances the block has
	look  bool             // it makes no token: only what is wrong is looked for
	names *hcl.EvalContext // those of the file, and each; made at first use
}

// scope is what expressions of the instance may use.
func (in *instance) scope(f *file) *hcl.EvalContext {
	if in == nil {
		return f.scope
	}
	if in.names == nil {
		in.names = withEach(f, cty.StringVal(in.key), in.value)
	}
	return in.names
}

func withEach(f *file, key, value cty.Value) *hcl.EvalContext {
	scope := f.scope.NewChild()
	scope.Variables = map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
	return scope
}

// instances are those of a token block: one nil for a block without for_each.
// Where for_each is wrong or empty, or the block is spare, it is one that makes no
// token, with each unknown, so that what else is wrong is found nevertheless.
func (l *loading) instances(s *stanza) (list []*instance) {
	a := s.attribute("for_each")
	if a == nil && s.spare {
		return []*instance{{name: s.labels[0], total: 1, look: true, names: s.file.scope}}
	}
	if a == nil {
		return []*instance{nil}
	}
	each := wholly(l.evaluate(a, s.file, nil))
	a.value, a.known = each, true
	if each.IsKnown() && !s.spare {
		if wrong := wrongForEach(each); wrong != "" {
			l.fault(a.expr.Range(), "wrong value for for_each", wrong)
		} else {
			list = l.instancesOf(s, each)
		}
	}
	if len(list) > 0 {
		return list
	}
	unknown := &instance{name: s.labels[0], value: cty.DynamicVal, total: 1, look: true}
	unknown.names = withEach(s.file, cty.UnknownVal(cty.String), cty.DynamicVal)
	return []*instance{unknown}
}

// wrongForEach says what is wrong with the value of for_each; "" when nothing is.
func wrongForEach(v cty.Value) string {
	t := v.Type()
	switch {
	case v.IsNull():
		return "it is null; leave it out, or give it an empty set: toset([])"
	case t.IsTupleType() || t.IsListType():
		return "this is a list, whose elements have no names; make it a set: toset([…])"
	case t.IsSetType() && v.LengthInt() > 0 && t.ElementType() != cty.String:
		return "the elements of the set are strings, and here each is " + describe(t.ElementType())
	case (t.IsSetType() || isMapping(t)) && v.LengthInt() > mostInstances:
		return fmt.Sprintf("it makes %d tokens, and one block makes at most %d; make several blocks", v.LengthInt(), mostInstances)
	case !t.IsSetType() && !isMapping(t):
		return `it is a set of strings such as toset(["a", "b"]), or a map such as { a = 1, b = 2 }, and this is ` + describe(t)
	}
	return ""
}

func (l *loading) instancesOf(s *stanza, each cty.Value) []*instance {
	set := each.Type().IsSetType()
	list := make([]*instance, 0, each.LengthInt())
	for it := each.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if key.IsNull() || !isName(key.AsString()) {
			l.fault(s.attribute("for_each").expr.Range(), "wrong key in for_each",
				fmt.Sprintf("a key has 1 to %d printable characters", mostName))
			continue
		}
		list = append(list, &instance{
			name:  s.labels[0] + `["` + key.AsString() + `"]`,
			key:   key.AsString(),
			value: value,
			set:   set,
		})
	}
	for _, in := range list {
		in.total = len(list)
	}
	return list
}

// standIn is a key that brings nothing into a path.
const standIn = "x"

// keyInPath reports a path that gets folders, or a leading dot, from the key
// of the instance: tokens lie where the text says, whatever a list of names has
// in it. It compares with the path that a harmless key would give.
func (b *Block) keyInPath(attr, path string) []misfit {
	a, in := b.stanza.attribute(attr), b.instance
	if !a.each || !bringsFolders(in.key) {
		return nil
	}
	value := in.value
	if in.set {
		value = cty.StringVal(standIn)
	}
	b.load.meter.begin()
	harmless, diags := b.load.valueOf(a, withEach(b.stanza.file, cty.StringVal(standIn), value))
	brings := diags.HasErrors() && strings.Contains(path, in.key)
	if !diags.HasErrors() && harmless.Type() == cty.String && harmless.IsKnown() && !harmless.IsNull() {
		brings = shape(path) != shape(harmless.AsString())
	}
	if !brings {
		return nil
	}
	return []misfit{{
		summary: "a key of for_each changes the folder of " + attr,
		detail:  fmt.Sprintf(`the key %q has "/", ".." or a leading dot; write %s instead of it`, in.key, harmlessKey(in.key)),
	}}
}

// harmlessKey is an expression for the key without what brings folders.
func harmlessKey(key string) string {
	expr := "each.key"
	replace := func(old string) {
		key = strings.ReplaceAll(key, old, "-")
		expr = fmt.Sprintf(`replace(%s, %q, "-")`, expr, old)
	}
	for _, part := range []string{"/", ".."} {
		if strings.Contains(key, part) {
			replace(part)
		}
	}
	if strings.HasPrefix(key, ".") {
		replace(".")
	}
	return expr
}

func bringsFolders(key string) bool {
	return strings.ContainsRune(key, '/') || strings.Contains(key, "..") || strings.HasPrefix(key, ".")
}

// shape is what a key must not change in a path.
func shape(path string) [3]int {
	return [3]int{strings.Count(path, "/"), strings.Count(path, ".."), strings.Count(path, "/.")}
}
