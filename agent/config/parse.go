package config

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// A parsing is what came of the text of one file.
type parsing struct {
	bodies []*hclsyntax.Body
	lost   []part // those that could not be parsed; the zero part stands for any block
	diags  hcl.Diagnostics
}

// parse parses a file. Where that fails, it parses each block by itself, so that a
// syntax fault in one hides nothing that is wrong in the others.
func parse(name string, text []byte) (p parsing) {
	body, whole := parseText(text, name, hcl.InitialPos)
	if !whole.HasErrors() {
		return parsing{bodies: []*hclsyntax.Body{body}}
	}
	parts := partsOf(text)
	if slices.ContainsFunc(parts, part.tooDeep) { // it begins within a comment or a string
		parts = nil
	}
	for _, one := range parts {
		body, diags := parseText(one.text, name, one.start)
		p.diags = append(p.diags, diags...)
		if isWhole(diags) {
			p.bodies = append(p.bodies, body)
		} else {
			p.lost = append(p.lost, one)
		}
	}
	if !p.diags.HasErrors() { // what was taken for a block is a part of one
		p.diags, p.lost = append(p.diags, whole...), append(p.lost, part{})
	}
	return p
}

func parseText(text []byte, name string, start hcl.Pos) (*hclsyntax.Body, hcl.Diagnostics) {
	parsed, diags := hclsyntax.ParseConfig(text, name, start)
	return parsed.Body.(*hclsyntax.Body), diags
}

// isWhole reports whether the parser has read all of the text despite its errors: of an
// attribute that is written twice it takes the first.
func isWhole(diags hcl.Diagnostics) bool {
	return !slices.ContainsFunc(diags, func(d *hcl.Diagnostic) bool { return d.Summary != "Attribute redefined" })
}

// A part is one block of a file that could not be parsed, or what stands before the
// first block.
type part struct {
	kind   string // of blockKinds, or ""
	labels []string
	text   []byte
	start  hcl.Pos
}

func (p part) tooDeep() bool { return tooDeep(p.text) }

// headerForm is the beginning of a block, on a line that is not indented.
var headerForm = regexp.MustCompile(`^([A-Za-z_]+)((?:[ \t]+"[^"\n]*")*)[ \t]*\{`)

// partsOf divides a file before each line that looks like the header of a block.
func partsOf(text []byte) []part {
	at := hcl.InitialPos
	parts := []part{{start: at}}
	for line := range bytes.Lines(text) {
		if header := headerForm.FindSubmatch(line); header != nil {
			if kind := profile.Meant(string(header[1]), blockKinds); kind != "" {
				parts = append(parts, part{kind: kind, labels: labelsIn(string(header[2])), start: at})
			}
		}
		last := &parts[len(parts)-1]
		at.Byte += len(line)
		at.Line++
		last.text = text[last.start.Byte:at.Byte]
	}
	return parts
}

// labelsIn are the labels of a header without their quotes.
func labelsIn(text string) (labels []string) {
	for i, piece := range strings.Split(text, `"`) {
		if i%2 == 1 {
			labels = append(labels, piece)
		}
	}
	return labels
}
