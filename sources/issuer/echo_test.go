package issuer

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

func TestAnAnswerThatRepeatsASecretIsRefused(t *testing.T) {
	const secret, refresh = "a-secret-of-the-client", "the-refresh-token-in-use"
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := Client{ID: "robot", Auth: "client_secret_post", SecretFile: file}
	jwt := unsignedJWT(`{"alg":"ES256"}`, `{"client":{"secret":"`+secret+`"}}`)
	for name, c := range map[string]struct {
		answer map[string]any
		good   bool
	}{
		"none":                       {map[string]any{"access_token": "opaque", "scope": "a"}, true},
		"the same refresh token":     {map[string]any{"access_token": "opaque", "refresh_token": refresh}, true},
		"the secret as the token":    {map[string]any{"access_token": secret}, false},
		"within the token":           {map[string]any{"access_token": "x" + secret + "x"}, false},
		"within a JWT":               {map[string]any{"access_token": jwt}, false},
		"the refresh token as token": {map[string]any{"access_token": refresh}, false},
		"as a scope":                 {map[string]any{"access_token": "opaque", "scope": "a " + secret}, false},
		"in another member":          {map[string]any{"access_token": "opaque", "x": []any{map[string]any{"y": secret}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.answer["token_type"] = "Bearer"
			s := serverOver(func(req *http.Request) (*http.Response, error) {
				if req.URL.Path == "/token" {
					return respond(req, http.StatusOK, c.answer), nil
				}
				return exampleMetadata(req), nil
			})
			_, err := s.Token(t.Context(), client, Grant{Type: "refresh_token", Parameters: url.Values{"refresh_token": {refresh}}})
			if c.good {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wants(t, err, example, agent.Configuration, "issuer ISSUER: its answer repeats a secret that this client sent, which readers of the token and of the log would see; the issuer must leave it out")
			if strings.Contains(err.Error(), secret) {
				t.Error("the secret is in the error")
			}
		})
	}
}

// A text as short as "abc" is in many an answer by accident.
func TestAShortSecretIsNotLookedForInAnAnswer(t *testing.T) {
	client := Client{ID: "robot", Auth: "client_secret_post", SecretFile: testFile(t, "abc")}
	s := serverOver(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/token" {
			return respond(req, http.StatusOK, map[string]any{"access_token": "xabcx", "token_type": "Bearer"}), nil
		}
		return exampleMetadata(req), nil
	})
	if _, err := s.Token(t.Context(), client, Grant{Type: "client_credentials"}); err != nil {
		t.Error(err)
	}
}

// unsignedJWT is a JWT of that header and those claims.
func unsignedJWT(header, claims string) string {
	return encoded(header) + "." + encoded(claims) + "." + encoded("x")
}

func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
