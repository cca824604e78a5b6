package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// A robot is a source "refresh_token" of a small issuer, with the folder that its
// configuration, its first refresh token and the state lie in.
type robot struct {
	facts config.Source
	*refreshToken
	issuer *issuertest.Issuer
	dir    string
	req    agent.Request
	text   string // the configuration
}

const robotBlocks = `
source "refresh_token" "cilogon" {
  issuer             = "ISSUER"
  client_id          = "robot"
  client_auth        = "none"
  ca_file            = "CA"
  refresh_token_file = "DIR/first"
}
token "storage" {
  source = source.refresh_token.cilogon
  scope  = ["storage.read:/"]
}
`

// newRobot has a source whose issuer rotates, and the first refresh token in its
// file.
func newRobot(t *testing.T) *robot {
	t.Helper()
	t.Parallel() // its issuer is asked five times a second
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.Rotate = true })
	r := &robot{issuer: i, dir: t.TempDir()}
	r.text = strings.NewReplacer("ISSUER", i.URL, "CA", i.CAFile).Replace(robotBlocks)
	r.provide(t, i.Refresh())
	r.load(t)
	return r
}

// provide writes the refresh token of refresh_token_file.
func (r *robot) provide(t *testing.T, text string) {
	t.Helper()
	writeSecret(t, filepath.Join(r.dir, "first"), text+"\n")
}

func writeSecret(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load makes the source anew, as another process would have it.
func (r *robot) load(t *testing.T) {
	t.Helper()
	c, faults := loadKept(t, r.dir, r.text, false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	r.facts, r.req = c.Sources[0], c.Renewers[0].Request
	r.refreshToken = r.facts.Source.(*refreshToken)
}

// loadKept is load with a state folder, DIR/state.
func loadKept(t *testing.T, dir, text string, definitions bool) (*config.Config, config.Faults) {
	t.Helper()
	path := filepath.Join(dir, "tokenagent.hcl")
	writeSecret(t, path, strings.ReplaceAll(text, "DIR", dir))
	return config.Load(t.Context(), []string{path}, config.Kinds{Sources: Kinds}, config.Environment{
		State:       func(config.Settings) config.State { return config.State{Dir: filepath.Join(dir, "state")} },
		Command:     func(_ config.Settings, args ...string) string { return "HERE " + strings.Join(args, " ") },
		Definitions: definitions,
	})
}

func (r *robot) mustIssue(t *testing.T) agent.Token {
	t.Helper()
	token, err := r.Issue(t.Context(), r.req)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// refuses demands an error of that kind with the words, of one line, that shows no
// token.
func (r *robot) refuses(t *testing.T, kind agent.Kind, words ...string) {
	t.Helper()
	token, err := r.Issue(t.Context(), r.req)
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok || f.Kind != kind || !token.IsZero() {
		t.Fatalf("got %v, %#v; want a fault of the kind %v", token, err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "refresh-") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q shows a token, or is more than a line", err)
	}
}

// used are the refresh tokens that the issuer was shown, in order.
func (r *robot) used() (all []string) {
	for _, q := range r.issuer.Requests(issuertest.TokenPath) {
		all = append(all, q.Form.Get("refresh_token"))
	}
	return all
}

// stored is what lies in the state folder.
func (r *robot) stored(t *testing.T) refresh.Token {
	t.Helper()
	stored, err := refresh.NewStore(filepath.Join(r.dir, "state"), "cilogon").Read()
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func (r *robot) wantUses(t *testing.T, n int) {
	t.Helper()
	if got := len(r.used()); got != n {
		t.Errorf("the issuer was asked %d times, want %d", got, n)
	}
}

func TestARotatedRefreshTokenIsUsedNext(t *testing.T) {
	r := newRobot(t)
	first := r.mustIssue(t)
	r.load(t) // and by the next process
	second := r.mustIssue(t)
	if used := r.used(); len(used) != 2 || used[0] == used[1] || r.stored(t).Text.Reveal() == used[1] {
		t.Errorf("used were %q", used)
	}
	if first.Secret.Equal(second.Secret) || second.Expires.IsZero() {
		t.Errorf("got %v and %v", first, second)
	}
}

func TestARefreshTokenThatStaysIsStoredOnce(t *testing.T) {
	r := newRobot(t)
	r.issuer.Change(func(b *issuertest.Behaviour) { b.Rotate = false })
	r.mustIssue(t)
	before := r.stored(t)
	r.mustIssue(t)
	if used := r.used(); used[0] != used[1] || used[0] != before.Text.Reveal() {
		t.Errorf("used were %q", used)
	}
	if after := r.stored(t); !after.Stored.Equal(before.Stored) {
		t.Error("it was stored again")
	}
}

func TestTheRotatedRefreshTokenIsStoredBeforeAnythingElse(t *testing.T) {
	r := newRobot(t)
	var given, found string
	r.issuer.Change(func(b *issuertest.Behaviour) {
		b.Answer = func(_ url.Values, answer map[string]any) { given, _ = answer["refresh_token"].(string) }
		b.ServeKeys = func(w http.ResponseWriter, _ *http.Request) { // asked for to verify the access token
			stored, err := refresh.NewStore(filepath.Join(r.dir, "state"), "cilogon").Read()
			found = fmt.Sprint(stored.Text.Reveal(), err)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r.refuses(t, agent.Transient)
	if want := given + "<nil>"; given == "" || found != want {
		t.Errorf("when the access token was looked at, there was stored %q, want %q", found, want)
	}
	r.issuer.Change(func(b *issuertest.Behaviour) { b.ServeKeys = nil })
	r.load(t) // what failed is not asked for again at once
	r.mustIssue(t)
}

func TestLogoutRevokesTheTokenThatCountsAndNamesTheFileThatIsLeft(t *testing.T) {
	r := newRobot(t)
	first, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	done, err := LogOut(t.Context(), r.refreshToken, false) // nothing is stored yet
	if err != nil || !done.Revoked || done.Removed != "" || done.Left != r.file {
		t.Errorf("%+v, %v", done, err)
	}
	if asked := r.issuer.Requests(issuertest.RevokePath); asked[0].Form.Get("token") != strings.TrimSpace(string(first)) {
		t.Error("another token was revoked")
	}
	r.refuses(t, agent.Configuration, "refresh token "+r.file, "login")
	r.provide(t, r.issuer.Refresh())
	r.mustIssue(t)
	counts := r.stored(t).Text.Reveal()
	done, err = LogOut(t.Context(), r.refreshToken, false)
	if err != nil || done.Removed != r.store.Path() {
		t.Errorf("%+v, %v", done, err)
	}
	if asked := r.issuer.Requests(issuertest.RevokePath); asked[1].Form.Get("token") != counts {
		t.Error("another token was revoked")
	}
}

// The file has changed since it was read, and what came of the first one is stored still.
func TestLogoutRevokesWhatIsStoredBesideANewerFile(t *testing.T) {
	r := newRobot(t)
	r.mustIssue(t)
	stored, newer := r.stored(t).Text.Reveal(), r.issuer.Refresh()
	r.provide(t, newer)
	if _, err := LogOut(t.Context(), r.refreshToken, false); err != nil {
		t.Fatal(err)
	}
	var revoked []string
	for _, asked := range r.issuer.Requests(issuertest.RevokePath) {
		revoked = append(revoked, asked.Form.Get("token"))
	}
	if !slices.Equal(revoked, []string{stored, newer}) {
		t.Errorf("%d tokens were revoked, want the stored and the newer one", len(revoked))
	}
}

// Nobody uses the token between its revocation and its removal.
func TestLogoutWaitsForWhoUsesTheToken(t *testing.T) {
	r := newRobot(t)
	r.mustIssue(t)
	lock, err := r.store.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { _, err := LogOut(t.Context(), r.refreshToken, false); done <- err }()
	if n := len(r.issuer.Requests(issuertest.RevokePath)); n != 0 {
		t.Error("it was asked meanwhile")
	}
	lock.Release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := r.store.Read(); err == nil {
		t.Error("it is stored still")
	}
}

// Issuers call a refresh token that is no longer good by many names. What a busy issuer
// says is no reason for a person to log in.
func TestEachWordForARefusedRefreshTokenNamesTheLogin(t *testing.T) {
	r := newRobot(t)
	path := r.file
	serve := func(status int, kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
	}
	const dead, perhaps, no = "it is expired, revoked or used up", "may be expired or revoked", ""
	for _, c := range []struct {
		status     int
		kind, text string
		says       string
	}{
		{400, "application/json", `{"error":"invalid_grant"}`, dead},
		{401, "application/json", `{"error":"invalid_token","error_description":"Invalid refresh token"}`, dead}, // INDIGO IAM
		{400, "text/html", "<html><h1>invalid_grant</h1>", dead},
		{400, "application/json", `{"error":"interaction_required"}`, dead}, // Entra ID
		{400, "application/json", `{"error":"consent_required"}`, dead},
		{400, "application/json", `{"error":"login_required"}`, dead},
		{200, "application/json", `{"error":"bad_refresh_token"}`, dead}, // GitHub
		{401, "application/json", `{"error":"token_inactive"}`, dead},    // Hydra
		{400, "application/json", `{"error":"invalid_request"}`, perhaps},
		{400, "application/json", `{"error":"unauthorized_client"}`, perhaps},
		{403, "application/json", `{"error":"access_denied"}`, perhaps},
		{401, "application/json", `{"error":"invalid_client"}`, no},
		{400, "application/json", `{"error":"invalid_scope"}`, no},
		{503, "application/json", `{"error":"invalid_grant"}`, no},
		{429, "application/json", `{"error":"invalid_token"}`, no},
		{400, "application/json", `{"error":"temporarily_unavailable"}`, no},
	} {
		r.issuer.Change(func(b *issuertest.Behaviour) { b.ServeToken = serve(c.status, c.kind, c.text) })
		_, err := r.Issue(t.Context(), r.req)
		f, _ := errors.AsType[*agent.Fault](err)
		kind := agent.Configuration
		if c.status >= 429 || strings.Contains(c.text, "unavailable") {
			kind = agent.Transient
		}
		named := strings.Contains(err.Error(), path) && strings.HasSuffix(err.Error(), "; to get a new one: HERE login cilogon")
		if f.Kind != kind || f.RetryAfter != 7*time.Second || named != (c.says != no) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d %s: %s after %s: %v", c.status, c.text, f.Kind, f.RetryAfter, err)
		}
	}
}

// Zitadel answers invalid_grant to a client assertion that it does not accept. A login
// would not help then.
func TestARefusedRefreshTokenNamesTheClientsAssertionToo(t *testing.T) {
	r := newRobot(t)
	writeSecret(t, filepath.Join(r.dir, "assertion"), signed(t, map[string]any{"sub": "x", "exp": time.Now().Add(time.Hour).Unix()})+"\n")
	r.text = strings.Replace(r.text, `client_auth        = "none"`, `client_assertion_file = "DIR/assertion"`, 1)
	r.load(t)
	r.issuer.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error":"invalid_grant","error_description":"audience is not valid"}`)
		}
	})
	r.refuses(t, agent.Configuration, "it says: audience is not valid", "expired, revoked or used up",
		"some issuers also say this of a client assertion that they do not accept: check that the token in client_assertion_file is for this issuer (its aud)", "; to get a new one: HERE login cilogon")
}

func TestARefusedRefreshTokenNamesTheLoginThatMends(t *testing.T) {
	r := newRobot(t)
	r.provide(t, "refresh-revoked")
	const login = "to get a new one: HERE login cilogon"
	r.refuses(t, agent.Configuration, "refresh token "+r.file, "invalid_grant", login)
	r.provide(t, r.issuer.Refresh())
	r.mustIssue(t)
	r.issuer.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
			issuertest.Refuse(w, http.StatusBadRequest, "invalid_grant")
		}
	})
	r.refuses(t, agent.Configuration, "refresh token "+r.store.Path(), login)
	r.issuer.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
			issuertest.Refuse(w, http.StatusBadRequest, "invalid_scope")
		}
	})
	if _, err := r.Issue(t.Context(), r.req); strings.Contains(err.Error(), "login") {
		t.Errorf("%q names a login that mends nothing", err)
	}
}

func TestAChangedFileCountsAndThenWhatCameOfIt(t *testing.T) {
	r := newRobot(t)
	r.mustIssue(t)
	r.mustIssue(t)
	another := r.issuer.Refresh()
	r.provide(t, another)
	r.mustIssue(t)
	r.mustIssue(t)
	if used := r.used(); used[2] != another || used[3] == another {
		t.Errorf("after the file had changed to %q, used were %q", another, used)
	}
	if err := os.Remove(r.file); err != nil { // it has done its work
		t.Fatal(err)
	}
	r.load(t)
	r.mustIssue(t)
}

func TestAFileThatOthersCanReadIsRefused(t *testing.T) {
	r := newRobot(t)
	r.mustIssue(t)
	for _, path := range []string{r.dir, filepath.Dir(r.dir)} { // else others do not get as far as the file
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(r.file, 0o644); err != nil {
		t.Fatal(err)
	}
	r.refuses(t, agent.Configuration, r.file, "chmod 0600")
	r.wantUses(t, 1)
}

func TestAStoredTokenOfAnotherIssuerOrClientDoesNotCount(t *testing.T) {
	r := newRobot(t)
	r.mustIssue(t)
	if err := os.Remove(r.file); err != nil {
		t.Fatal(err)
	}
	own := r.text
	r.text = strings.Replace(own, `"robot"`, `"another"`, 1)
	r.text = strings.Replace(r.text, `  refresh_token_file = "DIR/first"`, "", 1)
	r.load(t)
	r.refuses(t, agent.Configuration, r.store.Path(), r.issuer.URL, `for the client "robot"`, `as "another"`, "HERE login cilogon")
	r.wantUses(t, 1)

	elsewhere := issuertest.Start(t)
	r.text = strings.NewReplacer(r.issuer.URL, elsewhere.URL, r.issuer.CAFile, elsewhere.CAFile, "DIR/first", "DIR/second").Replace(own)
	writeSecret(t, filepath.Join(r.dir, "second"), elsewhere.Refresh())
	r.load(t)
	r.mustIssue(t)
	if stored := r.stored(t); stored.Issuer != elsewhere.URL {
		t.Errorf("stored is one of %s", stored.Issuer)
	}
}

func TestWithoutARefreshTokenALoginIsNamed(t *testing.T) {
	r := newRobot(t)
	r.text = strings.Replace(r.text, `  refresh_token_file = "DIR/first"`, "", 1)
	r.load(t)
	r.refuses(t, agent.Configuration, "there is no refresh token yet", "HERE login cilogon")
	r.wantUses(t, 0)
}

func TestManyUsesGoOneAfterAnother(t *testing.T) {
	r := newRobot(t)
	other := *r
	other.load(t) // as another process
	var uses sync.WaitGroup
	for range 3 {
		for _, s := range []*refreshToken{r.refreshToken, other.refreshToken} {
			uses.Go(func() {
				if _, err := s.Issue(t.Context(), r.req); err != nil {
					t.Error(err)
				}
			})
		}
	}
	uses.Wait()
	used := r.used()
	slices.Sort(used)
	if len(used) != 6 || len(slices.Compact(used)) != 6 {
		t.Errorf("used were %q", used)
	}
}

// A use that is waited for by nobody any more has been made all the same.
func TestTheAnswerThatComesWhileTheAgentStopsIsStored(t *testing.T) {
	r := newRobot(t)
	ctx, stop := context.WithCancel(t.Context())
	r.issuer.Change(func(b *issuertest.Behaviour) {
		b.Answer = func(url.Values, map[string]any) { stop(); time.Sleep(50 * time.Millisecond) }
	})
	_, _ = r.Issue(ctx, r.req) // whether there is a token is no matter
	if used := r.used(); len(used) != 1 || r.stored(t).Text.Reveal() == used[0] {
		t.Errorf("used were %q", used)
	}
	r.mustIssue(t)
	if _, err := r.Issue(ctx, r.req); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.wantUses(t, 2)
}

func TestTheStateFolderOfAnotherUserIsNamedBeforeTheTokenIsUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	r := newRobot(t)
	state := filepath.Join(r.dir, "state")
	if err := errors.Join(os.Mkdir(state, 0o700), os.Chown(state, 54321, 54321)); err != nil {
		t.Fatal(err)
	}
	r.refuses(t, agent.Writing, state+" belongs to uid 54321")
	r.wantUses(t, 0)
}

func TestAStoredTokenThatCannotBeReadNamesTheLogin(t *testing.T) {
	r := newRobot(t)
	r.mustIssue(t)
	writeSecret(t, r.store.Path(), "refresh-torn")
	r.refuses(t, agent.Configuration, r.store.Path(), "not a stored refresh token", "HERE login cilogon")
	r.wantUses(t, 1)
}

// Of what a source is and says, only the file of the refresh token may hold it.
func TestTheRefreshTokenIsNowhereElse(t *testing.T) {
	r := newRobot(t)
	token := r.mustIssue(t)
	if text := fmt.Sprintf("%v %+v %#v %v", r.refreshToken, *r.refreshToken, r.refreshToken, token); strings.Contains(text, "refresh-") {
		t.Errorf("it is in %s", text)
	}
	err := filepath.WalkDir(filepath.Join(r.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == r.store.Path() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), "refresh-") {
			t.Errorf("it is in %s too", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if files := r.facts.Files; slices.Contains(files, r.store.Path()) || !slices.Contains(files, r.file) {
		t.Errorf("watched are %q; the stored one changes with each use", files)
	}
}

func TestDefinitionsLookAtNoRefreshToken(t *testing.T) {
	dir := t.TempDir()
	text := strings.NewReplacer("ISSUER", "https://iam.example.org", "CA", "/nowhere/ca.pem").Replace(robotBlocks)
	if _, faults := loadKept(t, dir, text, true); len(notOfSinks(faults)) > 0 {
		t.Error(notOfSinks(faults))
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state folder was made: %v", err)
	}
}

func TestWhatIsWrongWithARefreshTokenIsFoundAtLoad(t *testing.T) {
	const block = `source "refresh_token" "NAME" {
  issuer      = "https://iam.example.org"
  client_id   = "robot"
  client_auth = "none"
  FILE
}
token "t" {
  source = source.refresh_token["NAME"]
}
`
	for name, c := range map[string]struct{ source, file, content, want string }{
		"missing file":  {"a", `refresh_token_file = "DIR/none"`, "", "no usable refresh token: refresh token DIR/none: no such file or directory; write one there, or leave the attribute out and get one with HERE login a"},
		"empty file":    {"a", `refresh_token_file = "DIR/file"`, "\n", "no usable refresh token: refresh token DIR/file: one line of printable"},
		"several lines": {"a", `refresh_token_file = "DIR/file"`, "one\ntwo\n", "no usable refresh token: refresh token DIR/file: one line of printable"},
		"no end":        {"a", `refresh_token_file = "DIR/file"`, strings.Repeat("a", 17_000), "no usable refresh token: refresh token DIR/file: one line of printable ASCII characters is wanted, at most 16382"},
		"none":          {"a", "", "", "no refresh token yet: there is no refresh token yet; to get one: HERE login a"},
		"long name":     {strings.Repeat("n", 200), "", "", "no file can have the name of this source: "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeSecret(t, filepath.Join(dir, "file"), c.content)
			_, faults := loadKept(t, dir, strings.NewReplacer("NAME", c.source, "FILE", c.file).Replace(block), false)
			wantOneFault(t, faults, strings.ReplaceAll(c.want, "DIR", dir))
		})
	}
}

func TestTwoSourcesWithOneFileAreWarnedOf(t *testing.T) {
	dir := t.TempDir()
	writeSecret(t, filepath.Join(dir, "first"), "refresh-1")
	text := strings.NewReplacer("ISSUER", "https://iam.example.org", `  ca_file            = "CA"`, "").Replace(robotBlocks)
	another := strings.NewReplacer("cilogon", "another", "storage\"", "other\"", "DIR/first", "DIR/./first").Replace(text)
	_, faults := loadKept(t, dir, text+another, false)
	wantOneFault(t, faults, "two sources begin with one refresh token: source.refresh_token.cilogon begins with it too")
}

func TestWithoutAStateFolderARefreshTokenIsNoUse(t *testing.T) {
	dir := t.TempDir()
	writeSecret(t, filepath.Join(dir, "first"), "refresh-1")
	text := strings.NewReplacer("ISSUER", "https://iam.example.org", `  ca_file            = "CA"`, "").Replace(robotBlocks)
	_, faults := load(t, dir, text, false)
	wantOneFault(t, faults, "no folder for the refresh token: the issuer may replace it")
}

// wantOneFault demands a fault or warning whose summary and detail begin so, and no
// other but that the token has no sink.
func wantOneFault(t *testing.T, faults config.Faults, want string) {
	t.Helper()
	if found := notOfSinks(faults); len(found) != 1 || !strings.HasPrefix(found[0], want) {
		t.Errorf("got  %q\nwant %s", found, want)
	}
}

func notOfSinks(faults config.Faults) (found []string) {
	for _, f := range faults {
		if f.Summary != "no sink block" {
			found = append(found, f.Summary+": "+f.Detail)
		}
	}
	return found
}
