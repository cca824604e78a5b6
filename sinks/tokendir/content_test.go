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
	"opaque token":    {"8xLOxBtZp8\n", "not a JWT"},
	"broken over":     {good[:40] + "\n" + good[40:90] + "\n" + good[90:], "broken over 3 lines"},
	"unlike a JWT":    {part(map[string]any{}) + "." + raw("[]") + "." + signature, "claims: it is not a JSON object"},
	"claims of null":  {part(map[string]any{}) + "." + raw("null") + "." + signature, "claims: it is not a JSON object"},
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

// lenient are tokens that HTCondor's parser takes, and strict ones refuse.
var lenient = map[string]struct{ token, remark string }{
	"a name twice":    {raw(`{"alg":"HS256","kid":"x","kid":"POOL"}`) + "." + raw(laxClaims) + "." + signature, "header: a name occurs twice"},
	"no UTF-8":        {raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", ",\"x\":\"\xff\"}", 1)) + "." + signature, "claims: it is not UTF-8"},
	"something after": {raw(laxHeader) + "." + raw(laxClaims+"x") + "." + signature, "claims: something follows the JSON object"},
	"bits left over":  {raw(laxHeader) + "." + raw(laxClaims) + "." + signature[:42] + "J", "signature: it is not base64url"},
	"leading zeros":   {raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", `,"n":007}`, 1)) + "." + signature, "claims: it is not valid JSON"},
	"100 lists":       {raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", `,"n":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+"}", 1)) + "." + signature, "claims: its values lie more than 100 deep"},
	"many objects":    {raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", `,"n":`+strings.Repeat(`{"n":`, 500)+"1"+strings.Repeat("}", 500)+"}", 1)) + "." + signature, "claims: its values lie more than 100 deep"},
	"too large":       {raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", `,"n":"`+strings.Repeat("n", 16000)+`"}`, 1)) + "." + signature, "readers take at most 16382"},
}

const (
	laxHeader = `{"alg":"HS256","kid":"POOL"}`
	laxClaims = `{"iss":"cm.example.org","sub":"schedd@example.org","iat":1800000000,"exp":1800003600,"jti":"00112233445566778899aabbccddeeff","scope":"condor:/READ"}`
)

func raw(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestWhatHTCondorsLenientParserTakesHidesOthers(t *testing.T) {
	for name, c := range lenient {
		t.Run(name, func(t *testing.T) {
			r := mustRead(t, directory(t, map[string]string{"a": c.token, "b": good}), self())
			if diff := cmp.Diff("a:1 sent\nb:1 shadowed by a\n", verdicts(r)); diff != "" {
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
	if e := r.Entries[0]; e.Verdict != Sent || len(e.Remarks) != 1 || !strings.Contains(e.Remarks[0], "CR LF") {
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
	for _, c := range lenient {
		f.Add([]byte(c.token))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		r := Reading{Path: "/d", Entries: folder{reader: self(), now: now}.entriesIn(Entry{Name: "a"}, content)}
		r.settle()
		if len(r.Entries) == 0 {
			t.Error("a file without a verdict")
		}
		used := map[source]bool{}
		for _, e := range r.Entries {
			if (e.Verdict == Sent || e.Verdict == Shadowed) != (e.Token != nil && e.Verdict != Incomplete) {
				t.Errorf("%+v", e)
			}
			if e.Verdict == Sent && used[e.source()] {
				t.Error("two tokens of one issuer and key are used")
			}
			if e.Verdict == Sent {
				used[e.source()] = true
			}
		}
		r.Findings()
	})
}

// refused are tokens that HTCondor's parser passes over.
var refused = map[string]string{
	"a number with a plus":    `"n":+1`,
	"a number beyond float64": `"n":1e400`,
	"half a surrogate pair":   `"n":"\ud800"`,
	"101 lists":               `"n":` + strings.Repeat("[", 101) + strings.Repeat("]", 101),
	"an object in 100 lists":  `"n":` + strings.Repeat("[", 100) + "{}" + strings.Repeat("]", 100),
	"a million objects":       `"n":` + strings.Repeat(`{"n":`, 1_000_000) + "1" + strings.Repeat("}", 1_000_000),
	"a comma too many":        `"n":[1,]`,
	"a comment":               `/* */"n":1`,
	"a control character":     "\"n\":\"\x01\"",
}

func TestWhatHTCondorsParserDoesNotTakeIsPassedOver(t *testing.T) {
	for name, member := range refused {
		token := raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", ","+member+"}", 1)) + "." + signature
		r := mustRead(t, directory(t, map[string]string{"a": token, "b": good}), self())
		if diff := cmp.Diff("a no token\nb:1 sent\n", verdicts(r)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestVerdictsDependOnTheVersion(t *testing.T) {
	claims := func(change string) string {
		return raw(laxHeader) + "." + raw(strings.Replace(laxClaims, "}", change+"}", 1)) + "." + signature
	}
	withoutSub := strings.Replace(laxClaims, `"sub":"schedd@example.org",`, "", 1)
	for name, c := range map[string]struct{ token, old, today string }{
		"no jti":              {claimSetWithoutJTI, "a:1 sent\n", "a:1 sent, refused\n"},
		"cap":                 {claims(`,"cap":true`), "a:1 sent\n", "a:1 sent, refused\n"},
		"a list as scope":     {claims(`,"scope":["condor:/READ"]`), "a:1 sent, hangs\n", "a:1 sent, refused\n"},
		"exp too far":         {claims(`,"exp":9999999999`), "a:1 sent\n", "a:1 sent, expired\n"},
		"jti in place of sub": {raw(laxHeader) + "." + raw(withoutSub) + "." + signature, "a:1 incomplete, refused\n", "a:1 sent, refused\n"},
	} {
		for version, want := range map[Version]string{{23, 9, 6}: c.old, {25, 13, 2}: c.today} {
			reader := self()
			reader.Version = version
			r := mustRead(t, directory(t, map[string]string{"a": c.token}), reader)
			if diff := cmp.Diff(want, verdicts(r)); diff != "" {
				t.Errorf("%s, %v: %s", name, version, diff)
			}
		}
		r := mustRead(t, directory(t, map[string]string{"a": c.token}), self())
		if why := r.Entries[0].Token.Why; !strings.Contains(why, "HTCondor") {
			t.Errorf("%s: of an unknown version: %q", name, why)
		}
	}
}

var claimSetWithoutJTI = raw(laxHeader) + "." + raw(strings.Replace(laxClaims, `"jti":"00112233445566778899aabbccddeeff",`, "", 1)) + "." + signature
