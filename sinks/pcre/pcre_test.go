package pcre

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestGroupsEndWithTheLastThatTookPart(t *testing.T) {
	for _, c := range []struct {
		expression, text string
		options          Options
		want             []string
	}{
		{`^([a-z]+)(-x)?$`, "bob", Options{}, []string{"bob", "bob"}},
		{`^(a)?(b)$`, "b", Options{}, []string{"b", "", "b"}},
		{`(.*),`, "a,b,c", Options{}, []string{"a,b,", "a,b"}},
		{`(.*),`, "a,b,c", Options{Ungreedy: true}, []string{"a,", "a"}},
		{`X$`, "x\n", Options{IgnoreCase: true}, []string{"x\n"}},
		{`(.)\xfc`, "\xe9\xfc", Options{}, []string{"\xe9\xfc", "\xe9"}},
		{`X`, "x", Options{}, nil},
	} {
		e, err := Compile(c.expression, c.options)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		if got := e.Groups(c.text); !slices.Equal(got, c.want) || e.Matches(c.text) != (c.want != nil) {
			t.Errorf("%s of %q: %q, want %q", c.expression, c.text, got, c.want)
		}
	}
}

func TestWhatCannotBeReplayedIsAnError(t *testing.T) {
	for expression, invalid := range map[string]bool{`(?!x)`: false, `(a)\1`: false, `a++`: false, `\p{L}`: false, `((`: true, `[a`: true, `*a`: true} {
		_, err := Compile(expression, Options{})
		if _, is := Invalid(err); err == nil || is != invalid {
			t.Errorf("%s: %v, invalid %v", expression, err, is)
		}
	}
	if _, err := Compile("ü", Options{IgnoreCase: true}); err == nil {
		t.Error("the case of letters beyond ASCII is replayed")
	}
}

// PCRE and Go both take these, and understand them in different ways. Each was held
// against HTCondor 23.9.6.
func TestWhatGoUnderstandsOtherwiseIsNotTakenOver(t *testing.T) {
	for expression, invalid := range map[string]bool{
		`[:alpha:]+`: true, `[[=a=]]`: true, `[[.a.]]`: true, `[[:alpha:]-z]`: true, `[\w-.]`: true, `[\d-z]`: true,
		`\x{100}`: true, `\400`: true, `(?<a>a)|(?<a>b)`: true, `(?<1>a)`: true,
		`\v`: false, `[\v]`: false, `[^\S]`: false, `x{,3}`: false, `a{1, 2}`: false, `a{ 1,2 }`: false, `^*a`: false, `\b+`: false,
		`(*UTF8)a`: false, `a(*FAIL)`: false, `(?i)\xe9`: false, `(?i)\351`: false, `(?i)[\xe0-\xff]`: false, "(?i)\xe9": false, `(?m)^$`: false,
	} {
		_, err := Compile(expression, Options{})
		if _, is := Invalid(err); err == nil || is != invalid {
			t.Errorf("%s: %v, invalid %v", expression, err, is)
		}
	}
	for _, c := range []struct {
		expression, text string
		want             bool
	}{
		{`^\s$`, "\v", true},
		{`^[a\s]$`, "\v", true},
		{`\S`, "\v", false},
		{`\\s`, `\s`, true},
		{`^\Q[\s\E]`, `[\s]`, true},
		{`^[\w-]+$`, "a-b", true},
		{`^[]\s[:alpha:]^]+$`, "a]^\v", true},
		{`^[[:alpha:]-]$`, "-", true},
		{`^a{,}$`, "a{,}", true},
		{`(?i)^\x41$`, "a", true},
		{`^(?<first>a)(?P<second>b)$`, "ab", true},
	} {
		if e, err := Compile(c.expression, Options{}); err != nil || e.Matches(c.text) != c.want {
			t.Errorf("%s of %q: %v, want %v", c.expression, c.text, err, c.want)
		}
	}
}

// FuzzCompile holds that an expression without $ means what Go's own does, byte for
// byte, and that groups are parts of the text.
func FuzzCompile(f *testing.F) {
	f.Add(`^([a-z]+)(-x)?$`, "bob", false, false)
	f.Add(`(?i:a|(?-i)b*?)[^\n]{0,3}\b`, "Abb\xff", false, true)
	f.Add("\xfc+", "\xfc\xfc\n", true, true)
	f.Fuzz(func(t *testing.T, expression, text string, ignoreCase, ungreedy bool) {
		e, err := Compile(expression, Options{IgnoreCase: ignoreCase, Ungreedy: ungreedy})
		if err != nil {
			_, _ = Invalid(err)
			return
		}
		groups := e.Groups(text)
		if e.Matches(text) != (groups != nil) {
			t.Errorf("%q matches %q: %v, and the groups are %q", expression, text, e.Matches(text), groups)
		}
		for _, g := range groups {
			if !strings.Contains(text, g) {
				t.Errorf("%q of %q: the group %q is no part of it", expression, text, g)
			}
		}
		if same, err := translated(expression, ignoreCase); ignoreCase || ungreedy || err != nil || same != expression || strings.Contains(expression, "$") {
			return
		}
		plain, err := regexp.Compile(characters(expression))
		if err != nil {
			t.Fatalf("%q: %v", expression, err)
		}
		if want := plain.FindStringSubmatch(characters(text)); (want != nil) != (groups != nil) || want != nil && bytesOf(want[0]) != groups[0] {
			t.Errorf("%q of %q: %q, want %q", expression, text, groups, want)
		}
	})
}
