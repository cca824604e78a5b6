package sources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sinks/condor/condortest"
)

// fetchedToken is a token block whose source is source.htcondor_fetch.pool.
const fetchedToken = `
token "t" {
  source   = source.htcondor_fetch.pool
  subject  = "schedd@pool.example"
  scope    = ["condor:/READ", "condor:/ADVERTISE_SCHEDD"]
  lifetime = "1h"
}
`

// fetchFrom is a source "htcondor_fetch" beside a condor_token_fetch that is the
// script, with a long-lived token that lives so long.
func fetchFrom(t *testing.T, script string, life time.Duration, lines ...string) (source agent.Source, dir string, faults config.Faults) {
	t.Helper()
	dir = t.TempDir()
	write(t, filepath.Join(dir, "condor_token_fetch"), "#!/bin/sh\n"+script+"\n", 0o755)
	if life != 0 {
		if err := os.Mkdir(filepath.Join(dir, "held"), 0o700); err != nil {
			t.Fatal(err)
		}
		held := signed(t, map[string]any{"exp": time.Now().Add(life).Unix()})
		write(t, filepath.Join(dir, "held", heldName), held+"\n", 0o600)
	}
	text := "source \"htcondor_fetch\" \"pool\" {\n  token_dir = \"DIR/held\"\n  " + strings.Join(lines, "\n  ") + "\n}\n" + fetchedToken
	c, faults := load(t, dir, text, false)
	if !faults.HasErrors() {
		source = c.Renewers[0].Source
	}
	return source, dir, faults
}

// fetchRequest is what fetchedToken asks for.
var fetchRequest = agent.Request{Profile: "htcondor", Subject: "schedd@pool.example", Scope: []string{"condor:/READ", "condor:/ADVERTISE_SCHEDD"}, Lifetime: time.Hour}

// asAsked is a token as fetchRequest asks for it, that lives so long.
func asAsked(t *testing.T, life time.Duration) string {
	t.Helper()
	return signed(t, map[string]any{"sub": fetchRequest.Subject, "scope": strings.Join(fetchRequest.Scope, " "), "exp": time.Now().Add(life).Unix()})
}

func TestALongLivedTokenWhoseEndCannotBeReadDoesNotLastForEver(t *testing.T) {
	source, dir, _ := fetchFrom(t, "exit 1", day)
	s := source.(*htcondorFetch)
	write(t, filepath.Join(dir, "held", heldName), signed(t, map[string]any{"exp": "tomorrow"})+"\n", 0o600)
	if _, err := s.held(); err == nil || !strings.Contains(err.Error(), "the token's exp is not a number of seconds") {
		t.Errorf("got %v", err)
	}
}

func TestFetchAsksWithTheLongLivedTokenAndForAllLimits(t *testing.T) {
	jwt := asAsked(t, time.Hour)
	source, dir, faults := fetchFrom(t, `echo "$@" > "${0%/*}/asked"; tr '\0' '\n' < /proc/$$/environ | grep _condor_ >> "${0%/*}/asked"; echo `+jwt, 90*24*time.Hour,
		`pool = "cm.example.org"`, `type = "collector"`, `name = "schedd@ap.example.org"`, `key_id = "site"`)
	if found := notOfSinks(faults); len(found) > 0 {
		t.Fatal(found)
	}
	got := issue(t, source, fetchRequest)
	if got.Secret.Reveal() != jwt || got.Note != "" || got.Expires.Sub(got.Issued) < 59*time.Minute {
		t.Errorf("%+v", got)
	}
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	want := "-type COLLECTOR -pool cm.example.org -name schedd@ap.example.org -key site -lifetime 3600 -authz READ -authz ADVERTISE_SCHEDD\n"
	for _, knob := range []string{
		"SEC_TOKEN_DIRECTORY=" + dir + "/held", "SEC_CLIENT_AUTHENTICATION=REQUIRED", "SEC_CLIENT_AUTHENTICATION_METHODS=IDTOKENS",
		"SEC_PASSWORD_DIRECTORY=/dev/null/no-keys", "SEC_PASSWORD_FILE=/dev/null/no-keys", "SEC_TOKEN_POOL_SIGNING_KEY_FILE=/dev/null/no-keys",
	} {
		want += "_condor_" + knob + "\n_condor_TOOL." + knob + "\n"
	}
	if err != nil || string(asked) != want {
		t.Errorf("it was asked\n%s, want\n%s (%v)", asked, want, err)
	}
}

// What a daemon gives, and how it cuts it to what the long-lived token has, was seen
// with HTCondor 23.9.6.
func TestAFetchedTokenThatIsNotAsAskedNamesTheLogin(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"less scope":       {"sub": "schedd@pool.example", "scope": "condor:/READ"},
		"no limit":         {"sub": "schedd@pool.example"},
		"another identity": {"sub": "other@pool.example", "scope": "condor:/READ condor:/ADVERTISE_SCHEDD"},
	} {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
		source, dir, _ := fetchFrom(t, "echo "+signed(t, claims), 90*24*time.Hour)
		_, err := source.Issue(t.Context(), fetchRequest)
		if f := asFault(t, err); f.Kind != agent.Configuration || !strings.Contains(f.Error(), "the token in "+dir+"/held;") || !strings.Contains(f.Error(), "tokenagent login pool") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFetchTellsThatTheLongLivedTokenEnds(t *testing.T) {
	soon := asAsked(t, 30*time.Minute)
	for name, c := range map[string]struct {
		life time.Duration
		note string
	}{
		"it cuts the life of the new one": {30 * time.Minute, "the server gives no more life than the token it was asked with has: "},
		"in less than a month":            {20 * 24 * time.Hour, "the token in "},
		"in more than a month":            {40 * 24 * time.Hour, ""},
	} {
		source, _, faults := fetchFrom(t, "echo "+soon, c.life)
		if faults.HasErrors() || (len(notOfSinks(faults)) > 0) != (c.note != "") {
			t.Errorf("%s: %v", name, faults)
		}
		got := issue(t, source, fetchRequest)
		if !strings.HasPrefix(got.Note, c.note) || (got.Note == "") != (c.note == "") || c.note != "" && !strings.Contains(got.Note, "tokenagent login pool") {
			t.Errorf("%s: %q", name, got.Note)
		}
	}
	source, _, _ := fetchFrom(t, "echo "+soon, -time.Minute)
	_, err := source.Issue(t.Context(), fetchRequest)
	if f := asFault(t, err); f.Kind != agent.Configuration || !strings.Contains(f.Error(), " ended ") || !strings.Contains(f.Error(), "tokenagent login pool") {
		t.Error(err)
	}
}

// saidByCondor are what HTCondor 23.9.6 was seen to say.
var saidByCondor = map[string]struct {
	says string
	kind agent.Kind
	do   string
}{
	"another key":          {"Failed to request a session token: DAEMON:3:Server will not sign with requested key.", agent.Configuration, "leave key_id out"},
	"no identity":          {"Failed to request a session token: DAEMON:2:Server did not successfully authenticate session.", agent.Configuration, "accept IDTOKENS"},
	"a token refused":      {"Failed to request a session token: AUTHENTICATE:1003:Failed to authenticate with any method|AUTHENTICATE:1004:Failed to authenticate using IDTOKENS", agent.Configuration, "not revoked"},
	"no method":            {"Failed to request a session token: SECMAN:2002:Configuration Problem: The security policy is invalid.", agent.Configuration, "SEC_CLIENT_AUTHENTICATION_METHODS"},
	"nobody there":         {"Failed to request a session token: DAEMON:1:Failed to connect to remote daemon at '<127.0.0.1:1>'", agent.Transient, ""},
	"something unheard of": {"Failed to request a session token: DAEMON:9:The stars are wrong", agent.Transient, ""},
}

func TestFetchKnowsWhatCondorSays(t *testing.T) {
	for name, c := range saidByCondor {
		source, _, faults := fetchFrom(t, fmt.Sprintf("echo %q >&2; exit 1", c.says), 90*24*time.Hour)
		if found := notOfSinks(faults); len(found) > 0 {
			t.Fatal(found)
		}
		_, err := source.Issue(t.Context(), fetchRequest)
		_, words, _ := strings.Cut(c.says, "token: ")
		if f := asFault(t, err); f.Kind != c.kind || !strings.Contains(f.Error(), c.do) || !strings.Contains(f.Error(), words) {
			t.Errorf("%s: %v, %v", name, f.Kind, err)
		}
	}
}

func TestAFetchedTokenMustHaveAnEnd(t *testing.T) {
	source, _, _ := fetchFrom(t, "echo "+signed(t, map[string]any{"sub": "schedd@pool.example"}), 90*24*time.Hour)
	if _, err := source.Issue(t.Context(), fetchRequest); asFault(t, err).Kind != agent.Configuration || !strings.Contains(err.Error(), "never expires") {
		t.Error(err)
	}
}

func TestWhatCannotBeFetchedIsAFault(t *testing.T) {
	check := (&htcondorFetch{}).check
	for name, c := range map[string]struct {
		change func(*agent.Request)
		says   string
	}{
		"no scope":  {func(r *agent.Request) { r.Scope = nil }, "may do everything"},
		"unlimited": {func(r *agent.Request) { r.Scope, r.Unlimited = nil, true }, "without limit"},
		"claims":    {func(r *agent.Request) { r.Claims = map[string]any{"a": "b"} }, "no further claims"},
		"a typo":    {func(r *agent.Request) { r.Scope = []string{"condor:/REED"} }, "did you mean READ?"},
	} {
		req := fetchRequest
		c.change(&req)
		problems := check(req)
		if !strings.Contains(fmt.Sprint(problems), c.says) {
			t.Errorf("%s: %v", name, problems)
		}
	}
	if problems := check(fetchRequest); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestFetchFaultsShowWhatIsAllowed(t *testing.T) {
	for line, want := range map[string]string{
		`token_dir = "/etc/condor/tokens.d"`: "HTCondor reads this folder",
		`type = "SHEDD"`:                     `did you mean "SCHEDD"?`,
		`pool = "cm example"`:                "no blanks",
		`name = "-remote"`:                   "no name of HTCondor's",
		`key_id = "../POOL"`:                 "not the name of a key",
	} {
		text := "source \"htcondor_fetch\" \"pool\" {\n  " + line + "\n"
		if !strings.HasPrefix(line, "token_dir") {
			text += "  token_dir = \"/etc/tokenagent/condor/pool\"\n"
		}
		_, faults := load(t, t.TempDir(), text+"}\n"+fetchedToken, true)
		if !faults.HasErrors() || !strings.Contains(faultText(faults), want) {
			t.Errorf("%s: %s", line, faultText(faults))
		}
	}
	if _, _, faults := fetchFrom(t, "", 0); faults.HasErrors() || !strings.Contains(faultText(faults), "tokenagent login pool") {
		t.Errorf("without a token to ask with: %s", faultText(faults))
	}
}

func TestWhatAPoolGaveIsHeldAgainstTheRequest(t *testing.T) {
	whole := map[string]any{"sub": "schedd@pool.example", "scope": "condor:/READ condor:/ADVERTISE_SCHEDD", "exp": time.Now().Add(time.Hour).Unix()}
	for name, c := range map[string]struct {
		claim string
		value any
		fault bool
	}{
		"as asked":         {"jti", "x", false},
		"another identity": {"sub", "condor@pool.example", true},
		"less":             {"scope", "condor:/READ", true},
		"no limit":         {"scope", nil, true},
		"no end":           {"exp", nil, true},
		"ended":            {"exp", time.Now().Add(-time.Minute).Unix(), true},
	} {
		claims := map[string]any{}
		for k, v := range whole {
			claims[k] = v
		}
		claims[c.claim] = c.value
		if c.value == nil {
			delete(claims, c.claim)
		}
		err := asRequested(agent.NewSecret(signed(t, claims)), fetchRequest)
		if (err != nil) != c.fault {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func asFault(t *testing.T, err error) *agent.Fault {
	t.Helper()
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok {
		t.Fatalf("%v is not a fault", err)
	}
	return f
}

// faultText is what is wrong, on one line: where it is broken depends on paths.
func faultText(faults config.Faults) string {
	var text strings.Builder
	faults.WriteText(&text)
	return strings.Join(strings.Fields(text.String()), " ")
}

func TestALookOnlineTellsOfTheLongLivedToken(t *testing.T) {
	for life, want := range map[time.Duration]Finding{
		0:                   {Mark: Wrong, Text: "tokenagent login pool"},
		-time.Minute:        {Mark: Wrong, Text: " ended "},
		time.Hour:           {Mark: Warning, Text: "tokenagent login pool"},
		90 * 24 * time.Hour: {Mark: Fine, Text: "it ends "},
	} {
		source, _, _ := fetchFrom(t, "exit 1", life)
		found := source.(*htcondorFetch).inquire(t.Context(), nil, nil)
		if len(found) != 1 || found[0].Mark != want.Mark || !strings.Contains(found[0].Text, want.Text) {
			t.Errorf("%v: %+v", life, found)
		}
	}
}

func TestALineWithoutEndDoesNotKeepALoginWaiting(t *testing.T) {
	condortest.Program(t, "condor_token_request", `
head -c 300000 /dev/zero | tr '\0' x
echo
echo "Token request enqueued. Ask an administrator to please approve request 7."
echo aaaa.bbbb.cccc`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var shown Prompt
	text, err := (&htcondorFetch{}).request(ctx, agent.Request{Subject: "a@pool.example", Lifetime: time.Hour}, func(p Prompt) { shown = p })
	if err != nil || text.Reveal() != "aaaa.bbbb.cccc" || shown.Request != "7" {
		t.Errorf("the token is %q, the request %q, the error %v", text.Reveal(), shown.Request, err)
	}
}
