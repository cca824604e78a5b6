package config

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	severityError   = "error"
	severityWarning = "warning"
)

// A Fault is one error or warning about a configuration.
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

// Faults are all errors and warnings about a configuration, in the order of its files
// and lines. As JSON they are a list of objects.
type Faults []Fault

// HasErrors reports whether the configuration cannot be used.
func (fs Faults) HasErrors() bool { return len(fs.Errors()) > 0 }

// Errors are the faults for which the configuration cannot be used.
func (fs Faults) Errors() Faults {
	return slices.DeleteFunc(slices.Clone(fs), Fault.IsWarning)
}

// Warnings are the faults that leave the configuration usable.
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
