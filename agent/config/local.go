package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// A local is one attribute of a locals block.
type local struct {
	*attribute
	file     *file
	visiting bool
}

// evaluateLocals evaluates all locals, each after those that it refers to.
func (l *loading) evaluateLocals() {
	l.meter.begin() // once for all, as they are kept together
	all := make(map[string]cty.Value, len(l.localOrder))
	for _, n := range l.localOrder {
		all[n.name] = l.evaluateLocal(n, nil)
	}
	l.functions.Variables["local"] = cty.ObjectVal(all)
}

// evaluateLocal gives the value of a local; chain is who needs it.
func (l *loading) evaluateLocal(n *local, chain []string) cty.Value {
	chain = append(chain, "local."+n.name)
	switch {
	case n.known:
		return n.value
	case len(chain) > mostNesting:
		l.fault(n.expr.Range(), "the locals are nested too deeply", fmt.Sprintf("at most %d locals may refer to each other in a row", mostNesting))
		n.value, n.known = cty.DynamicVal, true
		return n.value
	case n.visiting:
		l.fault(n.expr.Range(), "local."+n.name+" refers to itself", l.circle(chain))
		return cty.DynamicVal
	}
	n.visiting = true
	needed := map[string]cty.Value{}
	for _, t := range n.expr.Variables() {
		if name, ok := memberName(t, 1); ok && t.RootName() == "local" && l.locals[name] != nil {
			needed[name] = l.evaluateLocal(l.locals[name], chain)
		}
	}
	scope := n.file.scope.NewChild()
	scope.Variables = map[string]cty.Value{"local": cty.ObjectVal(needed)}
	n.value, n.known = l.evaluateIn(n.attribute, scope, nil), true
	return n.value
}

// circle shows the part of a chain that goes in a circle. What its locals make of each
// other is not looked at.
func (l *loading) circle(chain []string) string {
	last := len(chain) - 1
	chain = chain[slices.Index(chain[:last], chain[last]):]
	for _, name := range chain {
		n := l.locals[strings.TrimPrefix(name, "local.")]
		for _, t := range n.expr.Variables() {
			if t.RootName() == "local" {
				n.bad = append(n.bad, t.SourceRange())
			}
		}
	}
	return strings.Join(chain, " → ")
}
