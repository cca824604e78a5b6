package config

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	detailWidth  = 78  // columns of a detail
	excerptWidth = 160 // columns of a line of the file
	excerptLead  = 60  // columns shown before the marker in a line that is cut
)

// An excerpt is the line of a file that a fault is in, with the part to mark.
type excerpt struct {
	line       string
	start, end int // bytes of line; both within it
}

// excerptOf is the line in which the range begins, marked to its end at most.
func excerptOf(text []byte, at hcl.Range) excerpt {
	start := min(at.Start.Byte, len(text))
	begin := bytes.LastIndexByte(text[:start], '\n') + 1
	line, _, _ := bytes.Cut(text[begin:], []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	e := excerpt{line: hideSecrets(strings.ToValidUTF8(string(line), "?"))}
	e.start = min(start-begin, len(e.line))
	e.end = max(e.start, min(at.End.Byte-begin, len(e.line)))
	return e
}

// secretForms match what operators paste where a file's name belongs: a JWT, or the
// value of an attribute that is named like a secret. The secret is the group.
var secretForms = []*regexp.Regexp{
	regexp.MustCompile(`(eyJ[\w-]*\.[\w-]+(?:\.[\w-]*)?)`),
	regexp.MustCompile(`(?i)\b[\w-]*(?:secret|password|passphrase|token|private_key|_key|\bkey)"?\s*=\s*"([^"]*)`),
}

// hideSecrets covers what looks like a secret, byte for byte, so that markers
// stay where they belong.
func hideSecrets(line string) string {
	covered := []byte(line)
	for _, form := range secretForms {
		for _, at := range form.FindAllStringSubmatchIndex(line, -1) {
			copy(covered[at[2]:at[3]], strings.Repeat("*", at[3]-at[2]))
		}
	}
	return string(covered)
}

// write shows the line behind its number and, below it, the marker.
func (e excerpt) write(w io.Writer, number int) {
	before, marked, after := e.columns()
	if len(before)+len(marked)+len(after) > excerptWidth {
		before, marked, after = cut(before, marked, after)
	}
	gutter := fmt.Sprintf("%4d", number)
	fmt.Fprintf(w, "%s | %s%s%s\n", gutter, string(before), string(marked), string(after))
	fmt.Fprintf(w, "%s | %s%s\n", strings.Repeat(" ", len(gutter)),
		blanks(before), strings.Repeat("^", max(1, len(blanks(marked)))))
}

// columns are the three parts of the line as they can be printed.
func (e excerpt) columns() (before, marked, after []rune) {
	printable := func(text string) []rune { return []rune(host.Printable(text, "\t", '·')) }
	return printable(e.line[:e.start]), printable(e.line[e.start:e.end]), printable(e.line[e.end:])
}

// cut shortens a long line around the marked part.
func cut(before, marked, after []rune) (b, m, a []rune) {
	const ellipsis = '…'
	if len(before) > excerptLead {
		before = append([]rune{ellipsis}, before[len(before)-excerptLead:]...)
	}
	if room := excerptWidth - len(before); len(marked) > room {
		return before, append(marked[:room:room], ellipsis), nil
	}
	if room := excerptWidth - len(before) - len(marked); len(after) > room {
		after = append(after[:room:room], ellipsis)
	}
	return before, marked, after
}

// blanks are as wide as the text, tabs included.
func blanks(text []rune) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\t' {
			b.WriteByte('\t')
			continue
		}
		b.WriteString(strings.Repeat(" ", runeWidth(r)))
	}
	return b.String()
}

// runeWidth is how many columns of a terminal a character takes.
func runeWidth(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul), r >= 0x1f300 && r < 0x1fb00:
		return 2
	}
	return 1
}

// wrap breaks each line of a text between words. It leaves alone lines that begin with a
// blank: people copy them.
func wrap(text string) (lines []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, " ") {
			lines = append(lines, line)
		} else {
			lines = append(lines, wrapLine(line)...)
		}
	}
	return lines
}

func wrapLine(text string) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > detailWidth:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
