package config

import (
	"github.com/google/go-cmp/cmp"
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
			t.Errorf("the hint %s does not correct %s:\n%s", want, key, got)
		}
	}
}

func TestAMisspeltAttributeIsReadAsTheOneThatItIsLike(t *testing.T) {
	got := loadFaults(t, `
source "fake" "quickstart" {
  issuer = "https://x"
}
token "x" {
  sorce    = source.fake.quickstrt
  audince  = [env("NOT_SET"), local.none]
  nonsense = [source.fake.quickstrt, each.key, local.none]
  subject  = local.other
}
`)
	want := `a.hcl:6:3: unknown attribute sorce; did you mean source?
a.hcl:6:14: unknown source.fake.quickstrt; did you mean source.fake.quickstart?
a.hcl:7:3: unknown attribute audince; did you mean audience?
a.hcl:7:20: invalid function argument; invalid value for "name" parameter: the environment variable "NOT_SET" is not set
a.hcl:7:31: unknown local.none; there is no local at all
a.hcl:8:3: unknown attribute nonsense; a token block has source, profile, subject, audience, scope, unlimited, claims, lifetime, for_each, required, on_expired, on_remove, and the blocks renew, sink, hook, validate
a.hcl:9:14: unknown local.other; there is no local at all`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestAMisspeltBlockNamesTheOneThatItIsLike(t *testing.T) {
	for kind, want := range map[string]string{
		"agents": "did you mean agent?", "lcoals": "did you mean locals?", "sink": "blocks are agent, locals, source, issuer and token",
	} {
		if got := loadFaults(t, kind+" {\n}\n"+oneToken); got != "a.hcl:1:1: unknown block "+kind+"; "+want {
			t.Errorf("%s: %s", kind, got)
		}
	}
}
