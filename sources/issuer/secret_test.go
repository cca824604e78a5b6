package issuer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/time/rate"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

func testFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testKeyFile(t testing.TB) string {
	t.Helper()
	key, err := keys.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	data, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	return testFile(t, string(data))
}

func claimsOf(t testing.TB, jwt string) (claims map[string]any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
	if err == nil {
		err = json.Unmarshal(data, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// An issuer that repeats all that it was sent, wherever it can, in every way to
// answer: nothing of it is in an error, however that is printed.
func TestNoErrorHoldsASecret(t *testing.T) {
	i := issuertest.Start(t)
	const secret, refresh, access = "s3cr3t-of-the-client", "refresh-token-0815", "access-token-4711"
	clients := []Client{
		{ID: "robot", Auth: "client_secret_basic", SecretFile: testFile(t, secret)},
		{ID: "robot", Auth: "client_secret_post", SecretFile: testFile(t, secret)},
		{ID: "robot", Auth: "private_key_jwt", KeyFile: testKeyFile(t)},
	}
	for name, answer := range map[string]func(w http.ResponseWriter, echo string){
		"code":        func(w http.ResponseWriter, echo string) { issuertest.Refuse(w, 400, echo) },
		"description": func(w http.ResponseWriter, echo string) { describe(w, "invalid_grant", echo) },
		"unknown":     func(w http.ResponseWriter, echo string) { describe(w, "strange", echo) },
		"body":        func(w http.ResponseWriter, echo string) { http.Error(w, echo, 500) },
		"no JSON":     func(w http.ResponseWriter, echo string) { content("application/json", echo)(w, nil) },
		"type":        func(w http.ResponseWriter, echo string) { content("text/"+refresh, echo)(w, nil) },
		"location": func(w http.ResponseWriter, echo string) {
			w.Header().Set("Location", "https://other.example/"+url.PathEscape(echo)+"?"+url.QueryEscape(echo))
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"token type": func(w http.ResponseWriter, echo string) { echoed(w, map[string]any{"token_type": echo}) },
		"newline":    func(w http.ResponseWriter, echo string) { echoed(w, map[string]any{"access_token": echo + "\n"}) },
		"expires_in": func(w http.ResponseWriter, echo string) { echoed(w, map[string]any{"expires_in": echo}) },
		"scope":      func(w http.ResponseWriter, echo string) { echoed(w, map[string]any{"scope": []string{echo}}) },
		"member": func(w http.ResponseWriter, echo string) {
			content("application/json", `{"`+refresh+`":1,"`+refresh+`":2}`)(w, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewServer(Address{TokenEndpoint: i.URL + "/token", CAFile: i.CAFile})
			s.limits.rate.SetLimit(rate.Inf)
			for _, c := range clients {
				var sent []string
				i.Change(func(b *issuertest.Behaviour) {
					b.ServeToken = func(w http.ResponseWriter, r *http.Request) {
						sent = []string{secret, refresh, access, r.Header.Get("Authorization"), r.PostForm.Get("client_assertion")}
						answer(w, strings.Join(sent, " "))
					}
				})
				_, err := s.Token(t.Context(), c, Grant{"refresh_token", url.Values{"refresh_token": {refresh}}})
				if err == nil {
					t.Fatal("there is no error")
				}
				keepsQuiet(t, err, sent)
			}
		})
	}
}

func keepsQuiet(t *testing.T, err error, secrets []string) {
	t.Helper()
	for _, printed := range []string{err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err)} {
		for _, s := range secrets {
			if s != "" && strings.Contains(printed, s) {
				t.Errorf("%q holds %q", printed, s)
			}
		}
		if strings.ContainsAny(printed, "\n\r") {
			t.Errorf("%q is several lines", printed)
		}
	}
}

func describe(w http.ResponseWriter, code, description string) {
	issuertest.Reply(w, 400, map[string]any{"error": code, "error_description": description, "error_uri": description})
}

// echoed is a token response but for what is changed.
func echoed(w http.ResponseWriter, change map[string]any) {
	answer := map[string]any{"access_token": "access-token-4711", "token_type": "Bearer"}
	for name, value := range change {
		answer[name] = value
	}
	issuertest.Reply(w, 200, answer)
}

func TestNoAnswerShowsItsTokens(t *testing.T) {
	a := Answer{Access: agent.NewSecret("access-token-4711"), Refresh: agent.NewSecret("refresh-token-0815")}
	for _, format := range []string{"%v", "%+v", "%#v"} {
		if printed := fmt.Sprintf(format, a); strings.Contains(printed, "token-") {
			t.Errorf("%s gives %s", format, printed)
		}
	}
}
