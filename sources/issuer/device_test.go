package issuer_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// A person who lets the device in sees the code, and the refresh token comes: with
// each way to prove who the client is, and a fresh assertion for each question.
func TestADeviceIsLetIn(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	jwtKey, public := keyFile(t, "ES256")
	for _, c := range []struct {
		client issuer.Client
		wants  issuertest.Behaviour
	}{
		{issuer.Client{ID: "robot", Auth: "none"}, issuertest.Behaviour{}},
		{issuer.Client{ID: "robot", Auth: "client_secret_basic", SecretFile: secretFile(t, "a b")}, issuertest.Behaviour{ClientSecret: "a b"}},
		{issuer.Client{ID: "robot", Auth: "private_key_jwt", KeyFile: jwtKey}, issuertest.Behaviour{ClientKey: public}},
	} {
		t.Run(c.client.Auth, func(t *testing.T) {
			c.wants.ClientID, c.wants.Interval = "robot", 1
			pending := 0
			c.wants.Answered = func(path string) {
				if path == issuertest.TokenPath && pending == 0 {
					pending++
					i.Approve()
				}
			}
			i.Change(func(b *issuertest.Behaviour) { *b = c.wants })
			shown := 0
			got, err := serverOf(i).Device(t.Context(), c.client, []string{"openid", "offline_access"}, url.Values{"audience": {"x"}}, func(d issuer.Device) {
				shown++
				if d.UserCode != "BCDF-GHJK" || d.URI != i.URL+"/activate" || d.URIComplete != d.URI+"?user_code=BCDF-GHJK" || time.Until(d.Expires) < 9*time.Minute {
					t.Errorf("shown was %+v", d)
				}
			})
			if err != nil || got.Refresh.Reveal() == "" || shown != 1 || pending != 1 {
				t.Errorf("got %v, shown %d times, %d times pending", err, shown, pending)
			}
		})
	}
	for _, r := range i.Requests(issuertest.DevicePath) {
		if r.Form.Get("scope") != "openid offline_access" || r.Form.Get("client_id") != "robot" || r.Form.Get("audience") != "x" {
			t.Errorf("it was asked with %v", r.Form)
		}
	}
}

func TestADeviceThatIsNotLetIn(t *testing.T) {
	const page = "issuer ISSUER: its answer is not a device authorization: a verification_uri does not begin with https://, and a person is to give a password there"
	device := func(address string) issuertest.Behaviour {
		return issuertest.Behaviour{ServeDevice: func(w http.ResponseWriter, _ *http.Request) {
			issuertest.Reply(w, 200, map[string]any{"device_code": "a", "user_code": "A", "verification_uri": address, "expires_in": 60})
		}}
	}
	for name, c := range map[string]struct {
		how  issuertest.Behaviour
		kind agent.Kind
		text string
	}{
		"denied": {issuertest.Behaviour{ServeToken: func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 400, "access_denied") }}, agent.Configuration,
			"issuer ISSUER: access_denied: the issuer, or a person whom it asked, said no; have it allowed at the issuer"},
		"expired": {issuertest.Behaviour{ServeToken: func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 400, "expired_token") }}, agent.Configuration,
			"issuer ISSUER: expired_token: the device was not let in before its code expired; begin again"},
		"no flow": {issuertest.Behaviour{Metadata: func(m map[string]any) { delete(m, "device_authorization_endpoint") }}, agent.Configuration,
			"issuer ISSUER: metadata: it names no device_authorization_endpoint: the issuer has no device flow; get a refresh token in another way, and name it in refresh_token_file"},
		"wrong client": {issuertest.Behaviour{ClientID: "other", ServeDevice: func(w http.ResponseWriter, _ *http.Request) { issuertest.Refuse(w, 401, "invalid_client") }}, agent.Configuration,
			"issuer ISSUER: invalid_client: the issuer does not know the client id, or wants more than that; check client_id and client_auth"},
		"no code": {issuertest.Behaviour{ServeDevice: func(w http.ResponseWriter, _ *http.Request) {
			issuertest.Reply(w, 200, map[string]any{"user_code": "A"})
		}}, agent.Transient,
			"issuer ISSUER: its answer is not a device authorization: it lacks device_code, user_code, verification_uri or expires_in"},
		"page of a thief": {device("http://iam.example/activate"), agent.Transient, page},
		"no page":         {device("javascript:alert(1)"), agent.Transient, page},
		"what a terminal obeys": {device("https://iam.example/\x1b[2J"), agent.Transient,
			"issuer ISSUER: its answer is not a device authorization: verification_uri: it is not a URL of at most 2000 visible ASCII characters (RFC 3986)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := issuertest.Start(t)
			c.how.Interval = 1
			i.Change(func(b *issuertest.Behaviour) { *b = c.how })
			_, err := serverOf(i).Device(t.Context(), robot, nil, nil, func(issuer.Device) {})
			wantFault(t, err, i, c.kind, c.text)
		})
	}
}

func TestALoginThatIsGivenUpEnds(t *testing.T) {
	i := issuertest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := serverOf(i).Device(ctx, robot, nil, nil, func(issuer.Device) { cancel() })
	if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "issuer ") {
		t.Errorf("got %v", err)
	}
}
