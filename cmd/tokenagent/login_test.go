package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// A loginSite is a site with tokens from a source without a login.
type loginSite struct {
	*site
	issuer *issuertest.Issuer
}

func newLoginSite(t *testing.T) *loginSite {
	t.Helper()
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.Rotate, b.Interval = true, 1 })
	s := newSite(t, fmt.Sprintf(`
source "refresh_token" "cilogon" {
  issuer             = %q
  ca_file            = %q
  client_id          = "robot"
  client_auth        = "none"
  audience_parameter = "resource"
}
source "refresh_token" "other iam" {
  issuer      = "https://127.0.0.1:1"
  client_id   = "robot"
  client_auth = "none"
}
token "storage" {
  for_each = toset(["read", "modify"])
  source   = source.refresh_token.cilogon
  audience = ["https://${each.key}.example.org"]
  scope    = ["storage.${each.key}:/", "compute.read"]
  sink "file" {
    path = "${path.config}/${each.key}"
  }
}
token "local" {
  source = source.local_key.site
  scope  = ["local"]
  sink "file" {
    path = "${path.config}/local"
  }
}
`, i.URL, i.CAFile))
	return &loginSite{s, i}
}

// login runs the command; the person does as it says. out is all it prints.
func (s *loginSite) login(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	c := s.command(nil, append([]string{"login"}, args...)...)
	r, w := io.Pipe()
	c.Stdout, c.Stderr = w, w
	var printed strings.Builder
	var person sync.WaitGroup
	person.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			fmt.Fprintln(&printed, lines.Text())
			if strings.HasPrefix(lines.Text(), "and enter") {
				s.issuer.Approve()
			}
		}
	})
	err := c.Run()
	w.Close()
	person.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return printed.String(), c.ProcessState.ExitCode()
}

// wantLogin demands a login with that exit code and these words in what it prints.
func (s *loginSite) wantLogin(t *testing.T, code int, args []string, words ...string) {
	t.Helper()
	out, got := s.login(t, args...)
	if got != code {
		t.Errorf("login %q ends with %d, want %d:\n%s", args, got, code, out)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("login %q does not say %q:\n%s", args, w, out)
		}
	}
	s.wantNoSecret(t, out)
}

func (s *loginSite) store() *refresh.Store { return refresh.NewStore(s.state(""), "cilogon") }

// wantNoSecret demands that the text shows neither the refresh token nor any other.
func (s *loginSite) wantNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, r := range s.issuer.Requests(issuertest.TokenPath) {
		for _, secret := range []string{r.Form.Get("refresh_token"), r.Form.Get("device_code")} {
			if secret != "" && strings.Contains(text, secret) {
				t.Errorf("it shows what was sent: %s", text)
			}
		}
	}
	if strings.Contains(text, "eyJ") || strings.Contains(text, "refresh-") {
		t.Errorf("it shows a token: %s", text)
	}
}

func TestLoginBringsARunningAgentItsTokens(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.start(t)
	named := "to get one: tokenagent login cilogon --config " + s.path("site.hcl")
	eventually(t, "a status that names the login", func() bool {
		tokens, err := s.client().Status(t.Context())
		return err == nil && len(tokens) == 3 && tokens[1].Failing != nil && strings.Contains(tokens[1].Failing.Error, named)
	})
	s.wantLogin(t, 0, []string{"cilogon"}, "open       "+s.issuer.URL+"/activate", "and enter  BCDF-GHJK", "within     ",
		"the refresh token is stored: "+s.store().Path(), `storage["read"]`, `storage["modify"]`, "valid")
	s.settled(t)
	s.stop(t)
	s.wantNoSecret(t, s.log(t))
	for _, name := range []string{"read", "modify"} {
		if _, err := os.Stat(s.path(name)); err != nil {
			t.Error(err)
		}
	}
}

// What an agent of systemd names is typed in a shell that knows nothing of its folders.
func TestACommandThatIsNamedCanBeTyped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's here")
	check(t, os.Mkdir(dir, 0o700))
	t.Chdir(dir)
	quoted := "'" + strings.ReplaceAll(dir, "'", `'\''`)
	t.Setenv("STATE_DIRECTORY", "")
	withSocket := place{configs: []string{"/etc/b"}, socket: "/run/a b"}
	if got, want := withSocket.command(config.Settings{}, "refresh"), "tokenagent refresh --config /etc/b --control '/run/a b'"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := withSocket.command(config.Settings{}, "check"), "tokenagent check --config /etc/b"; got != want { // which takes no --control
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, c := range []struct {
		state, set string
		configs    []string
		want       string
	}{
		{"", "", nil, "tokenagent login 'other iam'"},
		{"", "", []string{"a.hcl", "/etc/b"}, "tokenagent login 'other iam' --config " + quoted + "/a.hcl' --config /etc/b"},
		{"/var/lib/tokenagent/site:/other", "", nil, "STATE_DIRECTORY=/var/lib/tokenagent/site tokenagent login 'other iam'"},
		{"/var/lib/tokenagent/site", "/state", nil, "tokenagent login 'other iam'"},
		{usualState(), "", nil, "tokenagent login 'other iam'"},
		{dir, "", nil, "STATE_DIRECTORY=" + quoted + "' tokenagent login 'other iam'"},
	} {
		t.Setenv("STATE_DIRECTORY", c.state)
		from := place{configs: c.configs}
		if got := from.command(config.Settings{StateDir: c.set}, "login", "other iam"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestLoginAsksForWhatAllItsTokensNeed(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.wantLogin(t, 0, []string{"source.refresh_token.cilogon"}, "no agent runs; the next one uses it")
	s.wantLogin(t, 0, []string{"cilogon", "--scope", "org.cilogon.userinfo openid", "--offline-access=false"}, s.store().Path())
	forms := s.issuer.Requests(issuertest.DevicePath)
	if len(forms) != 2 {
		t.Fatalf("it was asked %d times", len(forms))
	}
	for i, scope := range []string{
		"compute.read offline_access storage.modify:/ storage.read:/",
		"compute.read openid org.cilogon.userinfo storage.modify:/ storage.read:/",
	} {
		want := url.Values{"client_id": {"robot"}, "scope": {scope}, "resource": {"https://modify.example.org", "https://read.example.org"}}
		if diff := cmp.Diff(want, forms[i].Form); diff != "" {
			t.Error(diff)
		}
	}
	s.once(t)
}

func TestLoginNamesTheSourcesThatThereAre(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	for _, c := range []struct{ source, words string }{
		{"cilogn", `no source "cilogn" to log in to; there are: cilogon, other iam`},
		{"site", "source.local_key.site needs no login"},
	} {
		s.wantLogin(t, exitUsage, []string{c.source}, c.words)
	}
	s.wantLogin(t, exitUsage, nil, "SOURCE is missing")
	s.wantLogin(t, exitFailed, []string{"other iam"}, `source.refresh_token["other iam"]: issuer https://127.0.0.1:1`) // it is found, and does not answer
	put(t, s.path("site.hcl"), "nonsense")
	s.wantLogin(t, exitConfiguration, []string{"cilogon"}, "nonsense")
}

func TestALoginThatFailsStoresNothing(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.issuer.Change(func(b *issuertest.Behaviour) { b.NoRefresh = true })
	s.wantLogin(t, exitFailed, []string{"cilogon"}, "gave no refresh token", "offline_access")
	s.issuer.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
			issuertest.Refuse(w, http.StatusBadRequest, "invalid_scope")
		}
	})
	s.wantLogin(t, exitFailed, []string{"cilogon"}, "source.refresh_token.cilogon: ", "invalid_scope", "--offline-access=false")
	if _, err := s.store().Read(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stored is %v", err)
	}
}

func TestALoginWhoseTokenTheAgentCannotUseFails(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.start(t)
	eventually(t, "an agent", func() bool { _, err := s.client().Status(t.Context()); return err == nil })
	s.issuer.Change(func(b *issuertest.Behaviour) {
		b.Answer = func(form url.Values, answer map[string]any) {
			if form.Get("grant_type") == "refresh_token" {
				answer["scope"] = "compute.read" // and nothing of storage
			}
		}
	})
	s.wantLogin(t, exitFailed, []string{"cilogon"}, "is stored", "not written: ", "storage.read:/")
}

// Whoever asks uses the refresh token alone: one that is used twice ends them all.
func TestCommandsBesideTheAgentUseTheRefreshTokenOneAfterAnother(t *testing.T) {
	t.Parallel()
	r := newRefreshSite(t)
	go func() {
		for range r.issuer.answered { // nobody waits for the answers
		}
	}()
	r.renewFamily(t)
	r.start(t)
	var commands sync.WaitGroup
	for range 4 {
		commands.Go(func() {
			if out, err := r.command(nil, "token", "create", "t").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	eventually(t, "an agent that refreshes", func() bool {
		tokens, err := r.client().Refresh(t.Context())
		return err == nil && tokens[0].Failing == nil
	})
	commands.Wait()
	r.stop(t)
	close(r.issuer.answered)
	if strings.Contains(r.log(t), "refused") {
		t.Error("the refresh token was used twice")
	}
}

// A name may be that of several sources, of different kinds.
func TestLoginFindsItsSourceBesideAnotherOfThatName(t *testing.T) {
	t.Parallel()
	all := []config.Source{
		{Identity: config.Identity{Name: "source.client_credentials.iam", Label: "iam"}},
		{Identity: config.Identity{Name: "source.refresh_token.iam", Label: "iam"}, Source: struct{ sources.LoginSource }{}},
		{Identity: config.Identity{Name: "source.local_key.iam", Label: "iam"}},
		{Identity: config.Identity{Name: `source.refresh_token.vo["cms"]`, Label: `vo["cms"]`}, Source: struct{ sources.LoginSource }{}},
		{Identity: config.Identity{Name: `source.refresh_token.vo["a/b"]`, Label: `vo["a/b"]`}, Source: struct{ sources.LoginSource }{}},
	}
	for name, want := range map[string]int{
		"iam": 1, "source.refresh_token.iam": 1,
		`vo["cms"]`: 3, "vo/cms": 3, `source.refresh_token.vo["cms"]`: 3, "vo/a/b": 4,
	} {
		if got, err := chooseLogin(all, name); err != nil || got.Name != all[want].Name {
			t.Errorf("%s: got %s, %v", name, got.Name, err)
		}
	}
	if _, err := chooseLogin(all, "vo"); err == nil || !strings.Contains(err.Error(), `there are: iam, vo["cms"], vo["a/b"]`) {
		t.Errorf("vo: %v", err)
	}
	if _, err := chooseLogin(all, "source.local_key.iam"); err == nil {
		t.Error("a key has no login")
	}
}
