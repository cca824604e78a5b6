package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// names are the roots of references that an attribute may use.
type names struct{ each, source bool }

// resolveAll checks every reference of every block.
func (l *loading) resolveAll() {
	for _, s := range l.agents {
		l.resolve(s, names{})
	}
	for _, n := range l.localOrder {
		l.resolveAttribute(n.attribute, names{})
	}
	for _, n := range l.sourceOrder {
		l.resolve(n.stanza, names{})
	}
	for _, s := range l.tokenOrder {
		l.resolve(s, names{each: s.attribute("for_each") != nil, source: true})
	}
}

func (l *loading) resolve(s *stanza, allowed names) {
	for _, a := range s.attributes {
		l.resolveAttribute(a, names{
			each:   allowed.each && a.name != "for_each",
			source: allowed.source && a.name == "source",
		})
	}
	for _, inner := range s.blocks {
		l.resolve(inner, names{each: allowed.each})
	}
}

func (l *loading) resolveAttribute(a *attribute, allowed names) {
	for _, t := range a.expr.Variables() {
		if t.RootName() == "each" && allowed.each {
			a.each = true
		}
		summary, hint := l.wrongReference(t, allowed)
		if summary == "" {
			continue
		}
		a.bad = append(a.bad, t.SourceRange())
		if summary != maybeLost {
			l.fault(t.SourceRange(), summary, hint)
		}
	}
}

// maybeLost is the summary of a reference to what may stand in text that could not
// be read. Nothing is said of it.
const maybeLost = "maybe lost"

// wrongReference says what is wrong with a reference; "" when nothing is.
func (l *loading) wrongReference(t hcl.Traversal, allowed names) (summary, hint string) {
	switch t.RootName() {
	case "local":
		name, named := memberName(t, 1)
		switch {
		case l.locals[name] != nil:
			return "", ""
		case named && l.lost.locals:
			return maybeLost, ""
		}
		return l.wrongMember(t, slices.Sorted(maps.Keys(l.locals)))
	case "path":
		return l.wrongPath(t)
	case "each":
		if !allowed.each {
			return "each is not known here", "it is known in a token block with for_each, and in the blocks in it"
		}
		return l.wrongMember(t, []string{"key", "value"})
	case "source":
		if !allowed.source {
			return "a source cannot be used here", "only the attribute source of a token block takes one"
		}
		return l.wrongSource(t)
	}
	return "unknown name " + t.RootName(), unknownRootHint(t)
}

func unknownRootHint(t hcl.Traversal) string {
	if near := profile.Nearest(t.RootName(), []string{"local", "path", "each", "source"}); near != "" {
		return "did you mean " + near + "?"
	}
	const roots = "references begin with local, path, each or source"
	if len(t) == 1 {
		return fmt.Sprintf("a string is written in quotes: %q; %s", t.RootName(), roots)
	}
	return roots
}

// wrongMember checks the second part of local.NAME and each.key.
func (l *loading) wrongMember(t hcl.Traversal, known []string) (summary, hint string) {
	root := t.RootName()
	name, ok := memberName(t, 1)
	if ok && slices.Contains(known, name) {
		return "", ""
	}
	if !ok {
		return root + " without a name", "write " + root + ".NAME"
	}
	if near := profile.Nearest(name, known); near != "" {
		return fmt.Sprintf("unknown %s.%s", root, name), fmt.Sprintf("did you mean %s.%s?", root, near)
	}
	return fmt.Sprintf("unknown %s.%s", root, name), listed(root, known)
}

// listed says which names there are, if they are few.
func listed(root string, known []string) string {
	const few = 8
	switch {
	case len(known) == 0:
		return "there is no " + root + " at all"
	case len(known) > few:
		return fmt.Sprintf("none of the %d names is like it", len(known))
	}
	return "there is " + root + "." + strings.Join(known, ", "+root+".")
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
		if step.Key.Type() == cty.String && step.Key.IsKnown() && !step.Key.IsNull() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}

func (l *loading) wrongPath(t hcl.Traversal) (summary, hint string) {
	name, _ := memberName(t, 1)
	switch {
	case name == "credentials" && l.env.Credentials == "":
		return "path.credentials is not known here", "it is the folder of systemd's LoadCredential=, in $CREDENTIALS_DIRECTORY"
	case name == "discovery" && l.env.Discovery == "":
		return "path.discovery is not known here", "it is where programs of the agent's own user look for a token"
	}
	return l.wrongMember(t, []string{"config", "credentials", "discovery"})
}

// wrongSource checks source.KIND.NAME. In source.KIND[expression] the name is
// known only later.
func (l *loading) wrongSource(t hcl.Traversal) (summary, hint string) {
	kind, ok := memberName(t, 1)
	if !ok {
		return "source without a kind", "write source.KIND.NAME as in the header of the source block"
	}
	name, named := memberName(t, 2)
	switch {
	case len(t) > 3:
		return "a source has no attributes to refer to", "write source.KIND.NAME, and nothing behind it"
	case named && l.sources[sourceName{kind, name}] != nil:
		return "", ""
	case !named && l.hasKind(kind):
		return "", ""
	case l.lost.sources:
		return maybeLost, ""
	}
	given := "source." + kind
	if named {
		given = sourceName{kind, name}.String()
	}
	return "unknown " + given, l.sourceHint(given)
}

func (l *loading) hasKind(kind string) bool {
	return slices.ContainsFunc(l.sourceOrder, func(s *source) bool { return s.name.kind == kind })
}

// sourceHint names the source that is most like the given one.
func (l *loading) sourceHint(given string) string {
	known := make([]string, 0, len(l.sourceOrder))
	for _, s := range l.sourceOrder {
		known = append(known, strings.TrimPrefix(s.name.String(), "source"))
	}
	given = strings.TrimPrefix(given, "source")
	if near := profile.Nearest(given, known); near != "" {
		return "did you mean source" + near + "?"
	}
	const few = 8
	if len(known) == 0 {
		return `there is no source at all; write source "KIND" "NAME" { … }`
	}
	return "there is source" + strings.Join(known[:min(len(known), few)], ", source")
}
