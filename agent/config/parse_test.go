package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each of these stands before a token block with faults of its own, which names what the
// broken block may have defined.
func TestABlockWithASyntaxFaultHidesNothingOfTheOthers(t *testing.T) {
	const others = `source "fake" "b" {
}
token "t" {
  source  = source.fake.a
  subject = local.name
  scope   = [local.other]
  profile = "wlgc"
  sink "fake" { path = "t" }
}
`
	const (
		local   = "8:13: unknown local.name"
		another = "9:14: unknown local.other"
		source  = "7:13: unknown source.fake.a"
	)
	for name, c := range map[string]struct {
		broken string // of three lines
		want   []string
	}{
		"a source":            {"source \"fake\" \"a\" {\n  issuer = \n}\n", []string{"2:12: ", local, another}},
		"a source's brace":    {"source \"fake\" \"a\" {\n  issuer = \"x\"\n\n", []string{"1:19: unclosed configuration block", local, another}},
		"locals":              {"locals {\n  name = \n}\n", []string{"2:10: ", source}},
		"locals, misspelt":    {"local {\n  name = \n}\n", []string{"2:10: ", source}},
		"a token":             {"token \"u\" {\n  source = source.\n}\n", []string{"2:19: ", source, local, another}},
		"the agent":           {"agent {\n  name = \n}\n", []string{"2:10: ", source, local, another}},
		"a block of no kind":  {"nonsense {\n  name = \n}\n", []string{"2:10: "}},
		"an attribute":        {"locals {\n  name = 1\n} stray\n", []string{"3:3: ", source}},
		"nothing of it is in": {"\n\n)\n", []string{"3:1: "}},
	} {
		t.Run(name, func(t *testing.T) {
			want := append(c.want, "4:1: missing attribute issuer", `10:13: unknown profile "wlgc"`, "11:24: path is a relative path")
			var got []string
			for line := range strings.SplitSeq(loadFaults(t, c.broken+others), "\n") {
				line = strings.TrimPrefix(line, "a.hcl:")
				for i, w := range want {
					if strings.HasPrefix(line, w) {
						line = want[i]
					}
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(setOf(want), setOf(got)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func setOf(all []string) map[string]bool {
	set := map[string]bool{}
	for _, a := range all {
		set[a] = true
	}
	return set
}

func TestBracketsSideBySideNestNothing(t *testing.T) {
	for _, one := range []string{"[1], ", "[1 + 1], ", "[-1 * (2 + 3)], ", "{ a = !true }, "} {
		text := "locals {\n  a = [" + strings.Repeat(one, 2*harmlessText/len(one)) + "]\n}\n"
		if tooDeep([]byte(text)) {
			t.Errorf("%q many times is taken for nested too deeply", one)
		}
	}
}

// Without a syntax fault the lines are a comment or a text, in which brackets nest nothing.
func TestWhatLooksLikeABlockInACommentIsNotParsedWhenItNestsTooDeeply(t *testing.T) {
	deep := "token \"x\" {\n  a = " + strings.Repeat("[", harmlessText)
	for _, text := range []string{"/*\n" + deep + "\n*/\n", "locals {\n  a = <<E\n" + deep + "\nE\n}\n"} {
		path := filepath.Join(write(t, map[string]string{"t.hcl": text + "source \"x\" (\n"}), "t.hcl")
		_, faults := Load(t.Context(), []string{path}, fakes(""), testEnvironment())
		if len(faults) != 1 || faults[0].Line != strings.Count(text, "\n")+1 {
			t.Errorf("%.20q: faults %.200v", text, faults)
		}
	}
}
