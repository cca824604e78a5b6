package config

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
)

func TestHooksKeepTheirOrderAndEvents(t *testing.T) {
	r := load(t, oneSource+`token "t" {
  source = source.fake.s
  hook "on_change" { command = ["/b", "x y"] }
  sink "fake" { path = "/srv/t" }
  hook "on_first" { command = ["/a"] }
  hook "on_change" { command = ["/b", "x y"] }
}`).Renewers[0]
	var got []string
	for _, h := range r.Hooks {
		got = append(got, string(h.Event)+" "+h.Key)
	}
	if diff := cmp.Diff([]string{"on_change /b x y", "on_first /a", "on_change /b x y"}, got); diff != "" {
		t.Error(diff)
	}
}

// Looking up a hook's user may ask a directory server: once is enough.
func TestHooksThatAllInstancesHaveAlikeAreDecodedOnce(t *testing.T) {
	renewers := load(t, oneSource+`token "t" {
  for_each = toset(["a", "b"])
  source   = source.fake.s
  sink "fake" { path = "/srv/${each.key}" }
  hook "on_first" { command = ["/same"] }
  hook "on_first" { command = ["/own", each.key] }
}`).Renewers
	a, b := renewers[0].Hooks, renewers[1].Hooks
	if a[0].Command != b[0].Command || a[0].Key != "/same" {
		t.Errorf("the hook alike is decoded twice: %+v, %+v", a[0], b[0])
	}
	if a[1].Key != "/own a" || b[1].Key != "/own b" {
		t.Errorf("got %q and %q", a[1].Key, b[1].Key)
	}
}

func TestAValidationKnowsItsTokenAndItsFirstSink(t *testing.T) {
	renewers := load(t, oneSource+`token "t" {
  for_each = toset(["a", "b"])
  source   = source.fake.s
  profile  = "wlcg"
  subject  = "robot"
  audience = ["https://x"]
  scope    = ["storage.read:/"]
  validate { command = ["/try", each.key] }
  sink "fake" {
    path = "/srv/${each.key}"
  }
}
token "plain" {
  source = source.fake.s
  sink "fake" { path = "/srv/plain" }
}`).Renewers
	for i, want := range []agent.Validation{{Key: "/try a", Queue: "wlcg as robot"}, {Key: "/try b", Queue: "wlcg as robot"}, {}} {
		got := renewers[i].Validation
		if got.Key != want.Key || got.Queue != want.Queue || (got.Validate == nil) != (want.Key == "") {
			t.Errorf("%s: %+v", renewers[i].Name, got)
		}
	}
	if renewers[0].Digest == "" {
		t.Error("no digest")
	}
}

func TestHooksAreUnknownWithoutTheirDecoder(t *testing.T) {
	kinds := fakes("")
	kinds.Hook = nil
	folder := write(t, map[string]string{"a.hcl": strings.Replace(oneToken, "sink", "hook \"on_first\" {}\n  sink", 1)})
	if _, faults := Load(t.Context(), []string{folder}, kinds, testEnvironment()); !strings.Contains(faults.Error(), "unknown block hook") {
		t.Errorf("got %v", faults)
	}
}

func TestFatesOfFiles(t *testing.T) {
	for lines, want := range map[string][2]bool{
		"":                        {false, false},
		"on_expired = \"remove\"": {true, false},
		"on_remove = \"delete\"":  {false, true},
		"on_expired = \"keep\"\non_remove = \"keep\"": {false, false},
	} {
		r := load(t, strings.Replace(oneToken, "sink", lines+"\nsink", 1)).Renewers[0]
		if got := [2]bool{r.RemoveExpired, r.DeleteRemoved}; got != want {
			t.Errorf("%q: expired files are removed and those without definition deleted: %v, want %v", lines, got, want)
		}
	}
}

func TestAHookBeforeTheEndFitsATokenWhoseLifetimeIsNotKnown(t *testing.T) {
	kinds := fakes("key")
	fake := kinds.Sources["fake"]
	kinds.Sources["fake"] = func(b *Block) Source { s := fake(b); s.Lifetime = 0; return s }
	text := "source \"fake\" \"s\" { issuer = \"i\" }\ntoken \"t\" {\n source = source.fake.s\n sink \"fake\" { path = \"/srv/t\" }\n" +
		" hook \"on_expiring\" {\n  before = \"30m\"\n  command = [\"/bin/true\"]\n }\n}\n"
	path := filepath.Join(write(t, map[string]string{"a.hcl": text}), "a.hcl")
	cfg, faults := Load(t.Context(), []string{path}, kinds, testEnvironment())
	if faults.HasErrors() || len(cfg.Renewers) != 1 || len(cfg.Renewers[0].Hooks) != 1 {
		t.Errorf("got %v", faults)
	}
}

func TestTokensInPlaceSayTheirTimes(t *testing.T) {
	decode := load(t, oneToken).Renewers[0].Decode
	for what, test := range map[string]struct {
		token agent.Token
		want  [2]int64 // issued, expires; 0: not known
		err   string
	}{
		"a JWT":              {jwt(`{"iat":1800000000,"exp":1800003600}`), [2]int64{1800000000, 1800003600}, ""},
		"a JWT without exp":  {jwt(`{"iat":1800000000}`), [2]int64{1800000000, 0}, ""},
		"an exp that is odd": {jwt(`{"iat":-5,"exp":"tomorrow"}`), [2]int64{}, ""},
		"an exp too far off": {jwt(`{"exp":1e300}`), [2]int64{}, ""},
		"opaque":             {agent.Token{Secret: agent.NewSecret("opaque")}, [2]int64{}, ""},
		"opaque, with dots":  {agent.Token{Secret: agent.NewSecret("ya29.c.d")}, [2]int64{}, ""},
		"a broken JWT":       {agent.Token{Secret: agent.NewSecret("eyJh.b.c")}, [2]int64{}, "header: "},
	} {
		got, err := decode(test.token.Secret)
		if test.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("%s: got %v", what, err)
			}
			continue
		}
		if err != nil || [2]int64{unix(got.Issued), unix(got.Expires)} != test.want || !got.Secret.Equal(test.token.Secret) {
			t.Errorf("%s: got %d, %d, %v", what, unix(got.Issued), unix(got.Expires), err)
		}
	}
}

func TestTokensInPlaceSayTheirIDs(t *testing.T) {
	decode := load(t, oneToken).Renewers[0].Decode
	for claims, want := range map[string]string{
		`{"jti":"0a1b"}`:                  "0a1b",
		`{"jti":""}`:                      "",
		`{"jti":7}`:                       "",
		`{"jti":"a b\n\u001b[31m\u00e9"}`: "a?b??[31m?",
		`{"jti":"` + strings.Repeat("x", 200) + `"}`: strings.Repeat("x", 100) + "...",
		`{}`: "",
	} {
		if got, err := decode(jwt(claims).Secret); err != nil || got.ID != want {
			t.Errorf("%.60s: got %q, %v", claims, got.ID, err)
		}
	}
	kid := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"2026\u0000-11"}`)) + ".e30."
	if got, err := decode(agent.NewSecret(kid)); err != nil || got.KeyID != "2026?-11" {
		t.Errorf("got %q, %v", got.KeyID, err)
	}
}

func unix(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.Unix()
}
