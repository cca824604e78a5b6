package config

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent/profile"
)

const mostName = 200 // characters of a name or key

// declare takes over the blocks of all files and makes their names known, then
// checks every reference.
func (l *loading) declare() {
	for _, f := range l.files {
		for _, a := range attributesOf(f.body) {
			l.fault(a.nameRange, "attribute "+a.name+" outside of a block", "attributes stand in an agent, locals, source or token block")
		}
		for _, block := range f.body.Blocks {
			l.declareBlock(stanzaOf(f, block))
		}
	}
	l.resolveAll()
	if len(l.tokenOrder) == 0 && !l.lost.tokens {
		l.fault(l.wholeConfiguration(), "no token block", `at least one is wanted: token "NAME" { source = …, sink "file" { … } }`)
	}
}

// wholeConfiguration is where a fault of no file in particular is shown.
func (l *loading) wholeConfiguration() hcl.Range {
	if len(l.files) == 0 {
		return hcl.Range{Filename: strings.Join(l.paths, ", ")}
	}
	return hcl.Range{Filename: l.files[len(l.files)-1].name}
}

// topLevel are the blocks outside of any other, each with what its labels are.
var topLevel = map[string][]string{"agent": {}, "locals": {}, "source": {"KIND", "NAME"}, "token": {"NAME"}}

var blockKinds = []string{"agent", "locals", "source", "token"}

func (l *loading) declareBlock(s *stanza) {
	labels, known := topLevel[s.kind]
	if !known {
		near := profile.Nearest(s.kind, blockKinds)
		hint := "blocks are agent, locals, source and token"
		if near != "" {
			hint = "did you mean " + near + "?"
		}
		l.fault(s.header, "unknown block "+s.kind, hint)
		if profile.Meant(s.kind, blockKinds) == "" {
			return
		}
		s.kind, labels = near, topLevel[near] // so that what else is wrong with it is found
	}
	proper := l.labelled(s, labels...)
	switch s.kind {
	case "agent":
		if len(l.agents) > 0 {
			l.again(s.header, "a second agent block", l.agents[0].header)
		}
		l.agents = append(l.agents, s)
	case "locals":
		l.declareLocals(s)
	case "source":
		l.declareSource(s, proper)
	case "token":
		l.declareToken(s, proper)
	}
}

// labelled reports whether the block has these labels, and proper ones. In the place
// of those that it has not it gets stand-ins.
func (l *loading) labelled(s *stanza, labels ...string) bool {
	if s.improper {
		return false
	}
	if len(s.labels) != len(labels) {
		form := s.kind
		for _, label := range labels {
			form += ` "` + label + `"`
		}
		l.fault(s.header, fmt.Sprintf("%s with %d labels", s.kind, len(s.labels)), "write "+form+" { … }")
		s.improper = true
	}
	for i := range labels {
		switch {
		case i >= len(s.labels):
			s.labels, s.labelAt = append(s.labels, standIn), append(s.labelAt, s.header)
		case !isName(s.labels[i]):
			l.fault(s.labelAt[i], "not a name", fmt.Sprintf("names and kinds have 1 to %d printable characters", mostName))
			s.labels[i], s.improper = standIn, true
		}
	}
	s.labels = s.labels[:len(labels)]
	return !s.improper
}

// isName reports whether the text can name a source, or an instance.
func isName(text string) bool {
	return text != "" && utf8.RuneCountInString(text) <= mostName &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// again reports what stands in the configuration already.
func (l *loading) again(at hcl.Range, summary string, first hcl.Range) {
	l.fault(at, summary, "the first is at "+placeText(first))
}

func placeText(at hcl.Range) string {
	return fmt.Sprintf("%s:%d:%d", at.Filename, at.Start.Line, at.Start.Column)
}

func (l *loading) declareLocals(s *stanza) {
	for _, inner := range s.blocks {
		l.fault(inner.header, "unknown block "+inner.kind, "a locals block has only attributes")
	}
	for _, a := range s.attributes {
		if first := l.locals[a.name]; first != nil {
			l.again(a.nameRange, "local."+a.name+" is defined twice", first.nameRange)
			continue
		}
		n := &local{attribute: a, file: s.file}
		l.locals[a.name] = n
		l.localOrder = append(l.localOrder, n)
	}
}

func (l *loading) declareSource(s *stanza, proper bool) {
	if proper {
		s.labels[0] = l.sourceKind(s)
	}
	n := &source{name: sourceName{s.labels[0], s.labels[1]}, stanza: s}
	l.sourceOrder = append(l.sourceOrder, n)
	if !proper {
		l.lost.sources = true // what refers to it cannot be found
		return
	}
	if first := l.sources[n.name]; first != nil {
		l.again(s.labelAt[1], n.name.String()+" is defined twice", first.stanza.header)
		s.spare = true
		return
	}
	l.sources[n.name] = n
}

func (l *loading) declareToken(s *stanza, proper bool) {
	l.tokenOrder = append(l.tokenOrder, s)
	l.correct(s, fieldNames(l.fieldsOf(reflect.TypeFor[tokenText]())), l.inToken())
	name := s.labels[0]
	switch first := l.tokens[name]; {
	case !proper: // which has been said
	case strings.ContainsFunc(name, notInTokenName):
		l.fault(s.labelAt[0], "not a name for a token", "it is made of letters, digits and - _ . @, so that it can be typed in commands")
	case first != nil:
		l.again(s.labelAt[0], fmt.Sprintf("token %q is defined twice", name), first.header)
		s.spare = true
	default:
		l.tokens[name] = s
	}
}

func notInTokenName(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.@", r)
}
