package mapfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write writes a map file and reads it.
func write(t *testing.T, text string, rules Rules) Map {
	t.Helper()
	path := filepath.Join(t.TempDir(), "map")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Read(path, rules)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTheFirstLineThatMatchesCounts(t *testing.T) {
	for _, c := range []struct {
		name, text string
		hashKeys   bool
		principal  string
		line       int
		mapped     string
	}{
		{"the usual line", `SCITOKENS /^https:\/\/i\.example,robot$/ pilot`, true, "https://i.example,robot", 1, "pilot"},
		{"another method", "SSL /.*/ no\nSCITOKENS /.*/ yes", true, "x", 2, "yes"},
		{"methods in small letters", "scitokens /.*/ yes", true, "x", 1, "yes"},
		{"an expression before a literal name", "SCITOKENS /i,.*/ all\nSCITOKENS i,s one", true, "i,s", 1, "all"},
		{"a literal name before an expression", "SCITOKENS i,s one\nSCITOKENS /i,.*/ all", true, "i,s", 1, "one"},
		{"a literal name is the whole", "SCITOKENS i, one", true, "i,s", 0, ""},
		{"an expression is not", "SCITOKENS i, one", false, "i,s", 1, "one"},
		{"slashes mean nothing without hash keys", `SCITOKENS /^i,s$/ one`, false, "i,s", 0, ""},
		{"groups", `SCITOKENS /^i,(\w+)(-x)?$/ \1.\2.\0@\9`, true, "i,bob", 1, `bob.\2.i,bob@\9`},
		{"options", `SCITOKENS /^I,S$/i one`, true, "i,s", 1, "one"},
		{"quotation marks", `SCITOKENS "a b" "c \"d\""`, true, "a b", 1, `c "d"`},
		{"no blank behind the expression", `SCITOKENS /a/b`, true, "a", 1, "b"},
		{"an expression that nothing closes", `SCITOKENS /a b`, true, "a b", 0, ""},
		{"comments and blank lines", "# SCITOKENS x y\n\n  SCITOKENS x z\n", true, "x", 3, "z"},
		{"CR LF", "SCITOKENS x z\r\n", true, "x", 1, "z\r"},
	} {
		hit, found, unsure := write(t, c.text, Rules{HashKeys: c.hashKeys}).Find("SCITOKENS", c.principal)
		if hit.Number != c.line || found != (c.line > 0) || hit.Mapped != c.mapped || unsure != nil {
			t.Errorf("%s: line %d, %q, unsure %v; want line %d, %q", c.name, hit.Number, hit.Mapped, unsure, c.line, c.mapped)
		}
	}
}

func TestLinesThatCannotBeReplayedAreTold(t *testing.T) {
	m := write(t, "SCITOKENS /(?!x)/ one\nSCITOKENS /((/ two\nSCITOKENS x\nSCITOKENS /.*/ all\nSCITOKENS /(?=x)/ late\n", Rules{HashKeys: true})
	hit, found, unsure := m.Find("SCITOKENS", "x")
	if !found || hit.Number != 4 || len(unsure) != 1 || unsure[0].Number != 1 {
		t.Errorf("line %d, unsure %v", hit.Number, unsure)
	}
	if !strings.Contains(m.Lines[1].Fault, "not valid") || !strings.Contains(m.Lines[2].Fault, "three fields") {
		t.Errorf("faults %q, %q", m.Lines[1].Fault, m.Lines[2].Fault)
	}
}

func TestIncludedFilesAreReadInTheOrderOfTheirNames(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"map": "@include maps.d\n@include missing\nSCITOKENS x own", "maps.d/b": "SCITOKENS x b", "maps.d/a": "@include ../map\nSCITOKENS y a\nSCITOKENS x a", "maps.d/.c": "SCITOKENS x hidden",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Read(filepath.Join(dir, "map"), Rules{HashKeys: true, Excludes: func(name string) bool { return name[0] == '.' }})
	if err != nil {
		t.Fatal(err)
	}
	hit, _, _ := m.Find("SCITOKENS", "x")
	if hit.Mapped != "a" || filepath.Base(hit.File) != "a" || hit.Number != 3 {
		t.Errorf("%+v", hit)
	}
	faults := 0
	for _, l := range m.Lines {
		if l.Fault != "" {
			faults++
		}
	}
	if faults != 2 {
		t.Errorf("%+v", m.Lines)
	}
}

// FuzzRead holds that every line that counts has its three fields and its place in the
// file, and that the first of those that match is found.
func FuzzRead(f *testing.F) {
	f.Add("SCITOKENS /^https:\\/\\/i,(.*)$/i \\1\n# x\nSCITOKENS \"a b\" \"c \\\"d\"\r\nSSL x", "https://i,bob", true)
	f.Add("SCITOKENS ^i,s$ one\nSCITOKENS ((\nSCITOKENS (?!x) \\9\\", "i,s", false)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text, principal string, hashKeys bool) {
		if strings.Contains(text, "@include") {
			return // other files of the host
		}
		path := filepath.Join(dir, "map")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Read(path, Rules{HashKeys: hashKeys})
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		for _, l := range m.Lines {
			if l.Number <= last || l.Number > strings.Count(text, "\n")+1 || l.Method == "" || l.Fault == "" && (l.Name == "" || l.User == "") {
				t.Errorf("%q has the line %+v after line %d", text, l, last)
			}
			last = l.Number
		}
		hit, found, unsure := m.Find("SCITOKENS", principal)
		for _, l := range unsure {
			if found && l.Number >= hit.Number {
				t.Errorf("%q: line %d is unsure, and %d is the first that matches", text, l.Number, hit.Number)
			}
		}
		if found && !strings.EqualFold(hit.Method, "SCITOKENS") {
			t.Errorf("%q: %+v is found", text, hit)
		}
	})
}
