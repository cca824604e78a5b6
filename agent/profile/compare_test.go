package profile

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokenagent/tokenagent/agent"
)

func TestScopesAreComparedByWhatTheyAllow(t *testing.T) {
	for name, c := range map[string]struct{ asked, got, missing, wider, beside string }{
		"the same":                  {"storage.read:/ compute.read", "compute.read storage.read:/", "", "", ""},
		"nothing":                   {"", "", "", "", ""},
		"nothing came":              {"storage.read:/", "", "storage.read:/", "", ""},
		"a word twice":              {"storage.read:/", "storage.read:/ x x storage.modify:/ storage.modify:/", "", "storage.modify:/", "x"},
		"the issue's example":       {"storage.read:/", "storage.modify:/ admin", "storage.read:/", "storage.modify:/", "admin"},
		"a right more":              {"storage.read:/", "storage.read:/ storage.modify:/", "", "storage.modify:/", ""},
		"an unknown word":           {"storage.read:/", "storage.read:/ openid admin", "", "", "openid admin"},
		"unknown words alone":       {"api", "api admin", "", "", "admin"},
		"a right for none":          {"openid", "openid storage.read:/", "", "storage.read:/", ""},
		"a wider path":              {"storage.read:/data", "storage.read:/", "", "storage.read:/", ""},
		"a narrower path":           {"storage.read:/", "storage.read:/data", "storage.read:/", "", ""},
		"a path within":             {"storage.read:/data", "storage.read:/data storage.read:/data/x", "", "", ""},
		"a sibling that begins so":  {"storage.read:/data", "storage.read:/data storage.read:/database", "", "storage.read:/database", ""},
		"another case":              {"storage.read:/data", "storage.read:/Data", "storage.read:/data", "storage.read:/Data", ""},
		"a slash at the end":        {"storage.read:/data", "storage.read:/data/", "", "", ""},
		"no slash at the end":       {"storage.read:/data/", "storage.read:/data", "", "", ""},
		"slashes and dots":          {"storage.read:/data", "storage.read:/.//data/./", "", "", ""},
		"escapes":                   {"storage.read:/data/x", "storage.read:/d%61t%61/%78", "", "", ""},
		"a path that climbs":        {"storage.read:/data", "storage.read:/data storage.read:/data/../secret", "", "storage.read:/data/../secret", ""},
		"an escape that climbs":     {"storage.read:/data", "storage.read:/data storage.read:/data/%2e%2E/secret", "", "storage.read:/data/%2e%2E/secret", ""},
		"escaped twice":             {"storage.read:/data", "storage.read:/data storage.read:/data/%252e%252e/x", "", "storage.read:/data/%252e%252e/x", ""},
		"an escaped slash":          {"storage.read:/data", "storage.read:/data storage.read:/data%2fx", "", "storage.read:/data%2fx", ""},
		"a backslash":               {"storage.read:/data", `storage.read:/data storage.read:/data\..\x`, "", `storage.read:/data\..\x`, ""},
		"a NUL":                     {"storage.read:/data", "storage.read:/data storage.read:/data/%00", "", "storage.read:/data/%00", ""},
		"a broken escape":           {"storage.read:/data", "storage.read:/data storage.read:/data/%zz", "", "storage.read:/data/%zz", ""},
		"a broken escape alone":     {"storage.read:/data", "storage.read:/%zz", "storage.read:/data", "storage.read:/%zz", ""},
		"a path that climbs within": {"storage.read:/data", "storage.read:/data storage.read:/data/x/../y", "", "storage.read:/data/x/../y", ""},
		"a backslash within":        {"storage.read:/data", `storage.read:/data storage.read:/data/x\..\y`, "", `storage.read:/data/x\..\y`, ""},
		"an odd path for another":   {"storage.read:/a/../b", "storage.read:/b/c", "storage.read:/a/../b", "storage.read:/b/c", ""},
		"groups and a plain word":   {"wlcg.groups openid", "storage.read:/ openid", "", "", ""},
		"groups, a right, a word":   {"wlcg.groups storage.read:/x openid", "storage.read:/x storage.modify:/x openid", "", "storage.modify:/x", ""},
		"an odd path as asked":      {"storage.read:/a/../b", "storage.read:/a/../b", "", "", ""},
		"no path":                   {"storage.read:/data", "storage.read:/data storage.read", "", "storage.read", ""},
		"an empty path":             {"storage.read:/data", "storage.read:/data storage.read:", "", "storage.read:", ""},
		"a relative path":           {"storage.read:/data", "storage.read:data", "", "", ""},
		"modify for create":         {"storage.create:/x", "storage.modify:/x", "", "storage.modify:/x", ""},
		"create for modify":         {"storage.modify:/x", "storage.create:/x", "storage.modify:/x", "", ""},
		"create beside modify":      {"storage.modify:/", "storage.modify:/ storage.create:/x", "", "", ""},
		"read beside modify":        {"storage.modify:/", "storage.modify:/ storage.read:/", "", "storage.read:/", ""},
		"read beside stage":         {"storage.stage:/", "storage.stage:/ storage.read:/", "", "storage.read:/", ""},
		"stage for read":            {"storage.read:/", "storage.stage:/", "storage.read:/", "storage.stage:/", ""},
		"stage for poll":            {"storage.poll:/x", "storage.stage:/", "", "storage.stage:/", ""},
		"poll beside read":          {"storage.read:/x", "storage.read:/x storage.poll:/x", "", "", ""},
		"read for poll":             {"storage.poll:/x", "storage.read:/x", "storage.poll:/x", "storage.read:/x", ""},
		"an unknown storage word":   {"storage.read:/", "storage.read:/ storage.delete:/", "", "storage.delete:/", ""},
		"SciTokens words for WLCG":  {"storage.read:/x storage.modify:/x", "storage.read:/x storage.modify:/x read:/x write:/x/y", "", "", ""},
		"SciTokens words alone":     {"storage.read:/x", "read:/x", "storage.read:/x", "", ""},
		"WLCG words for SciTokens":  {"read:/x write:/x", "read:/x write:/x storage.read:/x storage.create:/x storage.modify:/x", "", "", ""},
		"write for create":          {"storage.create:/x", "storage.create:/x write:/x", "", "write:/x", ""},
		"write for read":            {"read:/", "read:/ write:/", "", "write:/", ""},
		"execute and queue":         {"read:/", "read:/ execute queue:/", "", "execute queue:/", ""},
		"words of others":           {"read", "read write", "", "write", ""},
		"a part of such a word":     {"read", "read read:statuses", "", "", ""},
		"the whole of such a word":  {"read:statuses", "read:statuses read", "", "read", ""},
		"a word without a path":     {"repo read:org", "repo read:org read:user", "", "read:user", ""},
		"another right to the same": {"read:packages", "read:packages write:packages", "", "write:packages", ""},
		"jobs":                      {"compute.read", "compute.read compute.create", "", "compute.create", ""},
		"jobs with a path":          {"compute.create:/x", "compute.create", "", "compute.create", ""},
		"an unknown compute word":   {"compute.read", "compute.read compute.admin", "", "compute.admin", ""},
		"no word but nearly":        {"compute.read", "compute.read computer storages", "", "", "computer storages"},
		"levels as asked":           {"condor:/READ condor:/WRITE", "condor:/WRITE condor:/READ", "", "", ""},
		"a lower level":             {"condor:/WRITE", "condor:/WRITE condor:/READ", "", "", ""},
		"a lower level alone":       {"condor:/DAEMON", "condor:/READ", "condor:/DAEMON", "", ""},
		"a higher level":            {"condor:/WRITE", "condor:/WRITE condor:/DAEMON condor:/ADMINISTRATOR", "", "condor:/DAEMON condor:/ADMINISTRATOR", ""},
		"a higher level for it":     {"condor:/READ", "condor:/WRITE", "condor:/READ", "condor:/WRITE", ""},
		"one daemon for another":    {"condor:/ADVERTISE_MASTER", "condor:/ADVERTISE_MASTER condor:/ADVERTISE_STARTD", "", "condor:/ADVERTISE_STARTD", ""},
		"DAEMON does not advertise": {"condor:/DAEMON", "condor:/DAEMON condor:/ADVERTISE_STARTD", "", "condor:/ADVERTISE_STARTD", ""},
		"an unknown level":          {"condor:/READ", "condor:/READ condor:/read condor:READ", "", "condor:/read condor:READ", ""},
		"any word for none":         {"", "storage.modify:/ admin", "", "", ""},
		"a capability set":          {"wlcg.capabilityset:/dune storage.read:/dune/data", "storage.read:/dune storage.create:/x y", "", "", ""},
		"a capability set for none": {"openid wlcg.capabilityset:/dune", "openid", "wlcg.capabilityset:/dune", "", ""},
		"identity":                  {"openid offline_access profile email address phone", "", "", "", ""},
		"identity and a right":      {"openid storage.read:/", "openid", "storage.read:/", "", ""},
		"groups of a kind":          {"wlcg.groups:/cms/Role=pilot wlcg.groups", "", "", "", ""},
		"attributes":                {"eduperson_entitlement eduperson_scoped_affiliation voperson_id schac_home_organization entitlements orcid", "", "", "", ""},
		"CILogon":                   {"org.cilogon.userinfo openid profile", "openid", "", "", ""},
		"INDIGO IAM":                {"wlcg aarc attr ssh-keys iam:admin.read", "", "iam:admin.read", "", ""},
		"Google":                    {"https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/cloud-platform", "openid", "https://www.googleapis.com/auth/cloud-platform", "", "openid"},
		"Google, with a path":       {"https://www.googleapis.com/auth/devstorage.read_only", "https://www.googleapis.com/auth/devstorage.read_only", "", "", ""},
		"Microsoft, by default":     {"https://graph.microsoft.com/.default", "User.Read Files.Read", "", "", ""},
		"Microsoft, one":            {"api://5f3c-app/Files.Read", "Files.Read", "", "", ""},
		"Microsoft, in the answer":  {"Files.Read", "api://5f3c-app/Files.Read", "", "", ""},
		"Microsoft, another":        {"api://5f3c-app/Files.Read", "Files.ReadWrite", "api://5f3c-app/Files.Read", "", "Files.ReadWrite"},
		"no resource":               {"Files.Read", "x/Files.Read", "Files.Read", "", "x/Files.Read"},
		"a path is no resource":     {"storage.read:/a", "storage.read:/https://x/a", "storage.read:/a", "storage.read:/https://x/a", ""},
		"an empty path for a slash": {"storage.read:", "storage.read:/", "", "", ""},
		"a slash for an empty path": {"storage.read:/ storage.modify:/x/", "storage.read: storage.modify:/x", "", "", ""},
		"an empty path, narrower":   {"storage.read:", "storage.read:/data", "storage.read:", "", ""},
		"a capability set, alone":   {"wlcg.capabilityset:/dune", "storage.read:/a compute.create", "", "", ""},
		"a capability set, echoed":  {"wlcg.capabilityset:/dune", "wlcg.capabilityset:/dune", "", "", ""},
		"a set and an identity":     {"wlcg.capabilityset:/dune", "openid profile", "wlcg.capabilityset:/dune", "", ""},
		"a word like a request":     {"openidx wlcgx profiles", "", "openidx wlcgx profiles", "", ""},
		"the version of a profile":  {"wlcg:1.0 storage.read:/", "storage.read:/", "", "", ""},
		"groups alone":              {"openid wlcg.groups:/cms", "openid storage.read:/", "", "", ""},
		"groups and a right":        {"wlcg.groups storage.read:/", "wlcg.groups storage.read:/ storage.modify:/", "", "storage.modify:/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := CompareScope(strings.Fields(c.asked), strings.Fields(c.got))
			want := Difference{strings.Fields(c.missing), strings.Fields(c.wider), strings.Fields(c.beside)}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAudiencesAreComparedByWhoTakesThem(t *testing.T) {
	for name, c := range map[string]struct{ asked, got, missing, wider, beside string }{
		"the same":           {"a b", "b a", "", "", ""},
		"any for none":       {"", "a " + anyWLCG, "", "", ""},
		"one more":           {"a", "a account account", "", "", "account"},
		"another":            {"a", "b", "a", "", "b"},
		"everybody":          {"a", "a " + anyWLCG, "", anyWLCG, ""},
		"everybody alone":    {"a", "ANY", "a", "ANY", ""},
		"everybody as asked": {anyWLCG, anyWLCG + " ANY a", "", "", ""},
		"one for everybody":  {"ANY", "a", "ANY", "", ""},
		"a word like ANY":    {"a", "a any", "", "", "any"},
	} {
		t.Run(name, func(t *testing.T) {
			got := CompareAudience(strings.Fields(c.asked), strings.Fields(c.got))
			want := Difference{strings.Fields(c.missing), strings.Fields(c.wider), strings.Fields(c.beside)}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExceedsSaysWhatATokenHasMore(t *testing.T) {
	req := agent.Request{Scope: []string{"storage.read:/data"}, Audience: []string{"https://se.example.org"}}
	for name, c := range map[string]struct {
		claims map[string]any
		said   []string
		wider  string
		beside []string
	}{
		"as asked":         {map[string]any{"scope": "storage.read:/data", "aud": "https://se.example.org"}, nil, "", nil},
		"a right":          {map[string]any{"scope": "storage.read:/data storage.modify:/"}, nil, "scope: storage.modify:/ allows more than storage.read:/data, which was asked for", nil},
		"as an array":      {map[string]any{"scope": []any{"storage.read:/data", "storage.modify:/"}}, nil, "scope: storage.modify:/ allows more than", nil},
		"beside a number":  {map[string]any{"scope": "storage.read:/data", "scp": []any{json.Number("1"), "storage.modify:/"}}, nil, "scope: storage.modify:/ allows more than", nil},
		"a list in a list": {map[string]any{"scope": "storage.read:/data", "scp": []any{[]any{"storage.modify:/"}}}, nil, "scope: storage.modify:/ allows more than", nil},
		"in scp":           {map[string]any{"scp": []any{"storage.modify:/"}}, nil, "scope: storage.modify:/ allows more than", nil},
		"beside the token": {nil, []string{"storage.modify:/", "openid"}, "scope: storage.modify:/ allows more than", []string{"the scope openid"}},
		"everybody":        {map[string]any{"aud": []any{"https://se.example.org", "ANY"}}, nil, "aud: ANY means every service, and https://se.example.org was asked for", nil},
		"one more service": {map[string]any{"aud": []any{"https://se.example.org", "account"}}, nil, "", []string{"the audience account"}},
		"hostile words":    {map[string]any{"aud": []any{"https://se.example.org", "\x1b[2J", strings.Repeat("a", 99)}}, nil, "", []string{`the audience "\x1b[2J" ` + strings.Repeat("a", 80) + "…"}},
		"thousands":        {nil, strings.Fields(strings.Repeat("a ", 9)), "", []string{"the scope a"}},
		"many":             {nil, strings.Fields("a b c d e f g h"), "", []string{"the scope a b c d e f and 2 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Exceeds(Token{Claims: c.claims}, c.said, req)
			text := ""
			for _, p := range got.Wider {
				text += p.String()
			}
			if (c.wider == "") != (text == "") || !strings.HasPrefix(text, c.wider) {
				t.Errorf("wider: %q, want %q", text, c.wider)
			}
			if diff := cmp.Diff(c.beside, got.Beside); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzCompareScope(f *testing.F) {
	for _, seed := range [][2]string{
		{"storage.read:/data", "storage.modify:/ admin"}, {"read:/a%2e", "read:/../%252e"}, {"condor:/WRITE", "condor:/READ"},
		{"wlcg.capabilityset:/x", "storage.read:"}, {"compute.read", "compute.create:/x\x00"}, {"", ":"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		asked, got := strings.Fields(a), strings.Fields(b)
		d := CompareScope(asked, got)
		if same := CompareScope(asked, asked); len(same.Missing)+len(same.Wider)+len(same.Beside) > 0 {
			t.Errorf("%q differs from itself: %v", a, same)
		}
		if extra := missing(d.Missing, asked); len(extra) > 0 {
			t.Errorf("%q are missing, and were not asked for", extra)
		}
		if extra := missing(slices.Concat(d.Wider, d.Beside), got); len(extra) > 0 {
			t.Errorf("%q did not come", extra)
		}
		both := slices.Concat(asked, got)
		if more := CompareScope(both, got); len(more.Wider)+len(more.Beside) > 0 {
			t.Errorf("all of %q was asked for: %v", b, more)
		}
		if all := CompareScope(asked, both); len(all.Missing) > 0 {
			t.Errorf("all of %q came: %v", a, all)
		}
		letThrough(t, asked, got, d)
	})
}

// letThrough looks with other eyes at words that were not called Wider: each path
// lies below one that was asked for.
func letThrough(t *testing.T, asked, got []string, d Difference) {
	for _, word := range missing(got, slices.Concat(d.Wider, asked)) {
		target, ok := strings.CutPrefix(word, "storage.read:/")
		if !ok || leavesOpen(grantsOf(asked)) {
			continue
		}
		depth := 0
		for part := range strings.SplitSeq(target, "/") {
			if depth++; part == ".." {
				t.Errorf("%q climbs", word)
			}
		}
		if !slices.ContainsFunc(asked, func(a string) bool {
			name, path, _ := strings.Cut(a, ":")
			return (name == "storage.read" || name == "read") && strings.Count(strings.Trim(path, "/"), "/") <= depth
		}) {
			t.Errorf("%q came for %q", word, asked)
		}
	}
}
