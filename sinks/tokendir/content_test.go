package tokendir

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reasons are what a line that is no token is told to be.
var reasons = map[string]struct{ content, want string }{
	"JSON":            {`{"access_token":"` + strings.TrimSpace(good) + `"}`, "JSON"},
	"JSON, indented":  {"{\n  \"access_token\": 1\n}\n", "JSON"},
	"quotes":          {`"` + strings.TrimSpace(good) + `"`, "quotes"},
	"Bearer":          {"Bearer " + good, "Bearer"},
	"assignment":      {"export BEARER_TOKEN=" + good, "assignment"},
	"null":            {"null\n", "null"},
	"error page":      {"<html><body>502</body></html>", "HTML"},
	"key":             {"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n", "key"},
	"byte order mark": {"\ufeff" + good, "byte order mark"},
	"CR within":       {strings.TrimSpace(good) + "\r" + strings.TrimSpace(good), "CR"},
	"two on a line":   {strings.TrimSpace(good) + " " + good, "blanks"},
	"empty":           {"", "empty"},
	"comments":        {"# nothing\n", "comments"},
	"opaque token":    {"8xLOxBtZp8\n", "no JWT"},
	"broken over":     {good[:40] + "\n" + good[40:90] + "\n" + good[90:], "broken over 3 lines"},
	"unlike a JWT":    {part(map[string]any{}) + "." + raw("[]") + "." + signature, "claims: it is no JSON object"},
	"claims of null":  {part(map[string]any{}) + "." + raw("null") + "." + signature, "claims: it is no JSON object"},
}

func TestWhatIsNoTokenIsNamed(t *testing.T) {
	for name, c := range reasons {
		t.Run(name, func(t *testing.T) {
			r := mustRead(t, directory(t, map[string]string{"a": c.content}), self())
			if e := r.Entries[0]; len(r.Entries) != 1 || e.Verdict != NoToken || !strings.Contains(e.Reason, c.want) {
				t.Errorf("got %+v, want %s", r.Entries, c.want)
			}
		})
	}
}

// lax are tokens that HTCondor's parser takes, and strict ones refuse.
var lax = map[string]struct{ token, remark string }{
	"a name twice":    {raw(`{"alg":"HS256","kid":"x","kid":"POOL"}`) + "." + raw(laxClaims) + "." + signature, "header: a name occurs twice"},
	"no UTF-8":        {raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", ",\"x\":\"\xff\"}", 1)) + "." + signature, "claims: it is not UTF-8"},
	"something after": {raw(laxHeader) + "." + raw(laxClaims+"x") + "." + signature, "claims: something follows the JSON object"},
	"bits left over":  {raw(laxHeader) + "." + raw(laxClaims) + "." + signature[:2] + "5", "signature: it is no base64url"},
	"too large":       {raw(laxHeader) + "." + raw(laxClaims) + "." + strings.Repeat("QUJD", 5000), "readers take at most 16382"},
}

const (
	laxHeader = `{"alg":"HS256","kid":"POOL"}`
	laxClaims = `{"iss":"cm.example.org","sub":"schedd@example.org","iat":1800000000,"exp":1800003600,"scope":"condor:/READ"}`
)

func raw(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestWhatHTCondorsLaxParserTakesHidesOthers(t *testing.T) {
	for name, c := range lax {
		t.Run(name, func(t *testing.T) {
			r := mustRead(t, directory(t, map[string]string{"a": c.token, "b": good}), self())
			if diff := cmp.Diff("a:1 used\nb:1 shadowed by a\n", verdicts(r)); diff != "" {
				t.Fatal(diff)
			}
			remarks := r.Entries[0].Token.Remarks
			if len(remarks) != 1 || !strings.HasPrefix(remarks[0], "HTCondor takes it for a token, other readers do not: "+c.remark) &&
				!strings.HasSuffix(remarks[0], c.remark) {
				t.Errorf("%q", remarks)
			}
		})
	}
}

func TestTimesOfAnyFormAreUnderstoodOrMalformed(t *testing.T) {
	for exp, want := range map[string]State{
		"1800003600": Valid, "1800003600.5": Valid, "1.8000036e9": Valid, "99999999999999999999": Valid,
		"1000000000.5": Expired, "1e9": Expired, "-1": Expired,
		`"1800003600"`: Malformed, `"1000000000"`: Malformed, "null": Malformed, "[]": Malformed,
	} {
		claims := strings.Replace(laxClaims, "1800003600", exp, 1)
		r := mustRead(t, directory(t, map[string]string{"a": raw(laxHeader) + "." + raw(claims) + "." + signature}), self())
		got := r.Entries[0].Token
		if got.State != want || (got.Why == "") != (want == Valid) {
			t.Errorf("exp %s: got %s, %q, want %s", exp, got.State, got.Why, want)
		}
		if graves := slices.DeleteFunc(r.Findings(), func(f Finding) bool { return !f.Grave }); len(graves) > 1 || (len(graves) == 1) != (want != Valid) {
			t.Errorf("exp %s: %+v", exp, graves)
		}
		if expired := !got.Expires.IsZero() && !got.Expires.After(now); expired && got.State == Valid {
			t.Errorf("exp %s: valid, but it expired at %v", exp, got.Expires)
		}
	}
}

func TestLineEndsOfWindowsAreRemarked(t *testing.T) {
	r := mustRead(t, directory(t, map[string]string{"a": strings.TrimSpace(good) + "\r\n"}), self())
	if e := r.Entries[0]; e.Verdict != Used || len(e.Remarks) != 1 || !strings.Contains(e.Remarks[0], "CR LF") {
		t.Errorf("%+v", e)
	}
}

func TestScopeInWords(t *testing.T) {
	for scope, want := range map[string]string{
		"condor:/READ condor:/ADVERTISE_SCHEDD": "query the pool and the queue, announce a schedd to the collector",
		"-":                                     "do everything that its identity may do",
		"Condor:/READ read:/":                   "do everything that its identity may do",
		"condor:/REED":                          `do nothing by "condor:/REED", a level that HTCondor does not know`,
		"condor:/READ nonsense":                 "query the pool and the queue",
	} {
		r := mustRead(t, directory(t, map[string]string{"a": claimSet{scope: scope}.String()}), self())
		if got := strings.Join(r.Entries[0].Token.Allows, ", "); got != want {
			t.Errorf("%s: %s", scope, got)
		}
	}
}

func FuzzContent(f *testing.F) {
	for _, c := range rules {
		for _, content := range c.files {
			f.Add([]byte(content))
		}
	}
	for _, c := range reasons {
		f.Add([]byte(c.content))
	}
	for _, c := range lax {
		f.Add([]byte(c.token))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		r := Reading{Path: "/d", Entries: folder{reader: self(), now: now}.judge(Entry{Name: "a"}, content)}
		r.settle()
		if len(r.Entries) == 0 {
			t.Error("a file without a verdict")
		}
		used := map[source]bool{}
		for _, e := range r.Entries {
			if (e.Verdict == Used || e.Verdict == Shadowed) != (e.Token != nil && e.Verdict != Incomplete) {
				t.Errorf("%+v", e)
			}
			if e.Verdict == Used && used[e.source()] {
				t.Error("two tokens of one issuer and key are used")
			}
			if e.Verdict == Used {
				used[e.source()] = true
			}
		}
		r.Findings()
	})
}
