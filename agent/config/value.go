package config

import (
	"math"
	"math/big"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// describe names a type in plain words.
func describe(t cty.Type) string {
	switch {
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t == cty.DynamicPseudoType:
		return "null"
	case t.IsCapsuleType(): // there is only one such type
		return "a source"
	case t.IsSetType():
		return "a set"
	case isSequence(t):
		return "a list"
	case isMapping(t):
		return "an object"
	}
	return t.FriendlyName()
}

func isSequence(t cty.Type) bool { return t.IsTupleType() || t.IsListType() || t.IsSetType() }
func isMapping(t cty.Type) bool  { return t.IsObjectType() || t.IsMapType() }

// textOf is the text of a value that is a known string.
func textOf(v cty.Value) (text string, ok bool) {
	if v.Type() != cty.String || !v.IsKnown() || v.IsNull() {
		return "", false
	}
	return v.AsString(), true
}

// memberName is the name behind the i-th dot, or in the i-th brackets.
func memberName(t hcl.Traversal, i int) (string, bool) {
	if len(t) <= i {
		return "", false
	}
	switch step := t[i].(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		return textOf(step.Key)
	}
	return "", false
}

// plain is the value in Go types: string, bool, int64 for whole numbers, float64 for others,
// []any and map[string]any. A part that has no such form is left out; fail gets the keys on
// the way to it.
func plain(v cty.Value, fail func(path []string, text string), path ...string) (value any, ok bool) {
	t := v.Type()
	switch {
	case v.IsNull():
		fail(path, "is null; leave it out")
	case t == cty.String:
		return v.AsString(), true
	case t == cty.Bool:
		return v.True(), true
	case t == cty.Number:
		if n, fits := plainNumber(v.AsBigFloat()); fits {
			return n, true
		}
		fail(path, "is a number that does not fit into 64 bits")
	case isSequence(t):
		list := make([]any, 0, v.LengthInt())
		for i, e := range v.AsValueSlice() {
			if p, ok := plain(e, fail, append(path, strconv.Itoa(i))...); ok {
				list = append(list, p)
			}
		}
		return list, true
	case isMapping(t):
		return plainObject(v, fail, path...), true
	default:
		fail(path, "is "+describe(t)+"; strings, numbers, true and false, lists and objects are allowed")
	}
	return nil, false
}

func plainObject(v cty.Value, fail func(path []string, text string), path ...string) map[string]any {
	object := make(map[string]any, v.LengthInt())
	for key, e := range v.Elements() {
		if p, ok := plain(e, fail, append(path, key.AsString())...); ok {
			object[key.AsString()] = p
		}
	}
	return object
}

func plainNumber(f *big.Float) (n any, fits bool) {
	if f.IsInt() {
		n, accuracy := f.Int64()
		return n, accuracy == big.Exact
	}
	fraction, _ := f.Float64()
	return fraction, !math.IsInf(fraction, 0)
}

// elementRange is where the element of a list stands, if the list is written
// out; else empty.
func elementRange(expr hclsyntax.Expression, i int) hcl.Range {
	if tuple, ok := expr.(*hclsyntax.TupleConsExpr); ok && i < len(tuple.Exprs) {
		return tuple.Exprs[i].Range()
	}
	return hcl.Range{}
}

// An item is one of an object that is written out.
type item struct {
	name      string
	at, value hcl.Range
}

// itemsOf are the items of an object that is written out, as far as their keys are.
func itemsOf(expr hclsyntax.Expression) (items []item) {
	object, ok := expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return nil
	}
	for _, i := range object.Items {
		key, diags := i.KeyExpr.Value(nil)
		if name, ok := textOf(key); ok && !diags.HasErrors() {
			items = append(items, item{name, i.KeyExpr.Range(), i.ValueExpr.Range()})
		}
	}
	return items
}

// itemRange is where the value of that name stands in an object, if it is written out;
// else empty.
func itemRange(expr hclsyntax.Expression, name string) hcl.Range {
	for _, i := range itemsOf(expr) {
		if i.name == name {
			return i.value
		}
	}
	return hcl.Range{}
}
