package tokendir

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/sinks/pcre"
)

// ExcludeKnob is the knob that says which names HTCondor passes over.
const ExcludeKnob = "LOCAL_CONFIG_DIR_EXCLUDE_REGEXP"

// DefaultExclude is the default of ExcludeKnob.
const DefaultExclude = `^((\..*)|(.*\.pl)|(.*\.py)|(.*\.sh)|(.*~)|(#.*)|(.*\.rpmsave)|(.*\.rpmnew)|(.*\.dpkg-old)|(.*\.dpkg-dist)|(.*\.cfsaved))$`

// An Exclude is the expression of the names that HTCondor passes over. The zero
// value is its default.
type Exclude struct {
	text       string // as it was configured; "": the default
	expression *pcre.Regexp
	invalid    string // why HTCondor takes the text for no expression; then it reads no file
}

var defaultExclude = compiled(pcre.Compile(DefaultExclude, pcre.Options{}))

// ParseExclude reads a value of LOCAL_CONFIG_DIR_EXCLUDE_REGEXP. An expression of PCRE
// that cannot be replayed here is an error: look-around, back references, possessive
// repetition and the like. One that is invalid for HTCondor too is no error: it excludes
// every name.
func ParseExclude(text string) (Exclude, error) {
	if text == DefaultExclude {
		return Exclude{}, nil
	}
	if text == "" {
		return Exclude{text: "(empty)", invalid: "it is empty"}, nil
	}
	expression, err := pcre.Compile(text, pcre.Options{})
	if why, invalid := pcre.Invalid(err); invalid {
		return Exclude{text: text, invalid: why}, nil
	}
	if err != nil {
		return Exclude{}, fmt.Errorf(ExcludeKnob+" is an expression that tokenagent cannot replay (%w); use one without look-around, back references and other constructs of PCRE alone", err)
	}
	return Exclude{text: text, expression: expression}, nil
}

// Excludes reports whether HTCondor passes over a file of that name.
func (e Exclude) Excludes(name string) bool {
	switch {
	case e.invalid != "":
		return true
	case e.expression == nil:
		return defaultExclude.Matches(name)
	}
	return e.expression.Matches(name)
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

func compiled(e *pcre.Regexp, err error) *pcre.Regexp {
	if err != nil {
		panic(err)
	}
	return e
}

const generatedSuffix = "_auto_generated_token"

// Subsystem is the daemon, in capitals, that made the token of that name for itself and
// reads it first; false for any other name.
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

// ourTemporary are the names of files that a tokenagent is writing.
var ourTemporary = regexp.MustCompile(`^\.tokenagent\..+\.[0-9a-f]{16}\.tmp$`)

// remains are endings of files that an editor, a package or a writer has set aside or
// not finished.
var remains = []string{".tmp", ".temp", ".new", ".part", ".bak", ".old", ".orig", ".save", ".swp", "~", ".rpmsave", ".rpmnew", ".dpkg-old", ".dpkg-dist", ".cfsaved"}

func looksLeft(name string) bool {
	return slices.ContainsFunc(remains, func(ending string) bool { return strings.HasSuffix(name, ending) })
}
