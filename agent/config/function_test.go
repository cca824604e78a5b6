package config

import (
	"strings"
	"testing"
)

func TestFunctionsRefuseInOurWords(t *testing.T) {
	for expr, want := range map[string]string{
		`toset([1, 2, true])`: "all elements of a set are of one type; write numbers, true and false in quotes",
		`toset([["a"], "b"])`: "all elements of a set are of one type",
		`toset("a")`:          `it is a list such as ["a", "b"], and this is a string`,
		`toset({ a = 1 })`:    "and this is an object",
		`range(0, 2000)`:      "a range has at most 1,024 numbers; put several together with concat",
		`range(0, 5, -1)`:     "step",
		`range()`:             "arguments",
	} {
		got := loadFaults(t, "locals {\n  x = "+expr+"\n}\n")
		if !strings.Contains(got, want) {
			t.Errorf("of %s it says\n%s\nwant %q", expr, got, want)
		}
		for _, jargon := range []string{"tuple", "any single type", "smaller step"} {
			if strings.Contains(got, jargon) {
				t.Errorf("of %s it speaks of %q:\n%s", expr, jargon, got)
			}
		}
	}
}

func TestTheLongestRangeIsTaken(t *testing.T) {
	got := loadFaults(t, "locals {\n  x = range(1024)\n  y = toset([\"a\", 1])\n  z = toset([])\n}\n")
	if strings.Contains(got, "function") {
		t.Error(got)
	}
}

const harmless = `
source "fake" "s" {
  issuer = "https://x"
}
token "t" {
  for_each = toset([KEY])
  source   = source.fake.s
  sink "fake" {
    path = "/srv/${EXPR}"
  }
}
`

func TestHintForAKeyInAPathMends(t *testing.T) {
	for key, want := range map[string]string{
		`"a/b"`:    `replace(each.key, "/", "-")`,
		`".ssh"`:   `replace(each.key, ".", "-")`,
		`"a..b.c"`: `replace(each.key, "..", "-")`,
		`"../a"`:   `replace(replace(each.key, "/", "-"), "..", "-")`,
		`"./a"`:    `replace(replace(each.key, "/", "-"), ".", "-")`,
		`"..."`:    `replace(each.key, "..", "-")`,
	} {
		text := strings.ReplaceAll(harmless, "KEY", key)
		got := loadFaults(t, strings.ReplaceAll(text, "EXPR", "each.key"))
		if !strings.Contains(got, "write "+want+" instead") {
			t.Errorf("of the key %s it says\n%s\nwant %s", key, got, want)
		}
		if got := loadFaults(t, strings.ReplaceAll(text, "EXPR", want)); got != "" {
			t.Errorf("the hint %s does not mend %s:\n%s", want, key, got)
		}
	}
}

func TestValueOfAnUnknownAttributeIsNotJudged(t *testing.T) {
	got := loadFaults(t, `
source "fake" "quickstart" {
  issuer = "https://x"
}
token "x" {
  sorce   = source.fake.quickstrt
  audince = [env("NOT_SET"), local.none]
  subject = local.other
}
`)
	for _, want := range []string{"unknown attribute sorce; did you mean source?", "unknown attribute audince", "unknown local.other"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != 3 {
		t.Errorf("%d faults, want 3:\n%s", n, got)
	}
}
