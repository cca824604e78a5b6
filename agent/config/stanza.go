package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A stanza is one block of the text, with its attributes and inner blocks in
// the order in which they stand there.
type stanza struct {
	kind       string
	labels     []string
	labelAt    []hcl.Range
	header     hcl.Range
	file       *file
	attributes []*attribute
	blocks     []*stanza
	improper   bool // its labels are wrong, which has been reported
	spare      bool // there is one of that name already: only what is wrong in it is looked for
}

// An attribute is one name = expression of a stanza.
type attribute struct {
	name      string
	index     int // in the stanza
	nameRange hcl.Range
	expr      hclsyntax.Expression
	bounded   hclsyntax.Expression // the same for its value, see meter; nil before the first use
	each      bool                 // it depends on each.key or each.value
	bad       []hcl.Range          // of the names in it that are unknown, which has been reported
	known     bool                 // value is set: it is the same for all instances
	value     cty.Value            // of one that does not depend on each
}

func (s *stanza) attribute(name string) *attribute {
	for _, a := range s.attributes {
		if a.name == name {
			return a
		}
	}
	return nil
}

// stanzaOf takes over a block as it was parsed.
func stanzaOf(f *file, block *hclsyntax.Block) *stanza {
	s := &stanza{kind: block.Type, labels: block.Labels, labelAt: block.LabelRanges, header: block.DefRange(), file: f}
	s.attributes = attributesOf(block.Body)
	for _, inner := range block.Body.Blocks {
		s.blocks = append(s.blocks, stanzaOf(f, inner))
	}
	return s
}

func attributesOf(body *hclsyntax.Body) []*attribute {
	list := make([]*attribute, 0, len(body.Attributes))
	for name, a := range body.Attributes {
		list = append(list, &attribute{name: name, nameRange: a.NameRange, expr: a.Expr})
	}
	slices.SortFunc(list, func(a, b *attribute) int { return a.nameRange.Start.Byte - b.nameRange.Start.Byte })
	for i, a := range list {
		a.index = i
	}
	return list
}

// block evaluates the attributes of the stanza. What does not depend on each is
// evaluated once for all instances.
func (l *loading) block(s *stanza, name string, in *instance) *Block {
	b := &Block{load: l, stanza: s, name: name, instance: in, values: make([]cty.Value, len(s.attributes))}
	for i, a := range s.attributes {
		if !a.known {
			a.known = !a.each
			a.value = wholly(l.evaluate(a, s.file, in))
		}
		b.values[i] = a.value
	}
	return b
}

// wholly makes a value of which a part is unknown an unknown one, so that this
// need not be looked for, deep down in the value, at every use.
func wholly(v cty.Value) cty.Value {
	if v.IsWhollyKnown() {
		return v
	}
	return cty.DynamicVal
}

// evaluate gives the value of the attribute for the instance, if it differs
// between instances.
func (l *loading) evaluate(a *attribute, f *file, in *instance) cty.Value {
	l.meter.begin()
	if a.each {
		return l.evaluateIn(a, in.scope(f), in)
	}
	return l.evaluateIn(a, f.scope, nil)
}

// valueOf evaluates the attribute within the bounds of all expressions.
func (l *loading) valueOf(a *attribute, scope *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if a.bounded == nil {
		a.bounded = l.meter.bounded(a.expr)
	}
	return l.meter.value(a.bounded, scope)
}

// evaluateIn gives the value of the attribute; an unknown one when that is not
// possible, which has been reported.
func (l *loading) evaluateIn(a *attribute, scope *hcl.EvalContext, in *instance) cty.Value {
	v, diags := l.valueOf(a, scope)
	if len(a.bad) > 0 {
		l.add(slices.DeleteFunc(diags, a.isAboutBad), in)
		return cty.DynamicVal
	}
	if !diags.HasErrors() {
		return v
	}
	if name := l.missingSource(a, scope); name != "" {
		diags = nil
		l.found = append(l.found, finding{severityError, a.expr.Range(), "unknown " + name, l.sourceHint(name), in})
	}
	l.add(diags, in)
	return cty.DynamicVal
}

// isAboutBad reports whether a name that is unknown is what hcl complains of.
func (a *attribute) isAboutBad(d *hcl.Diagnostic) bool {
	return d.Subject == nil || slices.ContainsFunc(a.bad, d.Subject.Overlaps)
}
