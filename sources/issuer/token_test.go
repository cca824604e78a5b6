package issuer_test

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// serverOf is our side of the test's issuer.
func serverOf(i *issuertest.Issuer) *issuer.Server {
	return issuer.NewServer(issuer.Address{Issuer: i.URL, CAFile: i.CAFile})
}

// secretFile is a file with the text, kept as a secret.
func secretFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keyFile is a file with a new private key for the algorithm, and its public half.
func keyFile(t testing.TB, algorithm string) (string, *jose.JSONWebKey) {
	t.Helper()
	key, err := keys.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	data, err := key.MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	return secretFile(t, string(data)), &jose.JSONWebKey{Key: crypto.PublicKey(key.Public()), KeyID: key.ID()}
}

var robot = issuer.Client{ID: "robot", Auth: "none"}

func clientCredentials(scope string) issuer.Grant {
	return issuer.Grant{Type: "client_credentials", Parameters: url.Values{"scope": {scope}}}
}

func TestEveryAuthenticationIsAccepted(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	const id, secret = "robot:1 / ü", "p%20ä:+s&w=d"
	jwtKey, public := keyFile(t, "ES256")
	certFile, certKey := i.CA.Files(t, nil)
	for _, c := range []struct {
		client issuer.Client
		wants  issuertest.Behaviour
	}{
		{issuer.Client{Auth: "client_secret_basic", SecretFile: secretFile(t, secret+"\n")}, issuertest.Behaviour{ClientSecret: secret}},
		{issuer.Client{Auth: "client_secret_post", SecretFile: secretFile(t, secret)}, issuertest.Behaviour{ClientSecret: secret}},
		{issuer.Client{Auth: "private_key_jwt", KeyFile: jwtKey}, issuertest.Behaviour{ClientKey: public}},
		{issuer.Client{Auth: "tls_client_auth", CertFile: certFile, KeyFile: certKey}, issuertest.Behaviour{ClientCert: true}},
		{issuer.Client{Auth: "none"}, issuertest.Behaviour{}},
	} {
		t.Run(c.client.Auth, func(t *testing.T) {
			c.client.ID, c.wants.ClientID = id, id
			i.Change(func(b *issuertest.Behaviour) { *b = c.wants })
			if err := c.client.Check(); err != nil {
				t.Error(err)
			}
			s := serverOf(i)
			for range 2 { // each with an assertion of its own
				answer, err := s.Token(t.Context(), c.client, clientCredentials("storage.read:/"))
				if err != nil || answer.Access.Reveal() == "" {
					t.Fatal(err)
				}
			}
			for _, r := range i.Requests(issuertest.TokenPath) {
				if basic := r.Header.Get("Authorization") != ""; c.client.Auth == "client_secret_basic" && basic && r.Form.Has("client_secret") {
					t.Error("the secret went in both ways, which RFC 6749 section 2.3 forbids")
				}
			}
		})
	}
}

func TestAnAnswerIsAsTheIssuerGaveIt(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) {
		b.Opaque, b.Lifetime = true, 20*time.Minute
		b.Answer = func(_ url.Values, a map[string]any) {
			a["access_token"], a["refresh_token"], a["scope"] = "opaque", "next", "storage.read:/a  storage.read:/b"
			a["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
		}
	})
	before := time.Now()
	got, err := serverOf(i).Token(t.Context(), robot, clientCredentials("storage.read:/"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Sent.Before(before) || got.Sent.After(time.Now()) {
		t.Errorf("it was sent at %v", got.Sent)
	}
	got.Sent = time.Time{}
	want := issuer.Answer{
		Access: agent.NewSecret("opaque"), Refresh: agent.NewSecret("next"), ExpiresIn: 20 * time.Minute,
		Scope: []string{"storage.read:/a", "storage.read:/b"}, ScopeSaid: true,
		IssuedTokenType: "urn:ietf:params:oauth:token-type:access_token",
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(agent.Secret.Equal)); diff != "" {
		t.Error(diff)
	}
}

// oauth2 gives the refresh token that went out as one that came back.
func TestARefreshTokenThatDidNotComeIsNone(t *testing.T) {
	i := issuertest.Start(t)
	old := i.Refresh()
	s := serverOf(i)
	refresh := func(text string) issuer.Answer {
		t.Helper()
		got, err := s.Token(t.Context(), robot, issuer.Grant{Type: "refresh_token", Parameters: url.Values{"refresh_token": {text}}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := refresh(old); got.Refresh != (agent.Secret{}) {
		t.Error("a refresh token came back that the issuer did not give")
	}
	i.Change(func(b *issuertest.Behaviour) { b.Rotate = true })
	if got := refresh(old); got.Refresh.Reveal() == "" || got.Refresh.Reveal() == old {
		t.Error("the rotated refresh token is missing")
	}
}

func TestATokenEndpointAloneIsAskedWithoutMetadata(t *testing.T) {
	i := issuertest.Start(t)
	s := issuer.NewServer(issuer.Address{TokenEndpoint: i.URL + issuertest.TokenPath, CAFile: i.CAFile})
	if _, err := s.Token(t.Context(), robot, clientCredentials("a")); err != nil {
		t.Fatal(err)
	}
	if got := len(i.Requests()); got != 1 {
		t.Errorf("%d requests were made", got)
	}
	if s.Name() != i.URL+issuertest.TokenPath {
		t.Errorf("its name is %s", s.Name())
	}
}

func TestParametersGoAsTheyAre(t *testing.T) {
	i := issuertest.Start(t)
	sent := url.Values{"scope": {"a b"}, "resource": {"https://a.example", "https://b.example"}, "lifetime": {"600"}}
	if _, err := serverOf(i).Token(t.Context(), robot, issuer.Grant{Type: "client_credentials", Parameters: sent}); err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"scope": {"a b"}, "resource": {"https://a.example", "https://b.example"}, "lifetime": {"600"},
		"grant_type": {"client_credentials"}, "client_id": {"robot"},
	}
	got := i.Requests(issuertest.TokenPath)[0].Form
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(sent) != 3 {
		t.Error("the caller's parameters were changed")
	}
}

func TestSecretsAreReadAtEachUse(t *testing.T) {
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.ClientSecret = "new" })
	c := issuer.Client{ID: "robot", Auth: "client_secret_basic", SecretFile: secretFile(t, "old")}
	s := serverOf(i)
	_, err := s.Token(t.Context(), c, clientCredentials("a"))
	want := "issuer " + i.URL + ": invalid_client: the issuer does not accept the client id or secret; check client_id and client_secret_file, and whether it wants another client_auth than client_secret_basic"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if denied, ok := errors.AsType[*issuer.Denied](err); !ok || denied.Code != "invalid_client" {
		t.Errorf("no Denied with invalid_client: %v", err)
	}
	if err := os.WriteFile(c.SecretFile, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(t.Context(), c, clientCredentials("a")); err != nil {
		t.Error(err)
	}
}

func TestTheCAFileIsReadWhenItChanges(t *testing.T) {
	i := issuertest.Start(t)
	other := issuertest.NewCA(t)
	path := filepath.Join(t.TempDir(), "ca.pem")
	install := func(from string) {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install(other.File)
	s := issuer.NewServer(issuer.Address{Issuer: i.URL, CAFile: path})
	ask := func() error {
		_, err := s.Token(t.Context(), robot, clientCredentials("a"))
		return err
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "authority that is not trusted") {
		t.Errorf("got %v", err)
	}
	install(i.CAFile)
	if err := ask(); err != nil {
		t.Error(err)
	}
	install(other.File)
	if err := ask(); err == nil {
		t.Error("a connection of the trusted authority's time was used after it")
	}
}

func TestStoppingEndsARequest(t *testing.T) {
	i := issuertest.Start(t)
	asked := make(chan struct{})
	i.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(_ http.ResponseWriter, r *http.Request) {
			close(asked)
			<-r.Context().Done()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := serverOf(i).Token(ctx, robot, clientCredentials("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
