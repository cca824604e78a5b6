package pcre

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	inlineCase  = regexp.MustCompile(`\(\?[a-zA-Z]*i`)
	inlineLines = regexp.MustCompile(`\(\?[a-zA-Z]*m`)
	groupName   = regexp.MustCompile(`^\(\?P?<([^>]*)>`)
	repetition  = regexp.MustCompile(`^\{[0-9]+(,[0-9]*)?\}`)
	newer       = regexp.MustCompile(`^\{[ \t]*[0-9]*[ \t]*,?[ \t]*[0-9]*[ \t]*\}`) // such as {,3}: a repetition from PCRE 10.43 on, before it is text
	bracketed   = regexp.MustCompile(`^\[([:.=])[^\]]*[:.=]\]`)
	codes       = regexp.MustCompile(`^\\(?:x\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|([0-7]{1,3}))`)
)

// An invalidError says why PCRE does not take an expression that Go takes.
type invalidError string

func (e invalidError) Error() string { return string(e) }

// A translator turns an expression of PCRE into one that means the same to Go. It refuses
// what the two read in different ways; each was seen with HTCondor 23.9.6. What Go refuses
// needs no rule here.
type translator struct {
	text     string
	at       int
	out      strings.Builder
	caseless bool
	names    []string // of groups
}

func translated(text string, caseless bool) (string, error) {
	t := translator{text: text, caseless: caseless || inlineCase.MatchString(text)}
	if inlineLines.MatchString(text) && strings.Contains(text, "^") {
		return "", errors.New("^ in several lines (?m), which PCRE does not find behind the last line end")
	}
	for t.at < len(text) {
		if err := t.next(); err != nil {
			return "", err
		}
	}
	return t.out.String(), nil
}

func (t *translator) rest() string { return t.text[t.at:] }

// copy takes over the next n bytes.
func (t *translator) copy(n int) {
	n = min(n, len(t.rest()))
	t.out.WriteString(t.rest()[:n])
	t.at += n
}

// repeated reports whether a repetition follows after n bytes.
func (t *translator) repeated(n int) bool {
	return len(t.rest()) > n && strings.IndexByte("*+?{", t.rest()[n]) >= 0
}

// next takes over what comes next, outside of classes.
func (t *translator) next() error {
	rest := t.rest()
	switch rest[0] {
	case '\\':
		return t.escape(false)
	case '[':
		return t.class()
	case '(':
		return t.group()
	case '^':
		if t.repeated(1) {
			return errors.New("a repetition of ^")
		}
	case '{':
		if form := newer.FindString(rest); strings.ContainsAny(form, "0123456789") && !repetition.MatchString(rest) {
			return fmt.Errorf("%s, which versions of PCRE read in two ways", form)
		}
	}
	t.copy(1)
	return nil
}

func (t *translator) group() error {
	rest := t.rest()
	if len(rest) > 2 && rest[1] == '*' && (rest[2]|' ' >= 'a' && rest[2]|' ' <= 'z') {
		return errors.New("a verb, as (*FAIL)")
	}
	if found := groupName.FindStringSubmatch(rest); found != nil {
		name := found[1]
		if name == "" || name[0] <= '9' || slices.Contains(t.names, name) {
			return invalidError(fmt.Sprintf("the name %q of a group", name))
		}
		t.names = append(t.names, name)
	}
	t.copy(1)
	return nil
}

// escape takes over a backslash and what follows. For PCRE \s includes VT, and \v is any
// line end.
func (t *translator) escape(inClass bool) error {
	rest := t.rest()
	if len(rest) < 2 {
		t.copy(1)
		return nil
	}
	switch c := rest[1]; {
	case c == 's' && inClass:
		return t.write(`\t-\r `, 2)
	case c == 's':
		return t.write(`[\t-\r ]`, 2)
	case c == 'S' && inClass:
		return errors.New(`\S in a class`)
	case c == 'S':
		return t.write(`[^\t-\r ]`, 2)
	case c == 'v':
		return errors.New(`\v`)
	case (c == 'b' || c == 'B') && t.repeated(2):
		return fmt.Errorf(`a repetition of \%c`, c)
	case c == 'Q' && !inClass:
		end := strings.Index(rest, `\E`)
		if end < 0 {
			end = len(rest)
		}
		t.copy(end + 2)
		return nil
	case c == 'x' || '0' <= c && c <= '7':
		return t.code()
	}
	t.copy(2)
	return nil
}

// write writes the text for the next n bytes.
func (t *translator) write(text string, n int) error {
	t.out.WriteString(text)
	t.at += n
	return nil
}

// code takes over a character given by number. HTCondor matches bytes; their case beyond
// ASCII depends on the locale.
func (t *translator) code() error {
	found := codes.FindStringSubmatch(t.rest())
	if found == nil {
		t.copy(2)
		return nil
	}
	n, err := strconv.ParseUint(found[1]+found[2], 16, 32)
	if found[3] != "" {
		n, err = strconv.ParseUint(found[3], 8, 32)
	}
	switch {
	case err != nil || n > 0xff:
		return invalidError(found[0] + " is not a byte")
	case n > 0x7f && t.caseless:
		return fmt.Errorf("%s without regard to case, which depends on the locale", found[0])
	}
	t.copy(len(found[0]))
	return nil
}

// class takes over a class, from its [ to its ].
func (t *translator) class() error {
	if found := bracketed.FindStringSubmatch(t.rest()); found != nil {
		return invalidError(found[0] + " outside of a class")
	}
	t.copy(1)
	for _, first := range []string{"^", "]"} {
		if strings.HasPrefix(t.rest(), first) {
			t.copy(1)
		}
	}
	for t.at < len(t.text) && t.rest()[0] != ']' {
		rest, set := t.rest(), false
		switch found := bracketed.FindStringSubmatch(rest); {
		case found != nil && found[1] != ":":
			return invalidError(found[0] + " is not known in a class")
		case found != nil:
			t.copy(len(found[0]))
			set = true
		case rest[0] == '\\':
			set = len(rest) > 1 && strings.IndexByte("dDwWsS", rest[1]) >= 0
			if err := t.escape(true); err != nil {
				return err
			}
		default:
			t.copy(1)
		}
		if after := t.rest(); set && strings.HasPrefix(after, "-") && !strings.HasPrefix(after, "-]") {
			return invalidError("a class has - behind a set of characters; write it last")
		}
	}
	t.copy(1)
	return nil
}
