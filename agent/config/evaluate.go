package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// An evaluator gives the values of attributes.
type evaluator struct {
	*document
	meter  *meter
	env    Environment
	reader *reader          // of files that expressions name
	shared *hcl.EvalContext // functions, and the names that all files share: local and source
}

func newEvaluator(d *document, r *reader, m *meter, env Environment) *evaluator {
	shared := &hcl.EvalContext{Functions: functions(env, m.bytes), Variables: map[string]cty.Value{}}
	return &evaluator{document: d, reader: r, meter: m, env: env, shared: shared}
}

// scopeOf are the names that expressions of the file may use, without each.
func (e *evaluator) scopeOf(f *file) *hcl.EvalContext {
	if f.scope == nil {
		folder := absolute(filepath.Dir(f.name))
		f.scope = e.shared.NewChild()
		f.scope.Functions = map[string]function.Function{"file": fileFunction(e.reader, folder, e.env.Definitions)}
		f.scope.Variables = map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{
			"config":      cty.StringVal(folder),
			"credentials": cty.StringVal(e.env.Credentials),
			"discovery":   cty.StringVal(e.env.Discovery),
		})}
	}
	return f.scope
}

// scopeIn are the names that expressions may use for the instance; nil: for none.
func (e *evaluator) scopeIn(f *file, in *instance) *hcl.EvalContext {
	if in == nil {
		return e.scopeOf(f)
	}
	if in.scope == nil {
		in.scope = e.withEach(f, cty.StringVal(in.key), in.value)
	}
	return in.scope
}

func (e *evaluator) withEach(f *file, key, value cty.Value) *hcl.EvalContext {
	scope := e.scopeOf(f).NewChild()
	scope.Variables = map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
	return scope
}

// values are those of the attributes, in their order. What does not depend on each is
// evaluated once for all instances.
func (e *evaluator) values(s *stanza, in *instance) []cty.Value {
	values := make([]cty.Value, len(s.attributes))
	for i, a := range s.attributes {
		if !a.known {
			a.known = !a.each
			a.value = e.evaluate(a, s.file, in)
		}
		values[i] = a.value
	}
	return values
}

// evaluate gives the value of the attribute for the instance. Where a part of the value is
// unknown, it is unknown as a whole, so that nobody has to search in it.
func (e *evaluator) evaluate(a *attribute, f *file, in *instance) cty.Value {
	e.meter.begin()
	if !a.each {
		in = nil
	}
	v := e.evaluateIn(a, e.scopeIn(f, in), in)
	if !v.IsWhollyKnown() {
		return cty.DynamicVal
	}
	return v
}

// evaluateIn gives the value of the attribute; an unknown one when that is not possible,
// which it reports.
func (e *evaluator) evaluateIn(a *attribute, scope *hcl.EvalContext, in *instance) cty.Value {
	v, diags := e.meter.value(a, scope)
	if len(a.bad) > 0 {
		e.found.add(slices.DeleteFunc(diags, a.isAboutBad), in)
		return cty.DynamicVal
	}
	if !diags.HasErrors() {
		return v
	}
	if name, hint := e.missingSource(a, scope); name != "" {
		diags = nil
		e.found.list = append(e.found.list, finding{severityError, a.expr.Range(), "unknown " + name, hint, in})
	}
	e.found.add(diags, in)
	return cty.DynamicVal
}

// isAboutBad reports whether hcl complains of a reference that was reported.
func (a *attribute) isAboutBad(d *hcl.Diagnostic) bool {
	return d.Subject == nil || slices.ContainsFunc(a.bad, d.Subject.Overlaps)
}

// missingSource is the source that the attribute names by a key, as source.KIND[expression]
// or source.KIND.NAME[expression], and that does not exist; "" where the attribute is of
// no such form. The hint says which sources there are.
func (e *evaluator) missingSource(a *attribute, scope *hcl.EvalContext) (name, hint string) {
	of, key := keyed(a.expr, scope)
	if len(of) == 1 && of.RootName() == issuerKind && key != "" {
		name = sourceName{issuerKind, key}.String()
		return name, e.sourceHint(name)
	}
	if len(of) < 2 || of.RootName() != "source" || key == "" {
		return "", ""
	}
	kind, _ := memberName(of, 1)
	if len(of) == 2 {
		name = sourceName{kind, key}.String()
		return name, e.sourceHint(name)
	}
	label, _ := memberName(of, 2)
	block := sourceName{kind, label}
	return block.String() + `["` + key + `"]`, e.keyHint(block, key)
}

// keyed takes an expression of the form REFERENCE[KEY] apart; key is "" for any other.
func keyed(expr hclsyntax.Expression, scope *hcl.EvalContext) (of hcl.Traversal, key string) {
	switch x := expr.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		of = x.Traversal[:len(x.Traversal)-1]
		key, _ = memberName(x.Traversal, len(of))
	case *hclsyntax.IndexExpr:
		if collection, ok := x.Collection.(*hclsyntax.ScopeTraversalExpr); ok {
			of = collection.Traversal
		}
		if v, diags := x.Key.Value(scope); !diags.HasErrors() {
			key, _ = textOf(v)
		}
	}
	return of, key
}

// keyHint names the key of the source's for_each that is most like the given one.
func (e *evaluator) keyHint(of sourceName, given string) string {
	each := e.sources[of].attribute("for_each")
	if each == nil {
		return "it has no for_each; write " + of.String()
	}
	var known []string
	for it := each.value.ElementIterator(); it.Next(); {
		if key, _ := it.Element(); !key.IsNull() {
			known = append(known, key.AsString())
		}
	}
	otherwise := "its for_each is empty"
	if len(known) > 0 {
		otherwise = "the first of its keys are " + strings.Join(known[:min(len(known), fewNames)], ", ")
	}
	return suggestion(given, known, of.String()+"[%q]", otherwise)
}

// evaluateLocals evaluates all locals, each after those that it refers to.
func (e *evaluator) evaluateLocals() {
	e.meter.begin() // once for all, as they are kept together
	all := make(map[string]cty.Value, len(e.localOrder))
	for _, n := range e.localOrder {
		all[n.name] = e.evaluateLocal(n, nil)
	}
	e.shared.Variables["local"] = cty.ObjectVal(all)
}

// evaluateLocal gives the value of a local that is needed by the last one in the chain.
func (e *evaluator) evaluateLocal(n *local, chain []string) cty.Value {
	chain = append(chain, n.name)
	switch {
	case n.known:
		return n.value
	case len(chain) > mostNesting:
		e.found.fault(n.expr.Range(), "the locals are nested too deeply", fmt.Sprintf("at most %d locals may refer to each other in a row", mostNesting))
		n.value, n.known = cty.DynamicVal, true
		return n.value
	case n.visiting:
		e.found.fault(n.expr.Range(), "local."+n.name+" refers to itself", e.circle(chain))
		return cty.DynamicVal
	}
	n.visiting = true
	needed := map[string]cty.Value{}
	for _, t := range n.references {
		if name, ok := memberName(t, 1); ok && t.RootName() == "local" && e.locals[name] != nil {
			needed[name] = e.evaluateLocal(e.locals[name], chain)
		}
	}
	scope := e.scopeOf(n.file).NewChild()
	scope.Variables = map[string]cty.Value{"local": cty.ObjectVal(needed)}
	n.value, n.known = e.evaluateIn(n.attribute, scope, nil), true
	return n.value
}

// circle shows the part of a chain that goes in a circle. Further faults of its locals would
// only follow from that, so they are not reported.
func (e *evaluator) circle(chain []string) string {
	last := len(chain) - 1
	chain = chain[slices.Index(chain[:last], chain[last]):]
	for _, name := range chain {
		n := e.locals[name]
		for _, t := range n.references {
			if t.RootName() == "local" {
				n.bad = append(n.bad, t.SourceRange())
			}
		}
	}
	return "local." + strings.Join(chain, " → local.")
}
