package config

import (
	"fmt"
	"iter"
	"math"
	"math/big"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// describe names a type as people do.
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
	case t == sourceType:
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

// inOrder yields the elements of a list or set with their position.
func inOrder(v cty.Value) iter.Seq2[int, cty.Value] {
	return func(yield func(int, cty.Value) bool) {
		i := 0
		for it := v.ElementIterator(); it.Next(); i++ {
			if _, e := it.Element(); !yield(i, e) {
				return
			}
		}
	}
}

// byKey yields the elements of a map or object in the order of their keys.
func byKey(v cty.Value) iter.Seq2[string, cty.Value] {
	return func(yield func(string, cty.Value) bool) {
		for it := v.ElementIterator(); it.Next(); {
			if k, e := it.Element(); !yield(k.AsString(), e) {
				return
			}
		}
	}
}

// A plainError says which value, by the keys on the way to it, has no plain form.
type plainError struct {
	path []string
	text string
}

func (e plainError) Error() string { return strings.Join(e.path, ".") + " " + e.text }

// plain is the value as JSON people know it: string, bool, int64 for whole
// numbers, float64 for others, []any and map[string]any. What has no such form is
// left out, and named in wrong.
func plain(v cty.Value) (value any, wrong []plainError) {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil, []plainError{{text: "is null; leave it out"}}
	case t == cty.String:
		return v.AsString(), nil
	case t == cty.Bool:
		return v.True(), nil
	case t == cty.Number:
		return plainNumber(v.AsBigFloat())
	case isSequence(t):
		return plainList(v)
	case isMapping(t):
		return plainObject(v)
	}
	return nil, []plainError{{text: "is " + describe(t) + "; strings, numbers, true and false, lists and objects are allowed"}}
}

func plainNumber(f *big.Float) (any, []plainError) {
	if f.IsInt() {
		n, accuracy := f.Int64()
		if accuracy != big.Exact {
			return nil, []plainError{{text: "is a whole number that does not fit into 64 bits"}}
		}
		return n, nil
	}
	n, _ := f.Float64()
	if math.IsInf(n, 0) {
		return nil, []plainError{{text: "is a number that does not fit into 64 bits"}}
	}
	return n, nil
}

func plainList(v cty.Value) (list []any, wrong []plainError) {
	list = make([]any, 0, v.LengthInt())
	for i, e := range inOrder(v) {
		p, w := plain(e)
		if len(w) == 0 {
			list = append(list, p)
		}
		wrong = append(wrong, below(fmt.Sprint(i), w)...)
	}
	return list, wrong
}

func plainObject(v cty.Value) (object map[string]any, wrong []plainError) {
	object = make(map[string]any, v.LengthInt())
	for k, e := range byKey(v) {
		p, w := plain(e)
		if len(w) == 0 {
			object[k] = p
		}
		wrong = append(wrong, below(k, w)...)
	}
	return object, wrong
}

// below are the errors of a value as those of what it stands in, under the key.
func below(key string, wrong []plainError) []plainError {
	for i, w := range wrong {
		wrong[i].path = append([]string{key}, w.path...)
	}
	return wrong
}

// elementRange is where the element of a list stands, if the list is written
// out; else empty.
func elementRange(expr hclsyntax.Expression, i int) hcl.Range {
	if tuple, ok := expr.(*hclsyntax.TupleConsExpr); ok && i < len(tuple.Exprs) {
		return tuple.Exprs[i].Range()
	}
	return hcl.Range{}
}

// itemOf is the expression of a key in an object that is written out; else nil.
func itemOf(expr hclsyntax.Expression, key string) hclsyntax.Expression {
	for name, item := range written(expr) {
		if name == key {
			return item.ValueExpr
		}
	}
	return nil
}

// repeated yields the keys that stand in a written object again, and where; hcl
// takes the last of them without a word.
func repeated(expr hclsyntax.Expression) iter.Seq2[string, hcl.Range] {
	return func(yield func(string, hcl.Range) bool) {
		seen := map[string]bool{}
		for name, item := range written(expr) {
			if seen[name] && !yield(name, item.KeyExpr.Range()) {
				return
			}
			seen[name] = true
		}
	}
}

// written yields the items of an object that is written out, as far as their
// keys are.
func written(expr hclsyntax.Expression) iter.Seq2[string, hclsyntax.ObjectConsItem] {
	return func(yield func(string, hclsyntax.ObjectConsItem) bool) {
		object, ok := expr.(*hclsyntax.ObjectConsExpr)
		if !ok {
			return
		}
		for _, item := range object.Items {
			k, diags := item.KeyExpr.Value(nil)
			if diags.HasErrors() || k.Type() != cty.String || !k.IsKnown() || k.IsNull() {
				continue
			}
			if !yield(k.AsString(), item) {
				return
			}
		}
	}
}
