package profile

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// checkAll runs everything that looks into a token; what is wrong has a text.
func checkAll(t *testing.T, token Token) {
	problems := Times(token, time.Unix(1_800_000_000, 0))
	for _, name := range append(Names(), "", Detect(token)) {
		problems = append(problems, Check(name, token)...)
	}
	problems = append(problems, Matches(token, agent.Request{Claims: token.Claims, Scope: []string{"a"}})...)
	for _, p := range problems {
		if p.Text == "" {
			t.Errorf("a problem at %q has no text", p.Claim)
		}
	}
}

func TestMatchesComparesWithWhatWasAsked(t *testing.T) {
	token, err := Decode(jwt(`{"alg":"ES256"}`, `{
		"sub":"pilot", "aud":["a","b"], "scope":"read:/ write:/x",
		"n":1, "f":1.5, "yes":true, "list":["x",2], "object":{"k":1.0}}`))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		req  agent.Request
		want string
	}{
		"nothing asked":        {agent.Request{}, ""},
		"all as asked":         {agent.Request{Subject: "pilot", Audience: []string{"b", "a"}, Scope: []string{"write:/x", "read:/"}}, ""},
		"more than asked":      {agent.Request{Audience: []string{"b"}, Scope: []string{"read:/"}}, ""},
		"another subject":      {agent.Request{Subject: "x"}, `sub: it is "pilot"; "x" was asked for`},
		"audience not there":   {agent.Request{Audience: []string{"a", "c"}}, `aud: it is ["a","b"]; c was asked for too`},
		"audience as claim":    {agent.Request{Claims: map[string]any{"aud": []any{"a", "b"}}}, ""},
		"another as claim":     {agent.Request{Claims: map[string]any{"aud": []any{"a"}}}, `aud: it is ["a","b"]; ["a"] was asked for`},
		"no audience as claim": {agent.Request{Claims: map[string]any{"aud": nil}}, `aud: it is ["a","b"]; null was asked for`},
		"narrowed scope":       {agent.Request{Scope: []string{"read:/", "write:/"}}, `scope: it is "read:/ write:/x"; write:/ was asked for too`},
		"whole number":         {agent.Request{Claims: map[string]any{"n": int64(1)}}, ""},
		"whole number as 1.0":  {agent.Request{Claims: map[string]any{"n": 1.0}}, ""},
		"fraction":             {agent.Request{Claims: map[string]any{"f": 1.5}}, ""},
		"bool":                 {agent.Request{Claims: map[string]any{"yes": true}}, ""},
		"list and object":      {agent.Request{Claims: map[string]any{"list": []any{"x", int64(2)}, "object": map[string]any{"k": int64(1)}}}, ""},
		"number for text":      {agent.Request{Claims: map[string]any{"n": "1"}}, `n: it is 1; "1" was asked for`},
		"another bool":         {agent.Request{Claims: map[string]any{"yes": false}}, "yes: it is true; false was asked for"},
		"longer list":          {agent.Request{Claims: map[string]any{"list": []any{"x"}}}, `list: it is ["x",2]; ["x"] was asked for`},
		"object for a list":    {agent.Request{Claims: map[string]any{"list": map[string]any{}}}, "list: it is"},
		"claim that is absent": {agent.Request{Claims: map[string]any{"group": "x"}}, `group: it is missing; "x" was asked for`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			problems := Matches(token, c.req)
			if c.want == "" && len(problems) > 0 {
				t.Fatalf("got %v, want none", problems)
			}
			if c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0].String(), c.want)) {
				t.Fatalf("got %v, want %s", problems, c.want)
			}
		})
	}
}

func TestOneAudienceIsTheSameAsTextAndAsArray(t *testing.T) {
	for _, c := range [][2]any{{"a", []any{"a"}}, {[]any{"a"}, "a"}, {[]string{"a"}, []any{"a"}}} {
		if !Same("aud", c[0], c[1]) {
			t.Errorf("%v and %v differ", c[0], c[1])
		}
		if Same("roles", c[0], c[1]) != (c[0] == c[1]) {
			t.Errorf("%v and %v are the same of any claim", c[0], c[1])
		}
	}
	if huge := json.Number("1e400"); !Same("n", huge, huge) || Same("n", huge, json.Number("1e401")) {
		t.Error("numbers beyond a float64 are compared as such")
	}
}

func TestNoLimitIsAskedForByName(t *testing.T) {
	none := `scope: it is missing, so the token has no limit at all; write what it may do, such as condor:/READ, or ask for that by unlimited = true`
	cases := map[string]struct {
		scope any
		req   agent.Request
		want  string
	}{
		"limited":               {"condor:/READ", agent.Request{Profile: "htcondor"}, ""},
		"no limit, and meant":   {absent{}, agent.Request{Profile: "htcondor", Unlimited: true}, ""},
		"no limit, by mistake":  {absent{}, agent.Request{Profile: "htcondor"}, none},
		"no limit, as \"\"":     {"", agent.Request{Profile: "htcondor"}, none},
		"no limit, as null":     {nil, agent.Request{Profile: "htcondor"}, none},
		"limited, but not to":   {"condor:/READ", agent.Request{Profile: "htcondor", Unlimited: true}, `scope: it is "condor:/READ", but a token without limit was asked for; leave out`},
		"of no profile":         {absent{}, agent.Request{}, ""},
		"a SciToken, for a job": {absent{}, agent.Request{Profile: "scitokens"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			problems := Matches(with(good("htcondor"), map[string]any{"scope": c.scope}), c.req)
			if c.want == "" && len(problems) > 0 {
				t.Fatalf("got %v, want none", problems)
			}
			if c.want != "" && (len(problems) != 1 || problems[0].Warning || !strings.HasPrefix(problems[0].String(), c.want)) {
				t.Fatalf("got %v, want %s", problems, c.want)
			}
		})
	}
}

func TestTimesGiveNoLeeway(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	cases := map[string]struct {
		claims map[string]any
		want   string
	}{
		"valid from now on":   {map[string]any{"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Unix() + 1}, ""},
		"issued in a second":  {map[string]any{"iat": now.Unix() + 1}, "iat: it is 1s in the future"},
		"valid in two hours":  {map[string]any{"nbf": now.Unix() + 7200}, "nbf: the token becomes valid in 2h"},
		"expires this second": {map[string]any{"exp": now.Unix()}, "exp: the token expired 0s ago"},
		"expired in 1970":     {map[string]any{"exp": json.Number("0")}, "exp: the token expired 500000h ago"},
		"expired by a part":   {map[string]any{"exp": json.Number("1799999999.5")}, "exp: the token expired 0s ago"},
		"expires in a part":   {map[string]any{"exp": json.Number("1800000000.5")}, ""},
		"expired, as 1e9":     {map[string]any{"exp": json.Number("1e9")}, "exp: the token expired 222222h13m20s ago"},
		"valid in a part":     {map[string]any{"nbf": json.Number("1800000000.5")}, "nbf: the token becomes valid in 1s"},
		"beyond all integers": {map[string]any{"exp": json.Number("99999999999999999999")}, ""},
		"before all integers": {map[string]any{"exp": json.Number("-1e19")}, "exp: the token expired 10000000001799999488 s ago"},
		"expiry as text":      {map[string]any{"exp": "1000000000"}, `exp: it is "1000000000", not a number, so verifiers refuse the token`},
		"expiry that is null": {map[string]any{"exp": nil}, "exp: it is null, not a number"},
		"nbf as text":         {map[string]any{"nbf": "1"}, `nbf: it is "1", not a number`},
		"no times":            {nil, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			problems := Times(Token{Claims: c.claims}, now)
			if c.want == "" && len(problems) > 0 {
				t.Fatalf("got %v, want none", problems)
			}
			if c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0].String(), c.want)) {
				t.Fatalf("got %v, want %s", problems, c.want)
			}
		})
	}
}

func TestAServiceTakesWhatIsForItOrForAll(t *testing.T) {
	const service, anySciTokens = "https://se.example.org", "ANY"
	for _, tt := range []struct {
		profile string
		aud     any
		want    string
	}{
		{"wlcg", service, ""},
		{"wlcg", []any{"https://other.example.org", service}, ""},
		{"wlcg", anyWLCG, ""},
		{"scitokens", anySciTokens, ""},
		{"wlcg", anySciTokens, `aud: it is "ANY", so "https://se.example.org" refuses the token; ask its issuer for that audience`},
		{"", anyWLCG, `aud: it is "` + anyWLCG + `", so "https://se.example.org" refuses the token; ask its issuer for that audience`},
		{"", service + "/", `aud: it is "https://se.example.org/", so "https://se.example.org" refuses the token; ask its issuer for that audience`},
		{"", nil, `aud: it is missing, so "https://se.example.org" refuses the token; ask its issuer for that audience`},
		{"", json.Number("1"), `aud: it is 1, so "https://se.example.org" refuses the token; ask its issuer for that audience`},
	} {
		token := Token{Claims: map[string]any{}}
		if tt.aud != nil {
			token.Claims["aud"] = tt.aud
		}
		got := ""
		for _, p := range Audience(tt.profile, token, service) {
			got += p.String()
		}
		if got != tt.want {
			t.Errorf("%s, aud %v: %s\nwant %s", tt.profile, tt.aud, got, tt.want)
		}
	}
}
