package config

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A file is one that could be parsed, or a part that could.
type file struct {
	name  string // as it was given
	body  *hclsyntax.Body
	scope *hcl.EvalContext // see evaluator.scopeOf; nil before the first use
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
	improper   bool // its labels are wrong
	duplicate  bool // another has its name: this one is only checked
	broken     bool // it could not be parsed: only its kind and labels are known
}

// topLevel are the kinds of blocks outside of any other, each with its labels.
var topLevel = map[string][]string{"agent": {}, "locals": {}, "source": {"KIND", "NAME"}, "issuer": {"NAME"}, "token": {"NAME"}}

var blockKinds = []string{"agent", "locals", "source", "issuer", "token"}

// An attribute is one name = expression of a stanza.
type attribute struct {
	name       string
	index      int // in the stanza
	nameRange  hcl.Range
	expr       hclsyntax.Expression
	references []hcl.Traversal // the names that expr uses
	bounded    bool            // expr counts what it makes, see meter
	each       bool            // it depends on each.key or each.value
	bad        []hcl.Range     // of the references that are wrong
	known      bool            // value is set: it is the same for all instances
	value      cty.Value       // of one that does not depend on each
}

// An instance is one of those that a token block with for_each makes.
type instance struct {
	name      string // pilot["ce1"]
	key       string
	value     cty.Value
	set       bool             // for_each is a set, so that each.value is the key
	total     int              // how many instances the block has
	checkOnly bool             // it makes no token, and is there to find faults
	scope     *hcl.EvalContext // that of the file, and each; made at first use
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
