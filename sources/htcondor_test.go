package sources

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// schedd is what a token block for a schedd asks for.
var schedd = agent.Request{
	Profile: "htcondor", Subject: "schedd@example.org",
	Scope: []string{"condor:/READ", "condor:/ADVERTISE_SCHEDD"}, Lifetime: 24 * time.Hour,
}

// A knownToken is one that HTCondor's own tools made of a known key.
type knownToken struct {
	FileHex string `json:"file_hex"`
	Kid     string
	Header  string
	Payload string
	Sig     string `json:"signature"`
}

func (k knownToken) content(t testing.TB) []byte {
	t.Helper()
	content, err := hex.DecodeString(k.FileHex)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// text is the token as HTCondor wrote it.
func (k knownToken) text() string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(k.Header)) + "." + encode([]byte(k.Payload)) + "." + k.Sig
}

func knownTokens(t testing.TB) []knownToken {
	t.Helper()
	data, err := os.ReadFile("keys/testdata/idtoken.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct{ Tokens []knownToken }
	if err := json.Unmarshal(data, &known); err != nil {
		t.Fatal(err)
	}
	if len(known.Tokens) < 2 {
		t.Fatalf("%d tokens are there", len(known.Tokens))
	}
	return known.Tokens
}

// newPool is a source for the pool whose key's file holds content.
func newPool(t testing.TB, content, keyID string) *htcondor {
	t.Helper()
	key, err := keys.DeriveCondor([]byte(content), keyID)
	if err != nil {
		t.Fatal(err)
	}
	s := &htcondor{trustDomain: "cm.example.org"}
	if err := s.use(key); err != nil {
		t.Fatal(err)
	}
	return s
}

// derivedByHand is the signing key of a file, by RFC 5869 on HMAC alone.
func derivedByHand(content []byte, kid string) []byte {
	var seed []byte
	for i, b := range content {
		seed = append(seed, b^"\xde\xad\xbe\xef"[i%4])
	}
	if kid == "POOL" {
		seed = bytes.Repeat(seed, 2)
	}
	sum := func(key, message []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(message)
		return h.Sum(nil)
	}
	return sum(sum([]byte("htcondor"), seed), []byte("master jwt\x01"))
}

// verifyByHMAC is RFC 7515 section 5.2 for HS256, with the standard library alone.
func verifyByHMAC(text string, key []byte) bool {
	dot := strings.LastIndex(text, ".")
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text[:dot]))
	return text[dot+1:] == base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func TestKnownTokensAreSignedAlike(t *testing.T) {
	for _, k := range knownTokens(t) {
		if !verifyByHMAC(k.text(), derivedByHand(k.content(t), k.Kid)) {
			t.Errorf("%s: by hand the signature is another", k.Kid)
		}
		jws, err := newPool(t, string(k.content(t)), k.Kid).signer.Sign([]byte(k.Payload))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := jws.CompactSerialize(); err != nil || got != k.text() {
			t.Errorf("%s: got %s, want %s", k.Kid, got, k.text())
		}
	}
}

func TestKnownTokensPassInTheirTime(t *testing.T) {
	for _, k := range knownTokens(t) {
		token, err := profile.Decode(k.text())
		if err != nil {
			t.Fatal(err)
		}
		if problems := profile.Check("htcondor", token); len(problems) > 0 {
			t.Error(problems)
		}
		for at, want := range map[int64]string{
			1800000000 - 1: "iat: it is 1s in the future",
			1800000000:     "",
			1800000300:     "",
			1800000600 - 1: "",
			1800000600:     "exp: the token expired 0s ago",
			1800000900:     "exp: the token expired 5m ago",
		} {
			if got := faults(profile.Times(token, time.Unix(at, 0))); !strings.HasPrefix(got, want) || want == "" && got != "" {
				t.Errorf("at %d: got %q, want %q", at, got, want)
			}
		}
	}
}

func TestOnlyHS256IsAnIDTOKEN(t *testing.T) {
	for _, algorithm := range []string{"HS384", "HS512", "RS256", "ES256", "EdDSA", "none", "None", "hs256", ""} {
		k := knownTokens(t)[0]
		k.Header = strings.Replace(k.Header, "HS256", algorithm, 1)
		token, err := profile.Decode(k.text())
		if err != nil {
			t.Fatal(err)
		}
		if got := faults(profile.Check("htcondor", token)); !strings.HasPrefix(got, "alg: ") || !strings.Contains(got, "allowed is HS256") {
			t.Errorf("%q: got %q", algorithm, got)
		}
	}
}

func TestIDTOKENHasEveryClaimAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(700 * time.Millisecond) // within a second: all times are cut to whole ones
		now := time.Now()
		token := issue(t, newPool(t, "hello", "POOL"), schedd)
		got := decoded(t, token)
		want := map[string]any{
			"iss": "cm.example.org", "sub": "schedd@example.org", "scope": "condor:/READ condor:/ADVERTISE_SCHEDD",
			"iat": json.Number(fmt.Sprint(now.Unix())), "exp": json.Number(fmt.Sprint(now.Unix() + 86400)),
			"nbf": json.Number(fmt.Sprint(now.Unix() - 60)), "jti": got.Claims["jti"],
		}
		if diff := cmp.Diff(want, got.Claims); diff != "" {
			t.Error(diff)
		}
		if problems := slices.Concat(profile.Check("htcondor", got), profile.Matches(got, schedd), profile.Times(got, now)); len(problems) > 0 {
			t.Error(problems)
		}
		text := token.Secret.Reveal()
		header, _, _ := strings.Cut(text, ".")
		if raw, _ := base64.RawURLEncoding.DecodeString(header); string(raw) != `{"alg":"HS256","kid":"POOL"}` {
			t.Errorf("the header is %s", raw)
		}
		if !verifyByHMAC(text, derivedByHand([]byte("hello"), "POOL")) || verifyByHMAC(text, derivedByHand([]byte("hello"), "k1")) {
			t.Error("another key signed it")
		}
		if !token.Issued.Equal(now) || token.Expires.Unix() != now.Unix()+86400 || token.Expires.Nanosecond() != 0 {
			t.Errorf("issued %v, expires %v", token.Issued, token.Expires)
		}
	})
}

func TestUnlimitedIsATokenWithoutScope(t *testing.T) {
	req := schedd
	req.Scope, req.Unlimited = nil, true
	s := newPool(t, "hello", "POOL")
	if problems := s.check(req); len(problems) > 0 {
		t.Errorf("Check says %v", problems)
	}
	got := decoded(t, issue(t, s, req))
	if scope, there := got.Claims["scope"]; there {
		t.Errorf("its scope is %v", scope)
	}
	if got := faults(slices.Concat(profile.Check("htcondor", got), profile.Matches(got, req))); got != "" {
		t.Error(got)
	}
}

func TestCheckKnowsWhatHTCondorRefuses(t *testing.T) {
	const none = "scope: it is missing, so the token has no limit at all; write what it may do, such as condor:/READ, or ask for that by unlimited = true"
	cases := map[string]struct {
		change func(*agent.Request)
		want   string // one fault; "" for none
	}{
		"as it should be":         {func(*agent.Request) {}, ""},
		"every level":             {func(r *agent.Request) { r.Scope = levels() }, ""},
		"no subject":              {func(r *agent.Request) { r.Subject = "" }, "sub: it is missing; it names whom the token speaks for"},
		"subject without domain":  {func(r *agent.Request) { r.Subject = "schedd" }, ""},
		"audience":                {func(r *agent.Request) { r.Audience = []string{"cm.example.org"} }, "aud: an IDTOKEN has no audience; leave it out"},
		"audience as a claim":     {func(r *agent.Request) { r.Claims = map[string]any{"aud": "x"} }, "aud: an IDTOKEN has no audience"},
		"no scope":                {func(r *agent.Request) { r.Scope = nil }, none},
		"scope, yet unlimited":    {func(r *agent.Request) { r.Unlimited = true }, `scope: it is "condor:/READ condor:/ADVERTISE_SCHEDD", but a token without limit was asked for`},
		"typo in a level":         {func(r *agent.Request) { r.Scope = []string{"condor:/REDA"} }, `scope: HTCondor knows no level "REDA"`},
		"level of another system": {func(r *agent.Request) { r.Scope = []string{"condor:/READ", "compute.read"} }, `scope: "compute.read" begins wrongly; write condor:/LEVEL`},
		"level in small letters":  {func(r *agent.Request) { r.Scope = []string{"condor:/read"} }, `scope: HTCondor knows no level "read" and permits nothing for it; did you mean READ?`},
		"level without slash":     {func(r *agent.Request) { r.Scope = []string{"condor:/READ", "condor:WRITE"} }, `scope: "condor:WRITE" begins wrongly`},
		"two levels in a word":    {func(r *agent.Request) { r.Scope = []string{"condor:/READ condor:/WRITE"} }, "scope: it is \"condor:/READ condor:/WRITE\"; condor:/READ condor:/WRITE was asked for too"},
		"level twice":             {func(r *agent.Request) { r.Scope = []string{"condor:/READ", "condor:/READ"} }, `scope: "condor:/READ" is there twice`},
		"beyond what HTCondor can": {func(r *agent.Request) { r.Lifetime = math.MaxInt64 },
			"is later than HTCondor can hold; at most 9223372036 is allowed"},
		"no lifetime":          {func(r *agent.Request) { r.Lifetime = 0 }, "exp: the token is never valid"},
		"another issuer":       {func(r *agent.Request) { r.Claims = map[string]any{"iss": "x"} }, "iss: a further claim says x, but it is set to cm.example.org"},
		"nbf":                  {func(r *agent.Request) { r.Claims = map[string]any{"nbf": int64(1)} }, "nbf: it is new in each token; leave it out of the further claims"},
		"a time":               {func(r *agent.Request) { r.Claims = map[string]any{"exp": int64(1)} }, "exp: it is new in each token"},
		"a claim of one's own": {func(r *agent.Request) { r.Claims = map[string]any{"site": "CH"} }, ""},
		"claims without end":   {func(r *agent.Request) { r.Claims = map[string]any{"x": strings.Repeat("x", 16000)} }, "readers take at most 16382"},
		"no JSON":              {func(r *agent.Request) { r.Claims = map[string]any{"x": func() {}} }, "the claims cannot be written as JSON"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			req, s := schedd, newPool(t, "hello", "POOL")
			c.change(&req)
			got := faults(s.check(req))
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// levels are all words of a scope that HTCondor knows.
func levels() []string {
	return strings.Fields("condor:/READ condor:/WRITE condor:/DAEMON condor:/NEGOTIATOR condor:/ADMINISTRATOR condor:/CONFIG " +
		"condor:/ADVERTISE_MASTER condor:/ADVERTISE_STARTD condor:/ADVERTISE_SCHEDD")
}

func TestNoTokenOfFullPowerIsIssuedByMistake(t *testing.T) {
	s := newPool(t, "hello", "POOL")
	for _, scope := range [][]string{nil, {""}, {" "}, {"READ"}, {"condor-READ"}, {"Condor:/READ"}, {"condor:READ"}} {
		req := schedd
		req.Scope = scope
		_, err := s.Issue(context.Background(), req)
		if fault, ok := errors.AsType[*agent.Fault](err); !ok || fault.Kind != agent.Configuration || !strings.HasPrefix(err.Error(), "scope: ") {
			t.Errorf("%q: got %v", scope, err)
		}
	}
}

func TestATokenLivesNoLongerThanServersAllow(t *testing.T) {
	s := newPool(t, "hello", "POOL")
	if got := s.check(schedd); len(got) > 0 {
		t.Errorf("without a limit: %v", got)
	}
	want := `exp: the token lives 86400 s, but HTCondor refuses it after 3600 (SEC_TOKEN_MAX_AGE); ask for a lifetime of at most "3600s"`
	for _, elsewhere := range []bool{false, true} {
		s.age = ageLimit{time.Hour, elsewhere}
		if got := s.check(schedd); len(got) != 1 || got[0].String() != want || got[0].Warning != elsewhere {
			t.Errorf("elsewhere %v: got %v", elsewhere, got)
		}
	}
	req := schedd
	req.Lifetime = time.Hour
	if got := s.check(req); len(got) > 0 {
		t.Errorf("of an hour: %v", got)
	}
}

func TestAnotherPoolIsAnotherDefinition(t *testing.T) {
	other := newPool(t, "hello", "POOL")
	other.trustDomain = "other.example.org"
	written := func(s *htcondor) string { return s.facts().Key.Mark.Reveal() }
	first := written(newPool(t, "hello", "POOL"))
	if written(newPool(t, "hello", "POOL")) != first {
		t.Error("the same key is not the same")
	}
	for _, s := range []*htcondor{newPool(t, "hello\n", "POOL"), newPool(t, "hello", "k1"), other} {
		if written(s) == first {
			t.Errorf("%v of %s is the same", s.key, s.trustDomain)
		}
	}
}

// Another digest for the same definition has every token asked for again at the
// upgrade that brings it.
func TestDigestsAreThoseOfEarlierVersions(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"with a key":    {pool() + scheddToken, "7a4a87c949dde873c22701983c4ee0f8cc4735866175482b8e52760e69d7bb2c"},
		"without a key": {"source \"file\" \"s\" {\n  path = \"/srv/token\"\n}\ntoken \"t\" {\n  source = source.file.s\n}\n", "ace28dc5ea1d92b18091c4ffac110feebc9f20370df3e92467e66971e18ca458"},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, faults := loadBeside(t, installed, poolDir(t), c.text, false)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			if got := loaded.Renewers[0].Digest; got != c.want {
				t.Errorf("got %s, and earlier versions made %s", got, c.want)
			}
		})
	}
}

func TestNothingPrintsThePoolsKey(t *testing.T) {
	s := newPool(t, "hello", "POOL")
	private := s.key.Signing()[:8]
	forms := []string{
		strings.Trim(fmt.Sprint(private), "[]"), hex.EncodeToString(private), string(private),
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", private), "[]byte{"), "}"),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{s, *s, []any{s}, struct{ s htcondor }{*s}} {
			shown := fmt.Sprintf(verb, v)
			if slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(shown, form) }) {
				t.Errorf("%s of %T shows the key", verb, v)
			}
		}
	}
}

func TestIDTOKENStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newPool(t, "hello", "POOL").Issue(ctx, schedd); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// pyJWT reads a line of JSON, and says which token it verifies with which key.
const pyJWT = `
import json, sys, jwt
asked = json.loads(sys.stdin.readline())
try:
    claims = jwt.decode(asked["token"], bytes.fromhex(asked["key"]), algorithms=asked["algorithms"],
        issuer=asked["issuer"], options={"require": ["exp", "iat", "sub", "jti"]})
    print(json.dumps(claims))
except jwt.PyJWTError as e:
    print(type(e).__name__)
`

func TestPyJWTVerifiesIDTOKENs(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, for which python3-jwt is
	if out, err := exec.Command(python, "-c", "import jwt").CombinedOutput(); err != nil {
		if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
			t.Fatalf("python3-jwt is required here: %v\n%s", err, out)
		}
		t.Skipf("python3-jwt cannot be had here: %v", err)
	}
	verify := func(asked map[string]any) string {
		t.Helper()
		stdin, err := json.Marshal(asked)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, "-c", pyJWT)
		cmd.Stdin = bytes.NewReader(append(stdin, '\n'))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, kid := range []string{"POOL", "k1"} {
		token := issue(t, newPool(t, "\x01\x02\x00\x04hello\n", kid), schedd)
		good := map[string]any{
			"token": token.Secret.Reveal(), "key": hex.EncodeToString(derivedByHand([]byte("\x01\x02\x00\x04hello\n"), kid)),
			"algorithms": []string{"HS256"}, "issuer": "cm.example.org",
		}
		var got map[string]any
		if out := verify(good); json.Unmarshal([]byte(out), &got) != nil || got["sub"] != "schedd@example.org" {
			t.Errorf("%s: it says %s", kid, out)
		}
		for want, change := range map[string]map[string]any{
			"InvalidSignatureError": {"key": hex.EncodeToString(derivedByHand([]byte("\x01\x02\x00\x04hello"), kid))},
			"InvalidAlgorithmError": {"algorithms": []string{"HS512"}},
			"InvalidIssuerError":    {"issuer": "CM.example.org"},
		} {
			asked := maps.Clone(good)
			maps.Copy(asked, change)
			if out := verify(asked); out != want {
				t.Errorf("%s: it says %s, want %s", kid, out, want)
			}
		}
	}
}

// FuzzIDTOKEN holds that whatever is asked for is refused, or is a token that
// HTCondor takes, with limits unless it is to have none.
func FuzzIDTOKEN(f *testing.F) {
	f.Add("schedd@example.org", "condor:/READ", `{}`, false)
	f.Add("schedd@example.org", "", `{"x":[1,{"y":null}]}`, true)
	f.Add("a@b", "condor:/READ", `{"scope":"","aud":null,"nbf":1}`, false)
	f.Add("\xff", "condor:/\x00", `{"iss":"<&>\u2028"}`, false)
	s := newPool(f, "hello", "POOL")
	signing := derivedByHand([]byte("hello"), "POOL")
	f.Fuzz(func(t *testing.T, subject, scope, claims string, unlimited bool) {
		req := agent.Request{Profile: "htcondor", Subject: subject, Scope: strings.Split(scope, ","), Unlimited: unlimited, Lifetime: time.Hour}
		if json.Unmarshal([]byte(claims), &req.Claims) != nil {
			return
		}
		checked := faults(s.check(req))
		token, err := s.Issue(context.Background(), req)
		if err != nil {
			if checked == "" {
				t.Errorf("Check found nothing, but Issue says %v", err)
			}
			return
		}
		if !verifyByHMAC(token.Secret.Reveal(), signing) {
			t.Error("the signature does not verify")
		}
		if checked != "" {
			return // it is too long
		}
		d := decoded(t, token)
		if got := faults(slices.Concat(profile.Check("htcondor", d), profile.Matches(d, req))); got != "" {
			t.Errorf("Check found nothing before, but now %s", got)
		}
		if words, _ := d.Claims["scope"].(string); strings.HasPrefix(words, "condor:/") == unlimited {
			t.Errorf("unlimited is %v, and the scope %q", unlimited, words)
		}
	})
}
