package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// allowed says which references an attribute may use beside local and path.
type allowed struct{ each, source bool }

// A resolver checks every reference of a document.
type resolver struct {
	*document
	env Environment
}

func (r resolver) resolveAll() {
	for _, s := range r.agents {
		r.resolve(s, allowed{})
	}
	for _, n := range r.localOrder {
		r.resolveAttribute(n.attribute, allowed{})
	}
	for _, s := range r.sourceOrder {
		r.resolve(s, allowed{each: s.attribute("for_each") != nil})
	}
	for _, s := range r.tokenOrder {
		r.resolve(s, allowed{each: s.attribute("for_each") != nil, source: true})
	}
}

func (r resolver) resolve(s *stanza, may allowed) {
	for _, a := range s.attributes {
		r.resolveAttribute(a, allowed{
			each:   may.each && a.name != "for_each",
			source: may.source && a.name == "source",
		})
	}
	for _, inner := range s.blocks {
		r.resolve(inner, allowed{each: may.each})
	}
}

func (r resolver) resolveAttribute(a *attribute, may allowed) {
	for _, t := range a.references {
		if t.RootName() == "each" && may.each {
			a.each = true
		}
		summary, hint := r.wrongReference(t, may)
		if summary == "" {
			continue
		}
		a.bad = append(a.bad, t.SourceRange())
		if summary != maybeLost {
			r.found.fault(t.SourceRange(), summary, hint)
		}
	}
}

// maybeLost is the summary of a reference to what may stand in text that could not be
// read. It is not reported.
const maybeLost = "maybe lost"

// wrongReference says what is wrong with a reference; "" when nothing is.
func (r resolver) wrongReference(t hcl.Traversal, may allowed) (summary, hint string) {
	switch t.RootName() {
	case "local":
		name, named := memberName(t, 1)
		switch {
		case r.locals[name] != nil:
			return "", ""
		case named && r.lost.locals:
			return maybeLost, ""
		}
		return wrongMember(t, slices.Sorted(maps.Keys(r.locals)))
	case "path":
		return r.wrongPath(t)
	case "each":
		if !may.each {
			return "each is not known here", "it is known in a token or source block with for_each, and in the blocks in it"
		}
		return wrongMember(t, []string{"key", "value"})
	case "source", issuerKind:
		if !may.source {
			return "a source cannot be used here", "only the attribute source of a token block takes one"
		}
		if t.RootName() == issuerKind {
			return r.wrongIssuer(t)
		}
		return r.wrongSource(t)
	}
	return "unknown name " + t.RootName(), unknownRootHint(t)
}

func unknownRootHint(t hcl.Traversal) string {
	hint := "references begin with local, path, each, source or issuer"
	if len(t) == 1 {
		hint = fmt.Sprintf("a string is written in quotes: %q; %s", t.RootName(), hint)
	}
	return suggestion(t.RootName(), []string{"local", "path", "each", "source", issuerKind}, "%s", hint)
}

// wrongMember checks the second part of local.NAME, path.NAME and each.key.
func wrongMember(t hcl.Traversal, known []string) (summary, hint string) {
	root := t.RootName()
	name, named := memberName(t, 1)
	switch {
	case !named:
		return root + " without a name", "write " + root + ".NAME"
	case slices.Contains(known, name):
		return "", ""
	}
	return fmt.Sprintf("unknown %s.%s", root, name), suggestion(name, known, root+".%s", listed(root, known))
}

// fewNames is how many names a hint tells at most.
const fewNames = 8

func listed(root string, known []string) string {
	switch {
	case len(known) == 0:
		return "there is no " + root + " at all"
	case len(known) > fewNames:
		return fmt.Sprintf("none of the %d names is like it", len(known))
	}
	return "there is " + root + "." + strings.Join(known, ", "+root+".")
}

func (r resolver) wrongPath(t hcl.Traversal) (summary, hint string) {
	name, _ := memberName(t, 1)
	switch {
	case name == "credentials" && r.env.Credentials == "":
		return "path.credentials is not known here", "it is the folder of systemd's LoadCredential=, in $CREDENTIALS_DIRECTORY"
	case name == "discovery" && r.env.Discovery == "":
		return "path.discovery is not known here", "it is where programs of the agent's own user look for a token"
	}
	return wrongMember(t, []string{"config", "credentials", "discovery"})
}

// wrongSource checks source.KIND.NAME. In source.KIND[expression] the name is known only
// later.
func (r resolver) wrongSource(t hcl.Traversal) (summary, hint string) {
	kind, ok := memberName(t, 1)
	if !ok {
		return "source without a kind", "write source.KIND.NAME as in the header of the source block"
	}
	name, named := memberName(t, 2)
	switch {
	case kind == issuerKind && named:
		return "unknown source.issuer." + name, "an issuer is written " + sourceName{issuerKind, name}.String()
	case len(t) > 4 || len(t) == 4 && !isKey(t[3]):
		return "a source has no attributes to refer to", "write source.KIND.NAME, or source.KIND.NAME[KEY] where the source has for_each, and nothing behind it"
	case named && r.sources[sourceName{kind, name}] != nil:
		return "", ""
	case !named && slices.ContainsFunc(r.sourceOrder, func(s *stanza) bool { return s.labels[0] == kind }):
		return "", ""
	case r.lost.sources:
		return maybeLost, ""
	}
	given := "source." + kind
	if named {
		given = sourceName{kind, name}.String()
	}
	return "unknown " + given, r.sourceHint(given)
}

// wrongIssuer checks issuer.NAME.
func (r resolver) wrongIssuer(t hcl.Traversal) (summary, hint string) {
	name, named := memberName(t, 1)
	switch {
	case len(t) == 1:
		return "issuer without a name", "write issuer.NAME as in the header of the issuer block"
	case len(t) > 2:
		return "an issuer has no attributes to refer to", "write issuer.NAME, and nothing behind it"
	case !named || r.sources[sourceName{issuerKind, name}] != nil:
		return "", ""
	case r.lost.sources:
		return maybeLost, ""
	}
	given := sourceName{issuerKind, name}.String()
	return "unknown " + given, r.sourceHint(given)
}

// isKey reports whether the part of a reference is a key in brackets.
func isKey(part hcl.Traverser) bool {
	_, ok := part.(hcl.TraverseIndex)
	return ok
}
