package config

import (
	"context"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// What an expression may make. A few nested `for`, or a few texts that double the one
// before, ask for more memory than any machine has; hcl itself knows no bound.
type limits struct {
	elements int // of lists and objects, those within others included
	bytes    int // of texts
	work     int // evaluations of parts of expressions in one load
}

// usual are the limits outside of tests.
var usual = limits{elements: 2_000_000, bytes: 64 << 20, work: 20_000_000}

const (
	mostErrors    = 20        // of one expression; more say nothing new
	mostInstances = 200_000   // tokens of one for_each
	betweenAsks   = 1<<10 - 1 // evaluations until it is asked again whether the load is to end
)

// A meter counts what the expression makes that is being evaluated. All locals count
// as one, since they are kept together.
type meter struct {
	ctx context.Context // of the load; it is only asked whether it is done
	limits
	used   used // by the expression
	errors int
	worked int // evaluations in the whole load
}

// A stop is thrown through hcl, which knows no other way to end an evaluation early.
type stop struct{ diags hcl.Diagnostics }

// begin counts from nothing again.
func (m *meter) begin() { m.used, m.errors = used{}, 0 }

// used is what was counted at one time.
type used struct{ elements, bytes int }

// count makes of what was counted since then no less than what is in the value: it may
// be made of parts that were counted before, many times over.
func (m *meter) count(v cty.Value, since used, at hcl.Range) {
	m.tick(at)
	spent := m.used
	m.used = since
	m.measure(v, at)
	m.used = used{max(m.used.elements, spent.elements), max(m.used.bytes, spent.bytes)}
}

// tick counts one evaluation, which takes time whatever it makes.
func (m *meter) tick(at hcl.Range) {
	if m.worked++; m.worked&betweenAsks == 0 && m.ctx.Err() != nil {
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

func (m *meter) exceed(at hcl.Range, summary string) {
	panic(stop{hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail: fmt.Sprintf("an expression makes at most %d elements and %d MiB of text, and so do all locals together; look for a for within a for, or for texts that are made of each other, and make less of it",
			m.limits.elements, m.limits.bytes>>20),
		Subject: &at,
	}}})
}

// value is that of an expression that bounded returned.
func (m *meter) value(expr hclsyntax.Expression, scope *hcl.EvalContext) (v cty.Value, diags hcl.Diagnostics) {
	defer func() {
		switch thrown := recover().(type) {
		case nil:
		case stop:
			v, diags = cty.DynamicVal, thrown.diags
		default:
			panic(thrown)
		}
	}()
	return expr.Value(scope)
}

// A counted expression counts its value each time it is evaluated.
type counted struct {
	hclsyntax.Expression
	meter *meter
	at    hcl.Range // of what makes many of it
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

// bounded is the expression as the meter bounds it: each part that makes something is
// counted. The original is left as it is, for those who look for names in it.
func (m *meter) bounded(expr hclsyntax.Expression) hclsyntax.Expression {
	switch e := expr.(type) {
	case *hclsyntax.ForExpr:
		c := *e
		c.CollExpr, c.KeyExpr, c.CondExpr = m.bounded(e.CollExpr), m.boundedOrNil(e.KeyExpr), m.boundedOrNil(e.CondExpr)
		c.ValExpr = m.counted(e.ValExpr, e.SrcRange)
		if e.CondExpr != nil {
			c.CondExpr = m.counted(e.CondExpr, e.SrcRange) // one that is never true takes time too
		}
		return &c
	case *hclsyntax.SplatExpr:
		c := &hclsyntax.SplatExpr{Item: e.Item, SrcRange: e.SrcRange, MarkerRange: e.MarkerRange}
		c.Source, c.Each = m.bounded(e.Source), m.counted(e.Each, e.SrcRange)
		return c
	case *hclsyntax.FunctionCallExpr:
		c := *e
		c.Args = m.boundedAll(e.Args)
		return &counted{&c, m, e.Range()}
	case *hclsyntax.TemplateExpr:
		return &hclsyntax.TemplateExpr{Parts: m.countedAll(e.Parts, e.SrcRange), SrcRange: e.SrcRange}
	case *hclsyntax.TemplateJoinExpr:
		return &hclsyntax.TemplateJoinExpr{Tuple: m.bounded(e.Tuple)}
	case *hclsyntax.TemplateWrapExpr:
		return &hclsyntax.TemplateWrapExpr{Wrapped: m.bounded(e.Wrapped), SrcRange: e.SrcRange}
	case *hclsyntax.TupleConsExpr:
		c := *e
		c.Exprs = m.countedAll(e.Exprs, e.SrcRange)
		return &c
	case *hclsyntax.ObjectConsExpr:
		c := *e
		c.Items = nil
		for _, item := range e.Items {
			c.Items = append(c.Items, hclsyntax.ObjectConsItem{KeyExpr: m.bounded(item.KeyExpr), ValueExpr: m.counted(item.ValueExpr, e.SrcRange)})
		}
		return &c
	}
	return m.boundedParts(expr)
}

// boundedParts is bounded for expressions that make nothing by themselves.
func (m *meter) boundedParts(expr hclsyntax.Expression) hclsyntax.Expression {
	switch e := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return &hclsyntax.ParenthesesExpr{Expression: m.bounded(e.Expression), SrcRange: e.SrcRange}
	case *hclsyntax.ObjectConsKeyExpr:
		return &hclsyntax.ObjectConsKeyExpr{Wrapped: m.bounded(e.Wrapped), ForceNonLiteral: e.ForceNonLiteral}
	case *hclsyntax.ConditionalExpr:
		c := *e
		c.Condition, c.TrueResult, c.FalseResult = m.bounded(e.Condition), m.bounded(e.TrueResult), m.bounded(e.FalseResult)
		return &c
	case *hclsyntax.BinaryOpExpr:
		c := *e
		c.LHS, c.RHS = m.bounded(e.LHS), m.bounded(e.RHS)
		return &c
	case *hclsyntax.UnaryOpExpr:
		c := *e
		c.Val = m.bounded(e.Val)
		return &c
	case *hclsyntax.IndexExpr:
		c := *e
		c.Collection, c.Key = m.bounded(e.Collection), m.bounded(e.Key)
		return &c
	case *hclsyntax.RelativeTraversalExpr:
		c := *e
		c.Source = m.bounded(e.Source)
		return &c
	}
	return expr // a literal, a name, or what hcl has yet to invent
}

func (m *meter) boundedOrNil(expr hclsyntax.Expression) hclsyntax.Expression {
	if expr == nil {
		return nil
	}
	return m.bounded(expr)
}

func (m *meter) boundedAll(list []hclsyntax.Expression) (all []hclsyntax.Expression) {
	for _, e := range list {
		all = append(all, m.bounded(e))
	}
	return all
}

func (m *meter) counted(expr hclsyntax.Expression, at hcl.Range) hclsyntax.Expression {
	return &counted{m.bounded(expr), m, at}
}

func (m *meter) countedAll(list []hclsyntax.Expression, at hcl.Range) (all []hclsyntax.Expression) {
	for _, e := range list {
		if _, literal := e.(*hclsyntax.LiteralValueExpr); literal {
			all = append(all, e) // no more than the text has
			continue
		}
		all = append(all, m.counted(e, at))
	}
	return all
}
