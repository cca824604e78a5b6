package sources

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// asking is the Renewer of a token with those lines, of a source of that kind with
// those lines, that asks the issuer.
func asking(t *testing.T, i *issuertest.Issuer, kind string, source []string, token string) agent.Renewer {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "s3cret\n", 0o600)
	lines := append([]string{`issuer = "` + i.URL + `"`, `ca_file = "` + i.CAFile + `"`, theClient, theSecret}, source...)
	text := strings.Replace(fetched(kind, lines...), "token \"t\" {\n", "token \"t\" {\n "+token+"\n", 1)
	c, faults := load(t, dir, text, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return c.Renewers[0]
}

// asksFor is what the tests' token asks for.
const asksFor = `scope = ["storage.read:/", "compute.read"]
 audience = ["https://storage.example.org"]`

// unsigned is a JWT of those claims that nobody has signed.
func unsigned(claims map[string]any) string {
	part := func(v any) string {
		data, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return part(map[string]any{"alg": "none", "typ": "JWT"}) + "." + part(claims) + "."
}

func TestClientCredentialsAskForWhatTheTokenBlockSays(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.ClientID, b.ClientSecret = "robot", "s3cret" })
	r := asking(t, i, "client_credentials", []string{`parameters = { lifetime = "7200", groups = ["/cms", "/atlas"] }`}, asksFor)
	before := time.Now()
	got := issue(t, r.Source, r.Request)
	if err := r.Accept(got); err != nil {
		t.Error(err)
	}
	if got.Note != "" || got.Issued.Before(before) || got.Lifetime() > time.Hour || got.Lifetime() < time.Hour-5*time.Second {
		t.Errorf("got %+v", got)
	}
	form := i.Requests(issuertest.TokenPath)[0].Form
	want := url.Values{
		"grant_type": {"client_credentials"}, "scope": {"storage.read:/ compute.read"},
		"audience": {"https://storage.example.org"}, "lifetime": {"7200"}, "groups": {"/cms", "/atlas"},
	}
	if diff := cmp.Diff(want, form); diff != "" {
		t.Error(diff)
	}
	if r.Issuer.Name != i.URL {
		t.Errorf("its issuer is %s", r.Issuer.Name)
	}
}

func TestTokenExchangeReadsItsSubjectAnew(t *testing.T) {
	i := issuertest.Start(t)
	dir := t.TempDir()
	subject := filepath.Join(dir, "subject")
	write(t, subject, "first\n", 0o600)
	r := asking(t, i, "token_exchange", []string{`subject_token_file = "` + subject + `"`, `subject_token_type = "urn:ietf:params:oauth:token-type:jwt"`,
		`requested_token_type = "urn:ietf:params:oauth:token-type:access_token"`}, `audience = ["a", "b"]`)
	issue(t, r.Source, r.Request)
	write(t, subject, `{"access_token":"second"}`, 0o600)
	issue(t, r.Source, r.Request)
	var forms []url.Values
	for _, request := range i.Requests(issuertest.TokenPath) {
		forms = append(forms, request.Form)
	}
	form := func(subject string) url.Values {
		return url.Values{
			"grant_type": {issuer.GrantTokenExchange}, "subject_token": {subject}, "subject_token_type": {tokenTypes + "jwt"},
			"requested_token_type": {accessTokenType}, "audience": {"a", "b"},
		}
	}
	if diff := cmp.Diff([]url.Values{form("first"), form("second")}, forms); diff != "" {
		t.Error(diff)
	}
	if path, copied := r.Source.(agent.Follower).Follows(); path != subject || copied {
		t.Errorf("it follows %s, copied %v", path, copied)
	}
}

func TestTokenExchangeWithoutItsSubjectAsksNobody(t *testing.T) {
	i := issuertest.Start(t)
	subject := filepath.Join(t.TempDir(), "subject")
	r := asking(t, i, "token_exchange", []string{`subject_token_file = "` + subject + `"`}, "")
	_, err := r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "subject token "+subject+": no such file or directory")
	write(t, subject, "a secret that is no token", 0o600)
	_, err = r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "subject token "+subject+": it is not a token", "see to what keeps the file")
	if strings.Contains(err.Error(), "a secret") {
		t.Errorf("%q quotes the file", err)
	}
	write(t, subject, signed(t, map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), 0o600)
	_, err = r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Transient, "subject token "+subject+": it expired at ", "see to what keeps the file")
	if n := len(i.Requests(issuertest.TokenPath)); n != 0 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestAnotherTypeThanWasRequestedIsRefused(t *testing.T) {
	i := issuertest.Start(t)
	subject := filepath.Join(t.TempDir(), "subject")
	write(t, subject, "subject", 0o600)
	r := asking(t, i, "token_exchange", []string{`subject_token_file = "` + subject + `"`, `requested_token_type = "urn:ietf:params:oauth:token-type:id_token"`}, "")
	_, err := r.Source.Issue(t.Context(), r.Request)
	wantFault(t, err, agent.Configuration, "issuer "+i.URL+": ", `the issuer gave a token of the type "urn:ietf:params:oauth:token-type:access_token", and requested_token_type is "urn:ietf:params:oauth:token-type:id_token"`)
}

func TestExpiryIsTheEarlierOfWhatIsSaid(t *testing.T) {
	sent := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) json.Number { return json.Number(fmt.Sprint(sent.Add(d).Unix())) }
	for name, c := range map[string]struct {
		expiresIn time.Duration
		exp       any // nil: none
		skew      time.Duration
		assume    time.Duration
		want      time.Duration // from sent
		refused   string
	}{
		"expires_in":                      {time.Hour, nil, 0, 0, time.Hour, ""},
		"exp":                             {0, at(time.Hour), 0, 0, time.Hour, ""},
		"expires_in is earlier":           {time.Hour, at(2 * time.Hour), 0, 0, time.Hour, ""},
		"exp is earlier":                  {2 * time.Hour, at(time.Hour), 0, 0, time.Hour, ""},
		"an issuer that is behind":        {0, at(time.Hour), 2 * time.Minute, 0, 62 * time.Minute, ""},
		"an issuer that is ahead":         {0, at(time.Hour), -2 * time.Minute, 0, 58 * time.Minute, ""},
		"expires_in knows no skew":        {time.Hour, nil, 2 * time.Minute, 0, time.Hour, ""},
		"both, and skew":                  {time.Hour, at(time.Hour), -time.Minute, 0, 59 * time.Minute, ""},
		"nothing, assumed":                {0, nil, 0, 20 * time.Minute, 20 * time.Minute, ""},
		"expires_in, whatever is assumed": {time.Hour, nil, 0, 20 * time.Minute, time.Hour, ""},
		"nothing":                         {0, nil, 0, 0, 0, "nothing says when the token expires, neither expires_in of the answer nor a claim exp; write assume_lifetime"},
		"milliseconds":                    {time.Hour, json.Number("1795348800000"), 0, time.Hour, 0, "this looks like milliseconds"},
		"a century":                       {0, at(100 * 365 * 24 * time.Hour), 0, 0, 0, "the token expires in the year 2126, more than ten years ahead"},
		"a century, but an hour":          {time.Hour, at(100 * 365 * 24 * time.Hour), 0, 0, time.Hour, ""},
		"words":                           {time.Hour, "tomorrow", 0, time.Hour, 0, "the token's exp is not a number of seconds"},
		"an end before the beginning":     {0, json.Number("-1"), 0, 0, 0, "the token's exp is not a number of seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			claims := map[string]any{}
			if c.exp != nil {
				claims["exp"] = c.exp
			}
			a := &asker{taking: taking{AssumeLifetime: c.assume}}
			got, err := a.expiry(issuer.Answer{Sent: sent, ExpiresIn: c.expiresIn, Skew: c.skew}, claims)
			switch {
			case c.refused != "":
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v, want %s", err, c.refused)
				}
			case err != nil || !got.Equal(sent.Add(c.want)):
				t.Errorf("got %s after it was sent, %v; want %s", got.Sub(sent), err, c.want)
			}
		})
	}
}

// A recordingSink remembers what was put.
type recordingSink struct {
	mu  sync.Mutex
	all []string
}

func (s *recordingSink) Put(_ context.Context, t agent.Token) (agent.Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, t.Secret.Reveal())
	return agent.Written{Changed: true}, nil
}

func (s *recordingSink) put() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.all...)
}

// A quietLog is one whose lines can be read meanwhile.
type quietLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *quietLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *quietLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.text.String()), "\n")
}

// keeping runs an agent that keeps the token until the test ends.
func keeping(t *testing.T, r agent.Renewer) (*agent.Agent, *quietLog, *recordingSink) {
	t.Helper()
	lines, sink := &quietLog{}, &recordingSink{}
	log := logrus.New()
	log.Out = lines
	r.Sinks = []agent.Target{{Sink: sink}}
	a := agent.New(agent.ClockOf(t.Context()), log, []agent.Renewer{r})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { defer close(ran); a.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ran })
	if err := a.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	return a, lines, sink
}

// claiming has the issuer say something else in its tokens; nil: nothing.
func claiming(name string, value any) func(*issuertest.Behaviour) {
	return func(b *issuertest.Behaviour) {
		b.Claims = func(_ url.Values, claims map[string]any) { set(claims, name, value) }
	}
}

// answering has the issuer say something else in its answers.
func answering(name string, value any) func(*issuertest.Behaviour) {
	return func(b *issuertest.Behaviour) {
		b.Answer = func(_ url.Values, answer map[string]any) { set(answer, name, value) }
	}
}

// opaque does so, and has the issuer give tokens that say nothing.
func opaque(name string, value any) func(*issuertest.Behaviour) {
	return func(b *issuertest.Behaviour) {
		b.Opaque = true
		answering(name, value)(b)
	}
}

// unscoped has it say no scope, neither in the token nor in its answers.
func unscoped(b *issuertest.Behaviour) {
	claiming("scope", nil)(b)
	answering("scope", nil)(b)
}

func set(members map[string]any, name string, value any) {
	if members[name] = value; value == nil {
		delete(members, name)
	}
}

// What is told of the issuer's clock says when its token begins by ours.
func TestATokenOfAnIssuerWhoseClockIsAheadHasBegun(t *testing.T) {
	now := time.Now()
	claims := map[string]any{"iat": json.Number(fmt.Sprint(now.Add(2 * time.Minute).Unix()))}
	answer := issuer.Answer{Skew: -2 * time.Minute}
	if err := checkBegun(claims, now.Add(-answer.Skew)); err != nil {
		t.Error(err)
	}
	if checkBegun(claims, now) == nil {
		t.Error("a token of the future was taken")
	}
}

// Each way in which what came back is not what was asked for has its class and its
// one line in the log, and the token that was there stays.
func TestWhatCameBackIsNotInstalledUnlessItIsAsAsked(t *testing.T) {
	none := map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "aud": "https://storage.example.org", "scope": "storage.read:/ compute.read"}
	for name, c := range map[string]struct {
		change func(*issuertest.Behaviour)
		lines  []string
		kind   agent.Kind
		want   string
	}{
		"a scope less, as the answer says": {answering("scope", "storage.read:/"), nil, agent.Configuration, `: the issuer gave the scope \"storage.read:/\", and \"compute.read\" was asked for too; have the issuer grant it to this client, or write on_narrowed = \"warn\"`},
		"a scope less, as the token says":  {claiming("scope", "compute.read"), nil, agent.Configuration, `the token's scope: it is \"compute.read\"; storage.read:/ was asked for too; have the issuer grant it`},
		"no scope said at all":             {unscoped, nil, agent.Configuration, `the token's scope: it is missing; storage.read:/ compute.read was asked for too`},
		"another audience":                 {claiming("aud", "https://other.example.org"), nil, agent.Configuration, `the token's aud: it is \"https://other.example.org\"; https://storage.example.org was asked for too`},
		"no audience":                      {claiming("aud", nil), nil, agent.Configuration, `: the token's aud: it is missing; https://storage.example.org was asked for too`},
		"an opaque one with less scope":    {opaque("scope", "compute.read"), nil, agent.Configuration, `the issuer gave the scope \"compute.read\", and \"storage.read:/\" was asked for too`},
		"a scope without end":              {answering("scope", strings.Repeat("a", 1<<19)), nil, agent.Configuration, `the issuer gave the scope \"` + strings.Repeat("a", 160) + `…\", and`},
		"an issuer without end":            {claiming("iss", strings.Repeat("a", 9000)), []string{`verify = false`}, agent.Configuration, `the token is of the issuer \"` + strings.Repeat("a", 160) + `…\", and`},
		"a right more, in the token":       {claiming("scope", "storage.read:/ compute.read storage.modify:/ admin"), nil, agent.Configuration, `: the token's scope: storage.modify:/ allows more than storage.read:/ compute.read, which was asked for; have the issuer give this client less, add what is wanted to scope or audience in the token block, or write on_widened = \"warn\" in the source to take it`},
		"a right more, in the answer":      {answering("scope", "storage.read:/ compute.read compute.create"), nil, agent.Configuration, `compute.create allows more than storage.read:/ compute.read`},
		"a right more, in an opaque one":   {opaque("scope", "storage.read:/ compute.read storage.modify:/"), nil, agent.Configuration, `storage.modify:/ allows more than`},
		"a right more, in scp":             {claiming("scp", []string{"storage.modify:/"}), nil, agent.Configuration, `storage.modify:/ allows more than`},
		"a right for another":              {claiming("scope", "storage.modify:/ compute.read"), nil, agent.Configuration, `storage.read:/ was asked for too; have the issuer grant it to this client, or write on_narrowed = \"warn\" to take what it gives; the token's scope: storage.modify:/ allows more than`},
		"every audience":                   {claiming("aud", []string{"https://storage.example.org", "https://wlcg.cern.ch/jwt/v1/any"}), nil, agent.Configuration, `the token's aud: https://wlcg.cern.ch/jwt/v1/any means every service, and https://storage.example.org was asked for`},
		"another issuer":                   {claiming("iss", "https://other.example.org"), nil, agent.Configuration, `iss: `},
		"another issuer, not verified":     {claiming("iss", "https://other.example.org"), []string{`verify = false`}, agent.Configuration, `: the token is of the issuer \"https://other.example.org\"`},
		"no signature":                     {answering("access_token", unsigned(none)), nil, agent.Configuration, `alg: `},
		"no signature, not verified":       {answering("access_token", unsigned(none)), []string{`verify = false`}, agent.Configuration, `alg: the token is not signed`},
		"an end in milliseconds":           {claiming("exp", time.Now().UnixMilli()), nil, agent.Configuration, `looks like milliseconds`},
		"a beginning in the future":        {claiming("nbf", time.Now().Add(30*time.Minute).Unix()), nil, agent.Transient, `the token is not valid before `},
		"made in the future":               {claiming("iat", time.Now().Add(30*time.Minute).Unix()), nil, agent.Transient, `the token is not valid before `},
		"a beginning in milliseconds": {func(b *issuertest.Behaviour) {
			b.Claims = func(_ url.Values, c map[string]any) { delete(c, "exp"); c["nbf"] = time.Now().UnixMilli() }
		}, nil, agent.Configuration, `: the token's nbf is more than two centuries ahead; it is in seconds (RFC 7519), and this looks like milliseconds`},
		"made in a million years": {func(b *issuertest.Behaviour) {
			b.Claims = func(_ url.Values, c map[string]any) { delete(c, "exp"); c["iat"] = 1e14 }
		}, nil, agent.Configuration, `: the token's iat is more than two centuries ahead`},
		"made at the end of numbers": {func(b *issuertest.Behaviour) {
			b.Claims = func(_ url.Values, c map[string]any) { delete(c, "exp"); c["iat"] = json.RawMessage("1e400") }
		}, nil, agent.Configuration, `: the token's iat is more than two centuries ahead`},
		"a NUL":               {claiming("sub", "root\x00robot"), nil, agent.Configuration, `: the token that came back: a text in it holds the character NUL (\\u0000), at which some readers cut it; its issuer must leave it out`},
		"a NUL, not verified": {claiming("sub", "root\x00robot"), []string{`verify = false`}, agent.Configuration, `: the token that came back: a text in it holds the character NUL`},
		"an end in the past":  {claiming("exp", time.Now().Add(-time.Minute).Unix()), nil, agent.Configuration, `exp must be later than iat`},
		"an end too soon":     {func(b *issuertest.Behaviour) { b.Lifetime = 5 * time.Second }, nil, agent.Transient, `too soon to be of use`},
		"no end":              {opaque("expires_in", nil), nil, agent.Configuration, `: nothing says when the token expires, neither expires_in of the answer nor a claim exp; write assume_lifetime`},
		"an end at once":      {opaque("expires_in", 0), nil, agent.Configuration, `nothing says when the token expires`},
		"a negative life":     {answering("expires_in", -1), nil, agent.Transient, `expires_in`},
		"a life of centuries": {answering("expires_in", 1e10), nil, agent.Transient, `expires_in`},
		"a life in words":     {answering("expires_in", "an hour"), nil, agent.Transient, `expires_in`},
		"a newline":           {answering("access_token", "opaque\ntoken"), nil, agent.Transient, `access_token: it is not a token: only the characters of a URL`},
		"half of a JWT":       {answering("access_token", "eyJh.b.c"), []string{`verify = false`}, agent.Configuration, `the token that came back: header: it is not valid JSON; it begins like a JWT: if these tokens are none, write token_format = \"opaque\" in the source`},
		"two parts of a JWT":  {answering("access_token", "eyJhbGciOiJFUzI1NiJ9.e30"), nil, agent.Configuration, `the token that came back: signature: it is missing; it begins like a JWT`},
		"Python's None":       {opaque("access_token", "None"), nil, agent.Transient, `access_token: it is a word that programs print where they have no token`},
		"no JWT where one is": {opaque("scope", nil), []string{`token_format = "jwt"`}, agent.Configuration, `the token that came back: it is not a JWT, which is three parts of base64url with dots between them; token_format = \"jwt\" in the source takes nothing else`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := issuertest.Start(t)
			a, log, sink := keeping(t, asking(t, i, "client_credentials", c.lines, asksFor))
			if got := sink.put(); len(got) != 1 {
				t.Fatalf("%d tokens were put at first: %s", len(got), log.lines())
			}
			before := len(log.lines())
			i.Change(c.change)
			status, err := a.Refresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(sink.put()) != 1 {
				t.Error("it was put in the place of the one that was there")
			}
			said := log.lines()[before:]
			if len(said) != 1 || !strings.Contains(said[0], c.want) || !strings.Contains(said[0], "kind="+c.kind.String()) {
				t.Errorf("it was said %q, want one line with kind=%s and %q", said, c.kind, c.want)
			}
			if strings.Contains(strings.Join(said, ""), "s3cret") || status[0].Expires.IsZero() {
				t.Errorf("got %q, %+v", said, status[0])
			}
		})
	}
}

func TestWhatIsLessThanAskedForPassesWithAWarningIfThatIsWished(t *testing.T) {
	i := issuertest.Start(t)
	r := asking(t, i, "client_credentials", []string{`on_narrowed = "warn"`}, asksFor)
	i.Change(func(b *issuertest.Behaviour) {
		b.Claims = func(_ url.Values, c map[string]any) { c["scope"], c["aud"] = "compute.read", "x" }
	})
	got := issue(t, r.Source, r.Request)
	if want := `the token's aud: it is "x"; https://storage.example.org was asked for too; the token's scope: it is "compute.read"; storage.read:/ was asked for too`; got.Note != want {
		t.Errorf("got %q", got.Note)
	}
	if err := r.Accept(got); err != nil {
		t.Error(err)
	}
}

func TestSourcesThatKnowOneIssuerOtherwiseShareItsLimits(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	const block = `
source "client_credentials" "NAME" {
  issuer      = "ISSUER"
  MORE
  ca_file     = "CA"
  client_id   = "robot"
  client_auth = "none"
}
token "NAME" {
  source = source.client_credentials["NAME"]
}
`
	text := ""
	for name, more := range map[string]string{"a": "", "b": `jwks_uri = "ISSUER/jwks"`, "c": `token_endpoint = "ISSUER/token"`} {
		text += strings.NewReplacer("NAME", name, "ISSUER", i.URL, "CA", i.CAFile).Replace(strings.Replace(block, "MORE", more, 1))
	}
	c, faults := load(t, t.TempDir(), text, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	began := time.Now()
	var all sync.WaitGroup
	for _, r := range c.Renewers {
		all.Go(func() {
			if _, err := r.Source.Issue(t.Context(), r.Request); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	asked := i.Requests()
	if took, most := asked[len(asked)-1].At.Sub(began), i.MostAtOnce(); len(asked) < 8 || took < time.Duration(len(asked)-1)*190*time.Millisecond || most > 2 {
		t.Errorf("it was asked %d times within %v, %d at a time", len(asked), took, most)
	}
}

// What came beside and grants nothing, as Keycloak's audience account, is told once.
func TestWhatComesBesideAndGrantsNothingIsLoggedOnce(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Claims = func(_ url.Values, c map[string]any) {
			c["scope"], c["aud"] = "openid compute.read storage.read:/", []string{"x", "https://storage.example.org"}
		}
		b.Answer = func(_ url.Values, a map[string]any) { a["scope"] = "compute.read storage.read:/ openid" }
	})
	r := asking(t, i, "client_credentials", nil, asksFor)
	a, log, sink := keeping(t, r)
	for range 2 {
		if _, err := a.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const want = `level=info msg="beside what was asked for came the scope openid and the audience x" token=t`
	if said := strings.Join(log.lines(), "\n"); strings.Count(said, want) != 1 || strings.Contains(said, "level=warn") || len(sink.put()) != 3 {
		t.Errorf("%d tokens were put, and it was said %s", len(sink.put()), said)
	}
}

// An answer that is not quite as RFC 6749 has it is taken, and told once.
func TestAnOddAnswerIsTakenAndToldOnce(t *testing.T) {
	i := issuertest.Start(t)
	seconds := 3599.5
	i.Change(func(b *issuertest.Behaviour) {
		b.Answer = func(_ url.Values, a map[string]any) {
			seconds--
			a["expires_in"], a["scope"] = seconds, []string{"compute.read", "storage.read:/"}
		}
	})
	a, log, sink := keeping(t, asking(t, i, "client_credentials", nil, asksFor))
	for range 2 {
		if _, err := a.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const want = `level=warning msg="in the issuer's answer expires_in is not written as a whole number, and scope is an array; RFC 6749 section 5.1 has them otherwise, and they are understood" token=t`
	if said := strings.Join(log.lines(), "\n"); strings.Count(said, want) != 1 || len(sink.put()) != 3 {
		t.Errorf("%d tokens were put, and it was said %s", len(sink.put()), said)
	}
}

func TestWhatAllowsMoreThanAskedForPassesWithAWarningIfThatIsWished(t *testing.T) {
	i := issuertest.Start(t)
	r := asking(t, i, "client_credentials", []string{`on_widened = "warn"`, `on_narrowed = "warn"`}, asksFor)
	i.Change(claiming("scope", "storage.read:/ storage.modify:/ openid"))
	got := issue(t, r.Source, r.Request)
	if want := "the token's scope: it is \"storage.read:/ storage.modify:/ openid\"; compute.read was asked for too; " +
		"the token's scope: storage.modify:/ allows more than storage.read:/ compute.read, which was asked for"; got.Note != want {
		t.Errorf("got %q", got.Note)
	}
	if got.Beside != "beside what was asked for came the scope openid" {
		t.Errorf("got %q", got.Beside)
	}
	if err := r.Accept(got); err != nil {
		t.Error(err)
	}
}

func TestWhereNothingIsAskedForNothingIsTooMuch(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Claims = func(_ url.Values, c map[string]any) { c["scope"], c["aud"] = "storage.modify:/ admin", "ANY" }
	})
	r := asking(t, i, "client_credentials", nil, "")
	if got := issue(t, r.Source, r.Request); got.Note != "" || got.Beside != "" {
		t.Errorf("got %q and %q", got.Note, got.Beside)
	}
}

func TestOpaqueTokensLiveAsLongAsIsSaidOrAssumed(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Opaque = true
		b.Answer = func(_ url.Values, a map[string]any) { delete(a, "expires_in") }
	})
	r := asking(t, i, "client_credentials", []string{`assume_lifetime = "20m"`}, asksFor)
	if got := issue(t, r.Source, r.Request); got.Lifetime() != 20*time.Minute {
		t.Errorf("it lives for %s", got.Lifetime())
	}
	i.Change(func(b *issuertest.Behaviour) { b.Answer, b.Lifetime = nil, 10*time.Minute })
	if got := issue(t, r.Source, r.Request); got.Lifetime() != 10*time.Minute {
		t.Errorf("it lives for %s", got.Lifetime())
	}
}
