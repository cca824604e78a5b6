package profile

import (
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

// Issuers write the scope of a token in many ways. Readers of a profile take only its own.
func TestScopeIsReadAsTheReadersOfAProfileDo(t *testing.T) {
	for name, c := range map[string]struct {
		claims      map[string]any
		plain, wlcg string
	}{
		"a string":         {map[string]any{"scope": "a b"}, "a b", "a b"},
		"nothing":          {nil, "", ""},
		"an array":         {map[string]any{"scope": []any{"a", "b c"}}, "a b c", ""},
		"scp":              {map[string]any{"scp": "a b"}, "a b", ""},
		"scp as an array":  {map[string]any{"scp": []any{"a", "b"}}, "a b", ""},
		"both":             {map[string]any{"scope": "a", "scp": []any{"b"}}, "a b", "a"},
		"numbers":          {map[string]any{"scope": []any{1}, "scp": true}, "", ""},
		"an empty scope":   {map[string]any{"scope": "", "scp": "a"}, "a", ""},
		"an array of none": {map[string]any{"scope": []any{}}, "", ""},
	} {
		token := Token{Claims: c.claims}
		for profile, want := range map[string]string{"": c.plain, "wlcg": c.wlcg, "scitokens": c.wlcg} {
			if got := strings.Join(Scope(profile, token), " "); got != want {
				t.Errorf("%s, profile %q: got %q, want %q", name, profile, got, want)
			}
		}
	}
}

func TestMatchesTakesAScopeInEveryFormOfItsProfile(t *testing.T) {
	for name, c := range map[string]struct {
		profile, scope string
		claims         map[string]any
		want           string
	}{
		"an array":                 {"", "api read", map[string]any{"scope": []any{"api", "read"}}, ""},
		"scp":                      {"", "Files.Read", map[string]any{"scp": "Files.Read User.Read"}, ""},
		"too little of an array":   {"", "api", map[string]any{"scope": []any{"read"}}, `scope: it is ["read"]; api was asked for too`},
		"too little in scp":        {"", "api", map[string]any{"scp": "read"}, `scope: it is missing, and scp is "read"; api was asked for too`},
		"an array under a profile": {"wlcg", "storage.read:/", map[string]any{"scope": []any{"storage.read:/"}}, `scope: it is ["storage.read:/"]; storage.read:/ was asked for too`},
		"scp under a profile":      {"scitokens", "read:/", map[string]any{"scp": "read:/"}, `scope: it is missing, and readers of the profile scitokens do not look into scp; read:/ was asked for too`},
		"groups":                   {"wlcg", "wlcg.groups:/cms/uscms wlcg.groups wlcg:1.0", map[string]any{"wlcg.groups": []any{"/cms/uscms", "/cms"}}, ""},
		"a slash at a group's end": {"wlcg", "wlcg.groups:/cms/", map[string]any{"wlcg.groups": []any{"/cms"}}, ""},
		"a group less":             {"wlcg", "wlcg.groups:/cms/uscms", map[string]any{"wlcg.groups": []any{"/cms"}}, `wlcg.groups: it is ["/cms"]; /cms/uscms was asked for too`},
		"no groups":                {"wlcg", "wlcg.groups:/cms", nil, `wlcg.groups: it is missing; /cms was asked for too`},
		"no groups by default":     {"wlcg", "wlcg.groups", nil, ""},
		"groups elsewhere":         {"", "wlcg.groups:/cms", map[string]any{"groups": []any{"cms"}}, ""},
		"a group less, no profile": {"", "wlcg.groups:/cms", map[string]any{"wlcg.groups": []any{"/atlas"}}, `wlcg.groups: it is ["/atlas"]; /cms was asked for too`},
	} {
		var texts []string
		for _, p := range Matches(Token{Claims: c.claims}, agent.Request{Profile: c.profile, Scope: strings.Fields(c.scope)}) {
			texts = append(texts, p.String())
		}
		if got := strings.Join(texts, "|"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestBothSpellingsOfAVersionAreTheSame(t *testing.T) {
	for _, c := range []struct {
		claim, a, b string
		want        bool
	}{
		{"ver", "scitoken:2.0", "scitokens:2.0", true},
		{"ver", "scitokens:2.0", "scitokens:2.0", true},
		{"ver", "scitoken:2.0", "scitoken:1.0", false},
		{"x", "scitoken:2.0", "scitokens:2.0", false},
	} {
		if got := Same(c.claim, c.a, c.b); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestNormalWordsAreAsTheProfilesWriteThem(t *testing.T) {
	for words, want := range map[string]string{
		"storage.read:/data":            "storage.read:/data",
		"storage.read:":                 "storage.read:/",
		"storage.read":                  "storage.read:/",
		"storage.read:data":             "storage.read:/data",
		"storage.read:/a//b/./c/":       "storage.read:/a/b/c",
		"read:a write:":                 "read:/a write:/",
		"storage.read: storage.read:/":  "storage.read:/",
		"storage.read: storage.read":    "storage.read:/",
		"storage.read:/ storage.read:/": "storage.read:/ storage.read:/", // told as a fault
		"storage.read:/a/../b":          "storage.read:/a/../b",
		"storage.read:/a%2Fb":           "storage.read:/a%2Fb",
		"storage.read:/a%20b/":          "storage.read:/a%20b",
		"condor:/READ compute.read":     "condor:/READ compute.read",
		"openid api:x/":                 "openid api:x/",
	} {
		if got := strings.Join(NormalWords(strings.Fields(words)), " "); got != want {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
}
