package tokendir

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// ExcludeKnob is the knob that says which names HTCondor passes over.
const ExcludeKnob = "LOCAL_CONFIG_DIR_EXCLUDE_REGEXP"

// DefaultExclude is the default of ExcludeKnob.
const DefaultExclude = `^((\..*)|(.*\.pl)|(.*\.py)|(.*\.sh)|(.*~)|(#.*)|(.*\.rpmsave)|(.*\.rpmnew)|(.*\.dpkg-old)|(.*\.dpkg-dist)|(.*\.cfsaved))$`

// An Exclude is the expression of the names that HTCondor passes over. The zero
// value is its default.
type Exclude struct {
	text       string         // as it was configured; "": the default
	expression *regexp.Regexp // that says the same of a name whose bytes are characters
	invalid    string         // why HTCondor takes the text for no expression; then it reads no file
}

var defaultExclude = compiled(replayed(DefaultExclude))

// ParseExclude reads a value of LOCAL_CONFIG_DIR_EXCLUDE_REGEXP. HTCondor takes
// the expressions of PCRE, of which some cannot be replayed here: look-around,
// back references, possessive repetition and the like are an error. One that is
// not an expression for HTCondor either is not: it excludes every name.
func ParseExclude(text string) (Exclude, error) {
	if text == DefaultExclude {
		return Exclude{}, nil
	}
	if text == "" {
		return Exclude{text: "(empty)", invalid: "it is empty"}, nil
	}
	expression, err := replayed(text)
	if fault, ok := errors.AsType[*syntax.Error](err); ok && slices.Contains(wrongInPCRE, fault.Code) {
		return Exclude{text: text, invalid: fault.Code.String()}, nil
	}
	if err != nil {
		return Exclude{}, fmt.Errorf(ExcludeKnob+" is an expression that tokenagent cannot replay (%w); use one without look-around, back references and other constructs of PCRE alone", err)
	}
	return Exclude{text: text, expression: expression}, nil
}

// wrongInPCRE are the faults that make an expression invalid for PCRE too.
var wrongInPCRE = []syntax.ErrorCode{
	syntax.ErrMissingParen, syntax.ErrUnexpectedParen, syntax.ErrMissingBracket,
	syntax.ErrTrailingBackslash, syntax.ErrMissingRepeatArgument, syntax.ErrInvalidCharRange,
}

// replayed is the expression as PCRE means it without options: it matches bytes,
// and $ stands before a line end at the end too.
func replayed(text string) (*regexp.Regexp, error) {
	if strings.Contains(text, `\p`) || strings.Contains(text, `\P`) {
		return nil, errors.New(`\p stands for characters of Unicode, and HTCondor matches bytes`)
	}
	parsed, err := syntax.Parse(characters(text), syntax.Perl)
	if err != nil {
		return nil, err
	}
	return regexp.Compile(dollars(parsed).String())
}

// characters has one character, of the same number, for each byte of the text.
func characters(text string) string {
	runes := make([]rune, len(text))
	for i := range len(text) {
		runes[i] = rune(text[i])
	}
	return string(runes)
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

// Excludes reports whether HTCondor passes over a file of that name.
func (e Exclude) Excludes(name string) bool {
	switch {
	case e.invalid != "":
		return true
	case e.expression == nil:
		return defaultExclude.MatchString(characters(name))
	}
	return e.expression.MatchString(characters(name))
}

// String is the expression as it is configured.
func (e Exclude) String() string {
	if e.text == "" {
		return DefaultExclude
	}
	return e.text
}

// IsDefault reports whether it is HTCondor's own default.
func (e Exclude) IsDefault() bool { return e.text == "" }

func compiled(e *regexp.Regexp, err error) *regexp.Regexp {
	if err != nil {
		panic(err)
	}
	return e
}

const generatedSuffix = "_auto_generated_token"

// Subsystem is the daemon, in capitals, that a token of that name was made by
// and for, and that reads it before all others; false for any other name.
func Subsystem(name string) (string, bool) {
	cut := len(name) - len(generatedSuffix)
	if cut < 1 || !strings.EqualFold(name[cut:], generatedSuffix) {
		return "", false
	}
	return strings.ToUpper(name[:cut]), true
}

// Compare orders the names of one directory as HTCondor reads them: those that
// [Subsystem] knows first, and by their bytes ("Z" before "a", "token10" before
// "token9").
func Compare(a, b string) int {
	_, generatedA := Subsystem(a)
	_, generatedB := Subsystem(b)
	switch {
	case generatedA && !generatedB:
		return -1
	case generatedB && !generatedA:
		return 1
	}
	return strings.Compare(a, b)
}

// ourTemporary are the names of the files that a tokenagent renames when they
// are complete.
var ourTemporary = regexp.MustCompile(`^\.tokenagent\..+\.[0-9a-f]{16}\.tmp$`)

// remains are endings that editors, packages and writers give to what they set
// aside or have not finished.
var remains = []string{".tmp", ".temp", ".new", ".part", ".bak", ".old", ".orig", ".save", ".swp", "~", ".rpmsave", ".rpmnew", ".dpkg-old", ".dpkg-dist", ".cfsaved"}

func looksLeft(name string) bool {
	return slices.ContainsFunc(remains, func(ending string) bool { return strings.HasSuffix(name, ending) })
}
