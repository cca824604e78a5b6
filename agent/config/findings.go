package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// A finding is a Fault before it is sorted and merged.
type finding struct {
	severity        string
	at              hcl.Range
	summary, detail string
	instance        *instance // nil outside of a token with for_each
}

// findings collect what one load finds wrong.
type findings struct {
	list    []finding
	order   map[string]int    // of the files
	text    map[string][]byte // of the files, for excerpts
	ignored map[hcl.Range]bool
}

func newFindings() *findings {
	return &findings{order: map[string]int{}, text: map[string][]byte{}, ignored: map[hcl.Range]bool{}}
}

// number gives the file its place in the order of faults.
func (f *findings) number(file string) {
	if _, known := f.order[file]; !known {
		f.order[file] = len(f.order)
	}
}

func (f *findings) fault(at hcl.Range, summary, detail string) {
	f.list = append(f.list, finding{severity: severityError, at: at, summary: summary, detail: detail})
}

// again reports a second one of what may be there once.
func (f *findings) again(at hcl.Range, summary string, first hcl.Range) {
	f.fault(at, summary, "the first is at "+placeText(first))
}

func placeText(at hcl.Range) string {
	return fmt.Sprintf("%s:%d:%d", at.Filename, at.Start.Line, at.Start.Column)
}

// add takes over the diagnostics of hcl in our form: lower case, no full stop.
func (f *findings) add(diags hcl.Diagnostics, in *instance) {
	for _, d := range diags {
		one := finding{severity: severityError, summary: plainText(d.Summary), detail: plainText(d.Detail), instance: in}
		if d.Severity == hcl.DiagWarning {
			one.severity = severityWarning
		}
		if d.Subject != nil {
			one.at = *d.Subject
		}
		f.list = append(f.list, one)
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

// ignore drops all that is found in a part of the text: in the value of an unknown
// attribute, of which nobody can tell what it may hold.
func (f *findings) ignore(part hcl.Range) { f.ignored[part] = true }

// dropIgnored drops the findings in ignored parts, none of which overlap.
func (f *findings) dropIgnored() {
	parts := slices.SortedFunc(maps.Keys(f.ignored), f.comparePlaces)
	f.list = slices.DeleteFunc(f.list, func(one finding) bool {
		i, _ := slices.BinarySearchFunc(parts, one.at, f.comparePlaces)
		near := parts[max(i-1, 0):min(i+1, len(parts))]
		return slices.ContainsFunc(near, func(part hcl.Range) bool {
			return one.at.Filename == part.Filename && part.Start.Byte <= one.at.Start.Byte && one.at.End.Byte <= part.End.Byte
		})
	})
}

// comparePlaces orders places by file and position.
func (f *findings) comparePlaces(a, b hcl.Range) int {
	return cmp.Or(
		cmp.Compare(f.order[a.Filename], f.order[b.Filename]),
		cmp.Compare(a.Start.Byte, b.Start.Byte),
		cmp.Compare(a.End.Byte, b.End.Byte),
	)
}

func (f *findings) compare(a, b finding) int {
	return cmp.Or(f.comparePlaces(a.at, b.at), strings.Compare(a.severity, b.severity), strings.Compare(a.summary, b.summary))
}

// faults sorts the findings, and merges those that the instances of a token with
// for_each have in common.
func (f *findings) faults() Faults {
	f.dropIgnored()
	slices.SortStableFunc(f.list, f.compare)
	var faults Faults
	for rest := f.list; len(rest) > 0; {
		n := 1
		for n < len(rest) && f.compare(rest[0], rest[n]) == 0 {
			n++
		}
		for _, one := range merge(rest[:n]) {
			faults = append(faults, f.handOut(one))
		}
		rest = rest[n:]
	}
	return faults
}

// merge reduces findings with one summary at one place to those of the first instance. It
// adds which instances have them, unless all have the same.
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

func (f *findings) handOut(one finding) Fault {
	out := Fault{
		File:     one.at.Filename,
		Line:     one.at.Start.Line,
		Column:   one.at.Start.Column,
		Severity: one.severity,
		Summary:  one.summary,
		Detail:   one.detail,
	}
	if out.Line > 0 {
		out.excerpt = excerptOf(f.text[out.File], one.at)
	}
	return out
}

// suggestion is the question whether the known name was meant that is most like the given
// one. Where none is like it, it is the text otherwise.
func suggestion(given string, known []string, format, otherwise string) string {
	if near := profile.Nearest(given, known); near != "" {
		return fmt.Sprintf("did you mean "+format+"?", near)
	}
	return otherwise
}
