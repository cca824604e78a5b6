package config

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// limits are what expressions may make. A few nested `for`, or a few texts of which each
// is twice the one before, take more memory than any machine has, and hcl has no limit.
type limits struct {
	elements int // of lists and objects, those within others included
	bytes    int // of texts
	work     int // evaluations of parts of expressions in one load
}

// usual are the limits outside of tests.
var usual = limits{elements: 2_000_000, bytes: 64 << 20, work: 20_000_000}

const (
	mostErrors    = 20        // of one expression; more say nothing new
	mostInstances = 200_000   // of one for_each
	betweenAsks   = 1<<10 - 1 // evaluations after which to ask again whether the load was interrupted
)

// A meter counts what the current expression makes. All locals count as one expression,
// since they are kept together.
type meter struct {
	interrupted func() error // nil while the load goes on
	limits
	used   used // by the expression
	errors int
	worked int // evaluations in the whole load
}

// A stop is thrown through hcl, which has no other way to end an evaluation early.
type stop struct{ diags hcl.Diagnostics }

// begin counts from zero again.
func (m *meter) begin() { m.used, m.errors = used{}, 0 }

// used is what was counted at one time.
type used struct{ elements, bytes int }

// count adds what is in the value to what was used before it, unless its parts have
// added more already. A value may hold a part that was counted once many times over.
func (m *meter) count(v cty.Value, since used, at hcl.Range) {
	m.tick(at)
	spent := m.used
	m.used = since
	m.measure(v, at)
	m.used = used{max(m.used.elements, spent.elements), max(m.used.bytes, spent.bytes)}
}

// tick counts one evaluation, which takes time whatever it makes.
func (m *meter) tick(at hcl.Range) {
	if m.worked++; m.worked&betweenAsks == 0 && m.interrupted() != nil {
		panic(stop{})
	}
	if m.worked > m.limits.work {
		m.exceed(at, "the configuration is too much work")
	}
}

// measure counts the value and all that is in it.
func (m *meter) measure(v cty.Value, at hcl.Range) {
	if m.used.elements++; m.used.elements > m.limits.elements {
		m.exceed(at, "the expression makes too many elements")
	}
	if v.IsNull() || !v.IsKnown() || v.IsMarked() {
		return
	}
	switch t := v.Type(); {
	case tooLong(v):
		panic(stop{hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "a number is too long", Detail: "as text it would have more than a thousand digits", Subject: &at}}})
	case t == cty.String:
		if m.used.bytes += len(v.AsString()); m.used.bytes > m.limits.bytes {
			m.exceed(at, "the expression makes too much text")
		}
	case isSequence(t) || isMapping(t):
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			m.measure(e, at)
		}
	}
}

// mostBits are those of a number before or behind its point. As text 1e100000000 has as
// many digits, which take minutes to find.
const mostBits = 4096

func tooLong(v cty.Value) bool {
	if v.Type() != cty.Number || v.IsNull() || !v.IsKnown() {
		return false
	}
	bits := v.AsBigFloat().MantExp(nil)
	return max(bits, -bits) > mostBits
}

func (m *meter) exceed(at hcl.Range, summary string) {
	panic(stop{hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail: fmt.Sprintf("an expression makes at most %d elements and %d MiB of text, and so do all locals together; look for a for within a for, or for texts that are made of each other, and make less of it",
			m.limits.elements, m.limits.bytes>>20),
		Subject: &at,
	}}})
}

// value evaluates the attribute within the limits.
func (m *meter) value(a *attribute, scope *hcl.EvalContext) (v cty.Value, diags hcl.Diagnostics) {
	if !a.bounded {
		m.bound(&a.expr)
		a.bounded = true
	}
	defer func() {
		switch thrown := recover().(type) {
		case nil:
		case stop:
			v, diags = cty.DynamicVal, thrown.diags
		default:
			panic(thrown)
		}
	}()
	return a.expr.Value(scope)
}

// A counted expression counts its value each time it is evaluated.
type counted struct {
	hclsyntax.Expression
	meter *meter
	at    hcl.Range // of the expression to report
}

// Value is that of the expression.
func (c *counted) Value(scope *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	since := c.meter.used
	v, diags := c.Expression.Value(scope)
	if diags.HasErrors() {
		if c.meter.errors++; c.meter.errors >= mostErrors {
			panic(stop{diags})
		}
		return v, diags
	}
	c.meter.count(v, since, c.at)
	return v, diags
}

// bound replaces each part of the expression that makes something by a counted one. After
// that hcl finds no names in the expression any more: see attribute.references.
func (m *meter) bound(slot *hclsyntax.Expression) {
	switch e := (*slot).(type) {
	case *hclsyntax.LiteralValueExpr:
		if tooLong(e.Val) {
			*slot = &counted{e, m, e.SrcRange}
		}
	case *hclsyntax.ForExpr:
		m.boundAll(&e.CollExpr, &e.KeyExpr)
		m.counting(e.SrcRange, &e.ValExpr, &e.CondExpr) // a condition that is never true takes time too
	case *hclsyntax.SplatExpr:
		m.bound(&e.Source)
		m.counting(e.SrcRange, &e.Each)
	case *hclsyntax.FunctionCallExpr:
		m.boundAll(slots(e.Args)...)
		*slot = &counted{e, m, e.Range()}
	case *hclsyntax.TemplateExpr:
		m.counting(e.SrcRange, slots(e.Parts)...)
	case *hclsyntax.TemplateJoinExpr:
		m.bound(&e.Tuple)
	case *hclsyntax.TemplateWrapExpr:
		m.bound(&e.Wrapped)
	case *hclsyntax.TupleConsExpr:
		m.counting(e.SrcRange, slots(e.Exprs)...)
	case *hclsyntax.ObjectConsExpr:
		for i := range e.Items {
			m.bound(&e.Items[i].KeyExpr)
			m.counting(e.SrcRange, &e.Items[i].ValueExpr)
		}
	default:
		m.boundAll(partsIn(e)...)
	}
}

// partsIn are the parts of an expression that makes nothing by itself.
func partsIn(expr hclsyntax.Expression) []*hclsyntax.Expression {
	switch e := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return []*hclsyntax.Expression{&e.Expression}
	case *hclsyntax.ObjectConsKeyExpr:
		return []*hclsyntax.Expression{&e.Wrapped}
	case *hclsyntax.ConditionalExpr:
		return []*hclsyntax.Expression{&e.Condition, &e.TrueResult, &e.FalseResult}
	case *hclsyntax.BinaryOpExpr:
		return []*hclsyntax.Expression{&e.LHS, &e.RHS}
	case *hclsyntax.UnaryOpExpr:
		return []*hclsyntax.Expression{&e.Val}
	case *hclsyntax.IndexExpr:
		return []*hclsyntax.Expression{&e.Collection, &e.Key}
	case *hclsyntax.RelativeTraversalExpr:
		return []*hclsyntax.Expression{&e.Source}
	}
	return nil // a literal, a name, or an expression that hcl does not have yet
}

func slots(list []hclsyntax.Expression) (all []*hclsyntax.Expression) {
	for i := range list {
		all = append(all, &list[i])
	}
	return all
}

func (m *meter) boundAll(list ...*hclsyntax.Expression) {
	for _, slot := range list {
		m.bound(slot)
	}
}

// counting bounds the parts and makes each count its value. A literal makes no more than
// the text has.
func (m *meter) counting(at hcl.Range, list ...*hclsyntax.Expression) {
	for _, slot := range list {
		m.bound(slot)
		if _, literal := (*slot).(*hclsyntax.LiteralValueExpr); !literal && *slot != nil {
			*slot = &counted{*slot, m, at}
		}
	}
}
