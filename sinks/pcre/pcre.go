// Package pcre replays HTCondor's regular expressions, those of PCRE, with Go's engine.
// What that cannot replay is an error: look-around, back references, possessive repetition
// and the like.
package pcre

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Options are those of an expression.
type Options struct {
	IgnoreCase bool // PCRE2_CASELESS
	Ungreedy   bool // PCRE2_UNGREEDY
}

// A Regexp is an expression as HTCondor uses it: it matches bytes, and $ stands
// before a line end at the end too.
type Regexp struct{ expression *regexp.Regexp }

// Compile reads an expression. [Invalid] says of its error whether PCRE would refuse the
// expression too.
func Compile(text string, o Options) (*Regexp, error) {
	if strings.Contains(text, `\p`) || strings.Contains(text, `\P`) {
		return nil, errors.New(`\p stands for characters of Unicode, and HTCondor matches bytes`)
	}
	flags := syntax.Perl
	if o.IgnoreCase {
		flags |= syntax.FoldCase
	}
	if o.Ungreedy {
		flags |= syntax.NonGreedy
	}
	if (o.IgnoreCase || inlineCase.MatchString(text)) && strings.ContainsFunc(text, func(r rune) bool { return r > 0x7f }) {
		return nil, errors.New("letters beyond ASCII, whose case depends on the locale")
	}
	text, err := translated(text, o.IgnoreCase)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(characters(text), flags)
	if err != nil {
		return nil, err
	}
	e, err := regexp.Compile(dollars(parsed).String())
	if err != nil {
		return nil, err
	}
	return &Regexp{e}, nil
}

// invalid are the faults that make an expression invalid for PCRE too.
var invalid = []syntax.ErrorCode{
	syntax.ErrMissingParen, syntax.ErrUnexpectedParen, syntax.ErrMissingBracket,
	syntax.ErrTrailingBackslash, syntax.ErrMissingRepeatArgument, syntax.ErrInvalidCharRange,
}

// Invalid says why PCRE, too, would refuse the expression that Compile returned err for;
// false if only Go's engine does.
func Invalid(err error) (why string, is bool) {
	if fault, ok := errors.AsType[*syntax.Error](err); ok && slices.Contains(invalid, fault.Code) {
		return fault.Code.String(), true
	}
	if why, ok := errors.AsType[invalidError](err); ok {
		return why.Error(), true
	}
	return "", false
}

// Matches reports whether the expression matches somewhere in the text.
func (r *Regexp) Matches(text string) bool { return r.expression.MatchString(characters(text)) }

// Groups are the match in the text and its groups, up to the last one that took part;
// nil where nothing matches. A group without a part is empty.
func (r *Regexp) Groups(text string) []string {
	wide := characters(text)
	at := r.expression.FindStringSubmatchIndex(wide)
	var groups []string
	last := 0
	for i := 0; i < len(at); i += 2 {
		group := ""
		if at[i] >= 0 {
			group, last = bytesOf(wide[at[i]:at[i+1]]), i/2
		}
		groups = append(groups, group)
	}
	if groups == nil {
		return nil
	}
	return groups[:last+1]
}

// characters has one character, of the same number, for each byte of the text.
func characters(text string) string {
	runes := make([]rune, len(text))
	for i := range len(text) {
		runes[i] = rune(text[i])
	}
	return string(runes)
}

// bytesOf undoes characters.
func bytesOf(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteByte(byte(r))
	}
	return b.String()
}

// dollars is the expression in which $ also stands before a final line end.
func dollars(e *syntax.Regexp) *syntax.Regexp {
	for i, sub := range e.Sub {
		e.Sub[i] = dollars(sub)
	}
	if e.Op != syntax.OpEndText || e.Flags&syntax.WasDollar == 0 {
		return e
	}
	lineEnd := &syntax.Regexp{Op: syntax.OpLiteral, Rune: []rune{'\n'}}
	end := &syntax.Regexp{Op: syntax.OpEndText}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: []*syntax.Regexp{{Op: syntax.OpQuest, Sub: []*syntax.Regexp{lineEnd}}, end}}
}
