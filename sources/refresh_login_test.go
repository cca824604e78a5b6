package sources

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// letIn is a show that lets the device in at once.
func (r *robot) letIn(d Prompt) { r.issuer.Approve() }

func TestALoginStoresARefreshTokenThatCountsFromThenOn(t *testing.T) {
	r := newRobot(t)
	r.issuer.Change(func(b *issuertest.Behaviour) { b.Interval = 1 })
	r.provide(t, "refresh-revoked")
	r.refuses(t, agent.Configuration, "invalid_grant")
	asked := agent.Request{Scope: []string{"storage.read:/", "offline_access"}, Audience: []string{"https://se.example.org", "https://ce.example.org"}}
	file, err := r.Login(t.Context(), asked, r.letIn)
	if err != nil || file != r.store.Path() {
		t.Fatal(file, err)
	}
	r.mustIssue(t)
	r.load(t)
	r.mustIssue(t)
	form := r.issuer.Requests(issuertest.DevicePath)[0].Form
	want := url.Values{"client_id": {"robot"}, "scope": {"storage.read:/ offline_access"}, "audience": {"https://se.example.org https://ce.example.org"}}
	if diff := cmp.Diff(want, form); diff != "" {
		t.Error(diff)
	}
}

func TestALoginWithoutARefreshTokenSaysWhatToAskFor(t *testing.T) {
	r := newRobot(t)
	r.issuer.Change(func(b *issuertest.Behaviour) { b.NoRefresh, b.Interval = true, 1 })
	_, err := r.Login(t.Context(), r.req, r.letIn)
	if err == nil || !strings.Contains(err.Error(), "offline_access") || !strings.Contains(err.Error(), r.issuer.URL) {
		t.Error(err)
	}
}

func TestALoginBeginsOnlyWhereItsTokenCanBeStored(t *testing.T) {
	r := newRobot(t)
	state := filepath.Join(r.dir, "state")
	writeSecret(t, state, "a file")
	_, err := r.Login(t.Context(), r.req, func(Prompt) { t.Error("a person was asked") })
	if err == nil || !strings.Contains(err.Error(), state) {
		t.Error(err)
	}
	if n := len(r.issuer.Requests()); n > 0 {
		t.Errorf("the issuer was asked %d times", n)
	}
}
