package config

import (
	"fmt"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// instances are those of a token or source block. A block without for_each has one, which is nil. So
// that other faults are found where for_each is wrong or empty, or the block is a
// duplicate, there is one instance that makes nothing.
func (e *evaluator) instances(s *stanza) []*instance {
	a := s.attribute("for_each")
	switch {
	case a == nil && s.duplicate:
		return []*instance{{name: s.labels[len(s.labels)-1], total: 1, checkOnly: true, scope: e.scopeOf(s.file)}}
	case a == nil:
		return []*instance{nil}
	}
	each := e.evaluate(a, s.file, nil)
	a.value, a.known = each, true
	if !each.IsKnown() || s.duplicate {
		return e.standIns(s, cty.NilVal)
	}
	if wrong := wrongForEach(each); wrong != "" {
		e.found.fault(a.expr.Range(), "wrong value for for_each", wrong)
		return e.standIns(s, each)
	}
	if list := e.instancesOf(s, each); len(list) > 0 {
		return list
	}
	return e.standIns(s, cty.NilVal)
}

// standIns are one instance that makes nothing. Its key is the first element of a wrong
// value that is a list of names; else each is unknown.
func (e *evaluator) standIns(s *stanza, wrong cty.Value) []*instance {
	in := &instance{name: s.labels[len(s.labels)-1], total: 1, checkOnly: true}
	if wrong != cty.NilVal && !wrong.IsNull() && isSequence(wrong.Type()) && wrong.LengthInt() > 0 {
		first, err := convert.Convert(wrong.AsValueSlice()[0], cty.String)
		if key, ok := textOf(first); err == nil && ok && isName(key) {
			in.key, in.value, in.set = key, first, true
			return []*instance{in}
		}
	}
	in.value = cty.DynamicVal
	in.scope = e.withEach(s.file, cty.UnknownVal(cty.String), cty.DynamicVal)
	return []*instance{in}
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
		return fmt.Sprintf("it makes %d instances, and one block makes at most %d; make several blocks", v.LengthInt(), mostInstances)
	case !t.IsSetType() && !isMapping(t):
		return `it is a set of strings such as toset(["a", "b"]), or a map such as { a = 1, b = 2 }, and this is ` + describe(t)
	}
	return ""
}

func (e *evaluator) instancesOf(s *stanza, each cty.Value) []*instance {
	list := make([]*instance, 0, each.LengthInt())
	for it := each.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if key.IsNull() || !isName(key.AsString()) {
			e.found.fault(s.attribute("for_each").expr.Range(), "wrong key in for_each",
				fmt.Sprintf("a key has 1 to %d printable characters", mostName))
			continue
		}
		list = append(list, &instance{
			name:  s.labels[len(s.labels)-1] + `["` + key.AsString() + `"]`,
			key:   key.AsString(),
			value: value,
			set:   each.Type().IsSetType(),
		})
	}
	for _, in := range list {
		in.total = len(list)
	}
	return list
}

// keyInPath reports whether the key of the instance adds folders, or a leading dot, to the
// path of the attribute: a list of names must not decide in which folder tokens are. It
// compares the path with the one that a harmless key would give.
func (e *evaluator) keyInPath(a *attribute, f *file, in *instance, path string) bool {
	if !a.each || !addsFolders(in.key) {
		return false
	}
	value := in.value
	if in.set {
		value = cty.StringVal(standIn)
	}
	e.meter.begin()
	v, diags := e.meter.value(a, e.withEach(f, cty.StringVal(standIn), value))
	if diags.HasErrors() {
		return strings.Contains(path, in.key)
	}
	harmless, ok := textOf(v)
	return ok && shape(path) != shape(harmless)
}

// harmlessKey is an expression for the key without anything that adds folders.
func harmlessKey(key string) string {
	expr := "each.key"
	for _, part := range []string{"/", "..", "."} {
		if part == "." && !strings.HasPrefix(key, ".") || !strings.Contains(key, part) {
			continue
		}
		key = strings.ReplaceAll(key, part, "-")
		expr = fmt.Sprintf(`replace(%s, %q, "-")`, expr, part)
	}
	return expr
}

func addsFolders(key string) bool {
	return strings.ContainsRune(key, '/') || strings.Contains(key, "..") || strings.HasPrefix(key, ".")
}

// shape is what a key must not change in a path.
func shape(path string) [3]int {
	return [3]int{strings.Count(path, "/"), strings.Count(path, ".."), strings.Count(path, "/.")}
}
