package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// A document is what the files of a configuration declare, in the order of the text.
type document struct {
	found       *findings
	sourceKinds []string
	lost        lost // what may stand in text that could not be read or parsed
	agents      []*stanza
	locals      map[string]*local
	localOrder  []*local
	sources     map[sourceName]*stanza // the first of each name
	sourceOrder []*stanza
	tokens      map[string]*stanza // the first of each name
	tokenOrder  []*stanza
}

// A local is one attribute of a locals block.
type local struct {
	*attribute
	file     *file
	visiting bool // it is being evaluated
}

// A sourceName is the two labels of a source block, by which tokens refer to it. An issuer
// block is a source with a kind of its own.
type sourceName struct{ kind, name string }

// issuerKind is the kind of source that an issuer block is. No source block has it.
const issuerKind = "issuer"

func nameOf(source *stanza) sourceName { return sourceName{source.labels[0], source.labels[1]} }

func (n sourceName) String() string {
	of := "source." + n.kind
	if n.kind == issuerKind {
		of = issuerKind
	}
	if hclsyntax.ValidIdentifier(n.name) {
		return of + "." + n.name
	}
	return fmt.Sprintf("%s[%q]", of, n.name)
}

// declare gathers the blocks of all files. It corrects misspelt kinds of sources.
func declare(r *reader, sourceKinds []string) *document {
	d := &document{found: r.found, lost: r.lost, sourceKinds: sourceKinds, locals: map[string]*local{}, sources: map[sourceName]*stanza{}, tokens: map[string]*stanza{}}
	for _, s := range r.broken {
		d.sources[nameOf(s)] = s
		d.sourceOrder = append(d.sourceOrder, s)
	}
	for _, f := range r.files {
		for _, a := range attributesOf(f.body) {
			d.found.fault(a.nameRange, "attribute "+a.name+" outside of a block", "attributes stand in an agent, locals, source, issuer or token block")
		}
		for _, block := range f.body.Blocks {
			d.block(newStanza(f, block))
		}
	}
	if len(d.tokenOrder) == 0 && !d.lost.tokens {
		d.found.fault(wholeOf(r), "no token block", `write at least one: token "NAME" { source = …, sink "file" { … } }`)
	}
	return d
}

// wholeOf is where a fault of no file in particular is shown.
func wholeOf(r *reader) hcl.Range {
	if len(r.files) == 0 {
		return hcl.Range{Filename: strings.Join(r.paths, ", ")}
	}
	return hcl.Range{Filename: r.files[len(r.files)-1].name}
}

func (d *document) block(s *stanza) {
	if !slices.Contains(blockKinds, s.kind) {
		d.found.fault(s.header, "unknown block "+s.kind, suggestion(s.kind, blockKinds, "%s", "blocks are agent, locals, source, issuer and token"))
		if s.kind = profile.Meant(s.kind, blockKinds); s.kind == "" {
			return
		}
	}
	proper := s.labelled(d.found, topLevel[s.kind]...)
	switch s.kind {
	case "agent":
		if len(d.agents) > 0 {
			d.found.again(s.header, "a second agent block", d.agents[0].header)
		}
		d.agents = append(d.agents, s)
	case "locals":
		d.addLocals(s)
	case "source":
		d.addSource(s, proper)
	case "issuer":
		s.labels, s.labelAt = append([]string{issuerKind}, s.labels...), append([]hcl.Range{s.header}, s.labelAt...)
		d.addSource(s, proper)
	case "token":
		d.addToken(s, proper)
	}
}

func (d *document) addLocals(s *stanza) {
	for _, inner := range s.blocks {
		d.found.fault(inner.header, "unknown block "+inner.kind, "a locals block has only attributes")
	}
	for _, a := range s.attributes {
		if first := d.locals[a.name]; first != nil {
			d.found.again(a.nameRange, "local."+a.name+" is defined twice", first.nameRange)
			continue
		}
		n := &local{attribute: a, file: s.file}
		d.locals[a.name] = n
		d.localOrder = append(d.localOrder, n)
	}
}

func (d *document) addSource(s *stanza, proper bool) {
	d.sourceOrder = append(d.sourceOrder, s)
	if !proper {
		d.lost.sources = true // what refers to it cannot be found
		return
	}
	if s.kind == "source" {
		s.correctKind(d.found, d.sourceKinds)
	}
	name := nameOf(s)
	if first := d.sources[name]; first != nil {
		d.found.again(s.labelAt[1], name.String()+" is defined twice", first.header)
		s.duplicate = true
		return
	}
	d.sources[name] = s
}

func (d *document) addToken(s *stanza, proper bool) {
	d.tokenOrder = append(d.tokenOrder, s)
	name := s.labels[0]
	switch first := d.tokens[name]; {
	case !proper:
	case strings.ContainsFunc(name, notInTokenName):
		d.found.fault(s.labelAt[0], "not a name for a token", "it is made of letters, digits and - _ . @, so that it can be typed in commands")
	case first != nil:
		d.found.again(s.labelAt[0], fmt.Sprintf("token %q is defined twice", name), first.header)
		s.duplicate = true
	default:
		d.tokens[name] = s
	}
}

func notInTokenName(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.@", r)
}

// standIn takes the place of a label or key that is missing or wrong. It adds no folder
// to a path.
const standIn = "x"

// correctKind reports a first label that is not one of the known kinds. Where one of them
// is surely meant, the block is read as that, so that its other faults are found too.
func (s *stanza) correctKind(found *findings, known []string) {
	kind := s.labels[0]
	if slices.Contains(known, kind) {
		return
	}
	hint := suggestion(kind, known, "%q", "the kinds are "+strings.Join(known, ", "))
	if s.kind == "source" && kind == issuerKind {
		hint = `an issuer is a block of its own: issuer "NAME" { … }`
	}
	found.fault(s.labelAt[0], fmt.Sprintf("unknown kind of %s %q", s.kind, kind), hint)
	s.labels[0] = cmp.Or(profile.Meant(kind, known), kind)
}

// labelled reports whether the block has labels of that number and form. A label that is
// missing or wrong becomes a stand-in.
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

// sourceHint names the source that is most like the given one.
func (d *document) sourceHint(given string) string {
	known := make([]string, 0, len(d.sourceOrder))
	for _, s := range d.sourceOrder {
		known = append(known, nameOf(s).String())
	}
	hint := `there is no source at all; write source "KIND" "NAME" { … }`
	if len(known) > 0 {
		hint = "there is " + strings.Join(known[:min(len(known), fewNames)], ", ")
	}
	short := make([]string, len(known)) // what names have in common makes none more alike
	for i, name := range known {
		short[i] = strings.TrimPrefix(name, "source")
	}
	if near := slices.Index(short, profile.Nearest(strings.TrimPrefix(given, "source"), short)); near >= 0 {
		return "did you mean " + known[near] + "?"
	}
	return hint
}
