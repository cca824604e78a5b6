package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// faultless is a configuration without a fault, one attribute or header a line.
const faultless = `agent {
  name      = "site"
  log_level = "info"
}
locals {
  one = "x"
  two = 2
}
source "fake" "a" {
  issuer = "https://a"
  key_id = "one"
  size   = 1
  wait   = "1m"
}
source "fake" "b" {
  issuer = "https://b"
}
token "t" {
  source   = source.fake.a
  profile  = "wlcg"
  subject  = "robot"
  audience = ["https://x"]
  scope    = ["read:/", "write:/"]
  lifetime = "2h"
  claims   = { one = 1, two = 2 }
  renew {
    at            = 0.5
    min_remaining = "30m"
    cron          = "0 4 * * *"
  }
  sink "fake" {
    path = "/srv/t"
    mode = "0600"
  }
  hook "on_change" {
    command = ["/bin/true"]
    user    = "robot"
  }
  validate {
    command = ["/bin/false"]
    user    = "nobody"
  }
}
token "each" {
  source   = source.fake.b
  for_each = toset(["k1", "k2"])
  subject  = each.key
  sink "fake" {
    path = "/srv/${each.key}"
    mode = "0640"
  }
}
source "fake" "many" {
  for_each = { x = "https://x", y = "https://y" }
  issuer   = each.value
  key_id   = each.key
}
token "of-many" {
  for_each = { first = "x", second = "y" }
  source   = source.fake.many[each.value]
  profile = "wlcg"
  audience = ["https://of-many"]
  sink "fake" {
    path = "/srv/many/${each.key}"
  }
}
`

// A slip is what somebody gets wrong in faultless: from, which stands there once, is
// written as to.
type slip struct{ from, to string }

// slips are faults that have nothing to do with each other, unless they are in the
// same line.
var slips = []slip{
	{`name      = "site"`, `name = "a/b"`},
	{`name      = "site"`, `nam = "site"`},
	{`log_level = "info"`, `log_level = "chatty"`},
	{`one = "x"`, `one = env("NOT_SET")`},
	{`  two = 2`, `  two = local.three`},
	{`source "fake" "a" {`, `sorce "fake" "a" {`},
	{`issuer = "https://a"`, ``},
	{`issuer = "https://a"`, `issuer = 5`},
	{`issuer = "https://a"`, `isuer = "https://a"`},
	{`issuer = "https://a"`, `issuer = locl.one`},
	{`key_id = "one"`, ``},
	{`key_id = "one"`, `kid = "one"`},
	{`size   = 1`, `size = 10`},
	{`size   = 1`, `size = -1`},
	{`size   = 1`, `size = 1.5`},
	{`wait   = "1m"`, `wait = "1"`},
	{`wait   = "1m"`, `nonsense = 1`},
	{`issuer = "https://b"`, `issuer = ""`},
	{`log_level = "info"`, `nonsense = 1`},
	{`token "t" {`, `token "t" "u" {`},
	{`token "t" {`, `token "a/b" {`},
	{`token "t" {`, `tokens "t" {`},
	{`source   = source.fake.a`, `sorce = source.fake.a`},
	{`source   = source.fake.a`, `source = source.fake.aa`},
	{`profile  = "wlcg"`, `profil = "wlcg"`},
	{`profile  = "wlcg"`, `profile = "wlgc"`},
	{`subject  = "robot"`, `subject = 5`},
	{`subject  = "robot"`, `subject = source.fake.a`},
	{`subject  = "robot"`, `unlimited = true`},
	{`audience = ["https://x"]`, ``},
	{`scope    = ["read:/", "write:/"]`, `scope = ["read:/", 5, ""]`},
	{`lifetime = "2h"`, `lifetime = "1h:"`},
	{`lifetime = "2h"`, `nonsense = 1`},
	{`one = 1,`, `one = null,`},
	{`two = 2 }`, `wrong = 2 }`},
	{`two = 2 }`, `odd = 2 }`},
	{`two = 2 }`, `a = 1, a = 2, b = 1, b = 2 }`},
	{`at            = 0.5`, `at = 2`},
	{`at            = 0.5`, `at = "half"`},
	{`at            = 0.5`, `nonsense = 1`},
	{`min_remaining = "30m"`, `min_remaining = "0s"`},
	{`cron          = "0 4 * * *"`, `cron = "daily"`},
	{`path = "/srv/t"`, `path = "srv/t"`},
	{`path = "/srv/t"`, `path = "${path.config}/a.hcl"`},
	{`sink "fake" {
    path = "/srv/t"`, `sink {
    path = "/srv/t"`},
	{`mode = "0600"`, `mode = 600`},
	{`mode = "0600"`, `create_dir = "yes"`},
	{`mode = "0600"`, `nonsense = 1`},
	{`hook "on_change" {`, `hook "on_chance" {`},
	{`hook "on_change" {`, `hok "on_change" {`},
	{`command = ["/bin/true"]`, `command = "/bin/true"`},
	{`user    = "robot"`, `user = 0`},
	{`user    = "robot"`, `nonsense = 1`},
	{`validate {`, `valdate {`},
	{`validate {`, `validate "x" {`},
	{`command = ["/bin/false"]`, ``},
	{`user    = "nobody"`, `usr = "nobody"`},
	{`user    = "nobody"`, `nonsense = 1`},
	{`source "fake" "b" {`, `source "fak" "b" {`},
	{`token "each" {`, `token "each" "x" {`},
	{`source   = source.fake.b`, `source = "source.fake.b"`},
	{`source   = source.fake.b`, ``},
	{`for_each = toset(["k1", "k2"])`, `for_eac = toset(["k1", "k2"])`},
	{`for_each = toset(["k1", "k2"])`, `for_each = ["k1", "k2"]`},
	{`for_each = toset(["k1", "k2"])`, `for_each = toset([1, 2])`},
	{`for_each = toset(["k1", "k2"])`, `for_each = toset(["a/b", ""])`},
	{`subject  = each.key`, `subject = each.name`},
	{`path = "/srv/${each.key}"`, `path = "${each.key}"`},
	{`mode = "0640"`, `mode = "rw-r-----"`},
	{`for_each = { x = "https://x", y = "https://y" }`, unnamed},
	{`issuer   = each.value`, `issuer = each.valu`},
	{`key_id   = each.key`, `nonsense = each.key`},
	{`source   = source.fake.many[each.value]`, unknown},
	{`source   = source.fake.many[each.value]`, `source = source.fake.mny[each.value]`},
	{`audience = ["https://of-many"]`, ``},
}

// A list has no names, so nobody can tell that "z" is not one of them.
var unnamed, unknown = `for_each = ["https://x", "https://y"]`, `source = source.fake.many["z"]`

// apply makes the slips in the text.
func apply(t *testing.T, text string, slips ...slip) string {
	t.Helper()
	for _, s := range slips {
		if strings.Count(text, s.from) != 1 {
			t.Fatalf("%q stands there %d times", s.from, strings.Count(text, s.from))
		}
		text = strings.Replace(text, s.from, s.to, 1)
	}
	return text
}

// faultsOf are the errors of a configuration, by line and summary.
func faultsOf(t *testing.T, text string) map[string]bool {
	t.Helper()
	folder := write(t, map[string]string{"a.hcl": text})
	kinds := fakes("key")
	kinds.Sources["fake"] = withKeyID(kinds.Sources["fake"])
	_, faults := Load(t.Context(), []string{folder + "/a.hcl"}, kinds, testEnvironment())
	found := map[string]bool{}
	for _, f := range faults.Errors() {
		found[fmt.Sprintf("%3d %s", f.Line, f.Summary)] = true
	}
	return found
}

// withKeyID is the source that for the profile wlcg needs the attribute key_id.
func withKeyID(decode SourceDecoder) SourceDecoder {
	return func(b *Block) Source {
		facts := decode(b)
		check := facts.Check
		facts.Check = func(req agent.Request) []profile.Problem {
			problems := check(req)
			if req.Profile == "wlcg" && !b.Has("key_id") {
				problems = append(problems, profile.Problem{Claim: "kid", Text: "it is missing; write key_id in the source"})
			}
			return problems
		}
		return facts
	}
}

func TestOfTwoFaultsBothAreFoundInOneRunAndNothingElse(t *testing.T) {
	if found := faultsOf(t, faultless); len(found) > 0 {
		t.Fatalf("faultless has faults: %v", found)
	}
	alone := make([]map[string]bool, len(slips))
	for i, s := range slips {
		if alone[i] = faultsOf(t, apply(t, faultless, s)); len(alone[i]) == 0 {
			t.Errorf("%q is no fault", s.to)
		}
	}
	for i, a := range slips {
		for j, b := range slips[:i] {
			if a.from == b.from || a.to == unknown && b.to == unnamed {
				continue
			}
			want := maps.Clone(alone[i])
			maps.Copy(want, alone[j])
			got := faultsOf(t, apply(t, faultless, a, b))
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("%q and %q together (-each alone +found):\n%s", a.to, b.to, diff)
			}
		}
	}
}
