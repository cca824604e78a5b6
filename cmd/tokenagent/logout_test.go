package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// wantLogout demands a logout with that exit code and these words in what it prints.
func (s *loginSite) wantLogout(t *testing.T, code int, args []string, words ...string) {
	t.Helper()
	out, got := s.output(t, nil, append([]string{"logout"}, args...)...)
	for _, w := range words {
		if got != code || !strings.Contains(out, w) {
			t.Errorf("logout %q ends with %d, want %d and %q:\n%s", args, got, code, w, out)
		}
	}
	s.wantNoSecret(t, out)
}

func (s *loginSite) wantStored(t *testing.T, stored bool) {
	t.Helper()
	if _, err := os.Stat(s.store().Path()); (err == nil) != stored {
		t.Errorf("stored is %v, want %v", err, stored)
	}
}

func TestLogoutRevokesAndThenRemoves(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.wantLogin(t, 0, []string{"cilogon"})
	s.once(t)
	stored, err := s.store().Read()
	check(t, err)
	s.wantLogout(t, 0, []string{"cilogon"}, "the issuer has revoked the refresh token; access tokens that came of it may be valid until they end",
		"the refresh token is removed: "+s.store().Path())
	s.wantStored(t, false)
	asked := s.issuer.Requests(issuertest.RevokePath)
	if len(asked) != 1 || asked[0].Form.Get("token") != stored.Text.Reveal() || asked[0].Form.Get("token_type_hint") != "refresh_token" || asked[0].Form.Get("client_id") != "robot" {
		t.Errorf("it was asked %d times", len(asked))
	}
	out, code := s.output(t, nil, "once")
	if code != exitNotValid && code != 0 || strings.Contains(out, "refused it") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	s.wantLogout(t, exitFailed, []string{"cilogon"}, "there is no refresh token yet")
	s.wantLogout(t, 0, []string{"cilogon", "--local"}, "no refresh token was stored")
	s.wantLogin(t, 0, []string{"cilogon"}, "is stored")
}

// What the issuer cannot or will not end stays, until a person removes it here.
func TestALogoutThatFailsRemovesNothing(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.wantLogin(t, 0, []string{"cilogon"})
	instead := "; to remove what is stored without asking the issuer: tokenagent logout cilogon --config " + s.path("site.hcl") + " --local"
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		says  string
	}{
		"busy":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "503 Service Unavailable at " + s.issuer.URL + "/revoke"},
		"another kind": {func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 400, "unsupported_token_type") }, "unsupported_token_type: the issuer does not revoke tokens of this kind"},
		"a client":     {func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 401, "invalid_client") }, "invalid_client: "},
		"a page":       {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>log in</html>")) }, "its answer is an HTML page"},
		"a dead token": {func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 400, "invalid_token") }, "invalid_token: the issuer does not know the refresh token; see whether it has expired"},
		"no request":   {func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 400, "invalid_request") }, "; end it at the issuer's own pages"},
		"a redirect":   {http.RedirectHandler("/elsewhere", http.StatusFound).ServeHTTP, "it redirects to "},
	} {
		s.issuer.Change(func(b *issuertest.Behaviour) { b.ServeRevoke = c.serve })
		s.wantLogout(t, exitFailed, []string{"cilogon"}, "source.refresh_token.cilogon: ", c.says, instead)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	s.wantStored(t, true)
	s.issuer.Change(func(b *issuertest.Behaviour) {
		b.ServeRevoke = nil
		b.Metadata = func(m map[string]any) { delete(m, "revocation_endpoint") }
	})
	s.wantLogout(t, exitFailed, []string{"cilogon"}, "metadata: it names no revocation_endpoint", instead)
	s.wantStored(t, true)
	s.issuer.Stop()
	s.wantLogout(t, exitFailed, []string{"cilogon"}, "connection refused", instead)
	s.wantStored(t, true)
	s.wantLogout(t, 0, []string{"cilogon", "--local"}, "the refresh token is removed: "+s.store().Path())
	s.wantStored(t, false)
}

// An answer to a revocation is well by its status, unless it is the page of something else.
func TestLogoutTakesAnyBodyOfSuccess(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "OK", "{}", "true"} {
		s := newLoginSite(t)
		s.wantLogin(t, 0, []string{"cilogon"})
		s.issuer.Change(func(b *issuertest.Behaviour) {
			b.ServeRevoke = func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }
		})
		s.wantLogout(t, 0, []string{"cilogon"}, "has revoked")
		s.wantStored(t, false)
	}
}

func TestLogoutNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.wantLogout(t, exitUsage, []string{"cilogn"}, `no source "cilogn" to log in to; there are: cilogon, other iam`)
	s.wantLogout(t, exitUsage, []string{"site"}, "source.local_key.site needs no login")
	s.wantLogout(t, exitUsage, nil, "SOURCE is missing")
	put(t, s.path("site.hcl"), "nonsense")
	s.wantLogout(t, exitConfiguration, []string{"cilogon"}, "nonsense")
}
