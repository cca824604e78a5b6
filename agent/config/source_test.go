package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const eachSource = `
source "fake" "vo" {
  for_each = { cms = "https://cms", "a/b" = "https://ab" }
  issuer   = each.value
}
token "t" {
  for_each = { one = "cms", two = "a/b" }
  source   = source.fake.vo[each.value]
  sink "fake" { path = "/srv/${each.key}" }
}
`

func TestASourceWithForEachIsOneForEachKey(t *testing.T) {
	c := load(t, eachSource)
	var got []string
	for _, s := range c.Sources {
		got = append(got, s.Name+" "+s.Label+" "+s.Source.(*fakeSource).Issuer)
	}
	want := []string{`source.fake.vo["a/b"] vo["a/b"] https://ab`, `source.fake.vo["cms"] vo["cms"] https://cms`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, issuer := range []string{"https://cms", "https://ab"} {
		if r := c.Renewers[i]; r.Source.(*fakeSource).Issuer != issuer {
			t.Errorf("%s is of %+v", r.Name, r.Source)
		}
	}
}

// Another key of for_each is another source, and changes no definition of the others.
func TestAKeyMoreChangesNoOtherDefinition(t *testing.T) {
	before, after := load(t, eachSource), load(t, strings.Replace(eachSource, `{ cms =`, `{ x = "https://x", cms =`, 1))
	for i := range before.Renewers {
		if before.Renewers[i].Digest != after.Renewers[i].Digest {
			t.Errorf("%s is another definition", before.Renewers[i].Name)
		}
	}
	changed := load(t, strings.Replace(eachSource, "https://cms", "https://other", 1))
	if before.Renewers[0].Digest == changed.Renewers[0].Digest || before.Renewers[1].Digest != changed.Renewers[1].Digest {
		t.Error("a changed value is not another definition of its own instance alone")
	}
}

func TestHintsOfSourcesWithForEach(t *testing.T) {
	for reference, want := range map[string]string{
		`source.fake.vo["cmz"]`: `unknown source.fake.vo["cmz"]; did you mean source.fake.vo["cms"]?`,
		`source.fake.vo["q"]`:   `unknown source.fake.vo["q"]; the first of its keys are a/b, cms`,
		`source.fake.vo`:        `source.local_key.NAME[each.key] where the source has for_each`,
	} {
		got := loadFaults(t, eachSource+"token \"w\" {\n  source = "+reference+"\n}\n")
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %s", reference, got, want)
		}
	}
	if got, want := loadFaults(t, oneSource+"token \"w\" {\n  source = source.fake.s[\"a\"]\n}\n"), `unknown source.fake.s["a"]; it has no for_each; write source.fake.s`; !strings.Contains(got, want) {
		t.Errorf("%s\nwant %s", got, want)
	}
}
