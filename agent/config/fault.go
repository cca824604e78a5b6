package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

const (
	severityError   = "error"
	severityWarning = "warning"
)

// A Fault is one thing that is wrong with a configuration, or surely not meant,
// and where.
type Fault struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`   // from 1; 0: the file as a whole
	Column   int    `json:"column,omitempty"` // in characters, from 1
	Severity string `json:"severity"`         // "error" or "warning"
	Summary  string `json:"summary"`          // what is wrong, in a few words
	Detail   string `json:"detail,omitempty"` // what is allowed, or what to do
	excerpt  excerpt
}

// Error is the fault on one line: file:line:col: summary; detail.
func (f Fault) Error() string {
	text := f.place() + ": " + f.Summary
	if f.Detail != "" {
		text += "; " + f.Detail
	}
	return text
}

// IsWarning reports whether the configuration can be used nevertheless.
func (f Fault) IsWarning() bool { return f.Severity == severityWarning }

func (f Fault) place() string {
	if f.Line == 0 {
		return f.File
	}
	return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
}

// Faults are all that was found in a configuration, in the order of its files
// and lines: errors and warnings. As JSON they are a list of objects.
type Faults []Fault

// HasErrors reports whether the configuration cannot be used.
func (fs Faults) HasErrors() bool {
	return slices.ContainsFunc(fs, func(f Fault) bool { return !f.IsWarning() })
}

// Errors are those for which the configuration cannot be used.
func (fs Faults) Errors() Faults {
	return slices.DeleteFunc(slices.Clone(fs), Fault.IsWarning)
}

// Warnings are those that leave the configuration usable.
func (fs Faults) Warnings() Faults {
	return slices.DeleteFunc(slices.Clone(fs), func(f Fault) bool { return !f.IsWarning() })
}

// Error is every error on a line of its own; warnings are left out.
func (fs Faults) Error() string {
	var lines []string
	for _, f := range fs.Errors() {
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "\n")
}

// WriteText writes the faults for people, each as
//
//	file:line:col: error: summary
//	  detail
//	  12 |   mode = 640
//	     |          ^^^
//
// with a blank line between two. What looks like a secret in a line of the file
// is not shown.
func (fs Faults) WriteText(w io.Writer) error {
	var text bytes.Buffer
	for i, f := range fs {
		if i > 0 {
			text.WriteByte('\n')
		}
		fmt.Fprintf(&text, "%s: %s: %s\n", f.place(), f.Severity, f.Summary)
		for _, line := range wrap(f.Detail) {
			fmt.Fprintf(&text, "  %s\n", line)
		}
		if f.Line > 0 {
			f.excerpt.write(&text, f.Line)
		}
	}
	_, err := w.Write(text.Bytes())
	return err
}

// A finding is a fault as it is reported, before it is sorted and merged.
type finding struct {
	severity        string
	at              hcl.Range
	summary, detail string
	instance        *instance // nil outside of a token with for_each
}

// forget drops what was found in a part of the text: the value of an attribute
// that is unknown, of which nobody can say what it may hold.
func (l *loading) forget(part hcl.Range) {
	l.found = slices.DeleteFunc(l.found, func(f finding) bool {
		return f.at.Filename == part.Filename && part.Start.Byte <= f.at.Start.Byte && f.at.End.Byte <= part.End.Byte
	})
}

// order is that of the files, then of the positions in them.
func (l *loading) order(a, b finding) int {
	return cmp.Or(
		cmp.Compare(l.fileOrder[a.at.Filename], l.fileOrder[b.at.Filename]),
		cmp.Compare(a.at.Start.Byte, b.at.Start.Byte),
		cmp.Compare(a.at.End.Byte, b.at.End.Byte),
		strings.Compare(a.severity, b.severity),
		strings.Compare(a.summary, b.summary),
	)
}

// faults sorts the findings, and merges those that the instances of a token
// with for_each have in common.
func (l *loading) faults() Faults {
	slices.SortStableFunc(l.found, l.order)
	var faults Faults
	for rest := l.found; len(rest) > 0; {
		n := 1
		for n < len(rest) && l.order(rest[0], rest[n]) == 0 {
			n++
		}
		for _, f := range merge(rest[:n]) {
			faults = append(faults, l.handOut(f))
		}
		rest = rest[n:]
	}
	return faults
}

// merge leaves, of findings with one summary at one place, those of the first
// instance, and says for which instances they hold unless all have the same.
func merge(same []finding) []finding {
	var merged []finding
	instances := map[*instance]bool{}
	alike := true
	for _, f := range same {
		instances[f.instance] = true
		alike = alike && f.detail == same[0].detail
		known := slices.ContainsFunc(merged, func(m finding) bool { return m.detail == f.detail })
		if f.instance == same[0].instance && !known {
			merged = append(merged, f)
		}
	}
	first := same[0].instance
	if first == nil || alike && len(instances) == first.total {
		return merged
	}
	for i := range merged {
		merged[i].detail += fmt.Sprintf(" (for %s%s)", first.name, more(len(instances)-1))
	}
	return merged
}

func more(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " and one more"
	}
	return fmt.Sprintf(" and %d more", n)
}

// handOut is the finding as it is handed out.
func (l *loading) handOut(f finding) Fault {
	out := Fault{
		File:     f.at.Filename,
		Line:     f.at.Start.Line,
		Column:   f.at.Start.Column,
		Severity: f.severity,
		Summary:  f.summary,
		Detail:   f.detail,
	}
	if out.Line > 0 {
		out.excerpt = excerptOf(l.text[f.at.Filename], f.at)
	}
	return out
}

// add takes over what hcl says, in our form: lower case, no full stop.
func (l *loading) add(diags hcl.Diagnostics, in *instance) {
	for _, d := range diags {
		f := finding{severity: severityError, summary: plainText(d.Summary), detail: plainText(d.Detail), instance: in}
		if d.Severity == hcl.DiagWarning {
			f.severity = severityWarning
		}
		if d.Subject != nil {
			f.at = *d.Subject
		}
		l.found = append(l.found, f)
	}
}

// plainText makes a sentence a clause.
func plainText(sentence string) string {
	text := strings.TrimSuffix(strings.TrimSpace(sentence), ".")
	if len(text) > 1 && text[1] >= 'a' && text[1] <= 'z' || strings.HasPrefix(text, "A ") {
		text = strings.ToLower(text[:1]) + text[1:]
	}
	return text
}
