package pcre

import (
	"slices"
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
