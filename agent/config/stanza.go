package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// A file is one that could be parsed, or the part of one that could.
type file struct {
	name  string // as it was given
	body  *hclsyntax.Body
	scope *hcl.EvalContext // see evaluator.scope; nil before the first use
}

// A stanza is one block of the text, with its attributes and inner blocks in their order.
type stanza struct {
	kind       string
	labels     []string
	labelAt    []hcl.Range
	header     hcl.Range
	file       *file
	attributes []*attribute
	blocks     []*stanza
	improper   bool // its labels are wrong, which was reported
	spare      bool // there is one of that name already: it is only checked
	broken     bool // it could not be parsed: only its kind and labels are known
}

// An attribute is one name = expression of a stanza.
type attribute struct {
	name       string
	index      int // in the stanza
	nameRange  hcl.Range
	expr       hclsyntax.Expression
	references []hcl.Traversal // the names that expr uses
	bounded    bool            // expr counts what it makes, see meter
	each       bool            // it depends on each.key or each.value
	bad        []hcl.Range     // of the references that are unknown, which was reported
	known      bool            // value is set: it is the same for all instances
	value      cty.Value       // of one that does not depend on each
}

// An instance is one of those that a token block with for_each makes.
type instance struct {
	name  string // pilot["ce1"]
	key   string
	value cty.Value
	set   bool             // for_each is a set, so that each.value is the key
	total int              // how many instances the block has
	look  bool             // it makes no token: only what is wrong is looked for
	scope *hcl.EvalContext // that of the file, and each; made at first use
}

func (s *stanza) attribute(name string) *attribute {
	for _, a := range s.attributes {
		if a.name == name {
			return a
		}
	}
	return nil
}

// inner are the blocks of that kind in the block.
func (s *stanza) inner(kind string) (list []*stanza) {
	for _, b := range s.blocks {
		if b.kind == kind {
			list = append(list, b)
		}
	}
	return list
}

func newStanza(f *file, block *hclsyntax.Block) *stanza {
	s := &stanza{kind: block.Type, labels: block.Labels, labelAt: block.LabelRanges, header: block.DefRange(), file: f}
	s.attributes = attributesOf(block.Body)
	for _, inner := range block.Body.Blocks {
		s.blocks = append(s.blocks, newStanza(f, inner))
	}
	return s
}

func attributesOf(body *hclsyntax.Body) []*attribute {
	list := make([]*attribute, 0, len(body.Attributes))
	for name, a := range body.Attributes {
		list = append(list, &attribute{name: name, nameRange: a.NameRange, expr: a.Expr, references: a.Expr.Variables()})
	}
	slices.SortFunc(list, func(a, b *attribute) int { return a.nameRange.Start.Byte - b.nameRange.Start.Byte })
	for i, a := range list {
		a.index = i
	}
	return list
}

const mostName = 200 // characters of a name or key

// isName reports whether the text can name a source, or an instance.
func isName(text string) bool {
	return text != "" && utf8.RuneCountInString(text) <= mostName &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// standIn takes the place of a label or key that is missing or wrong. It adds no folder
// to a path.
const standIn = "x"

// correctKind reports the first label where it is none of the known kinds. One that is
// surely meant takes its place, so that what else is wrong with the block is found.
func (s *stanza) correctKind(found *findings, known []string) {
	kind := s.labels[0]
	if slices.Contains(known, kind) {
		return
	}
	found.fault(s.labelAt[0], fmt.Sprintf("unknown kind of %s %q", s.kind, kind),
		suggestion(kind, known, "%q", "the kinds are "+strings.Join(known, ", ")))
	s.labels[0] = cmp.Or(profile.Meant(kind, known), kind)
}

// labelled reports whether the block has labels of that number and form. It puts a
// stand-in in the place of each that is missing or wrong.
func (s *stanza) labelled(found *findings, labels ...string) bool {
	if s.improper {
		return false
	}
	if len(s.labels) != len(labels) {
		form := s.kind
		for _, label := range labels {
			form += ` "` + label + `"`
		}
		found.fault(s.header, fmt.Sprintf("%s with %d labels", s.kind, len(s.labels)), "write "+form+" { … }")
		s.improper = true
	}
	for i := range labels {
		switch {
		case i >= len(s.labels):
			s.labels, s.labelAt = append(s.labels, standIn), append(s.labelAt, s.header)
		case !isName(s.labels[i]):
			found.fault(s.labelAt[i], "not a name", fmt.Sprintf("names and kinds have 1 to %d printable characters", mostName))
			s.labels[i], s.improper = standIn, true
		}
	}
	s.labels = s.labels[:len(labels)]
	return !s.improper
}
