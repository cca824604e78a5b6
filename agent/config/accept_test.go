package config

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
)

// jwt is a token that says what the claims say, with a signature of no worth.
func jwt(claims string) agent.Token {
	encode := base64.RawURLEncoding.EncodeToString
	return agent.Token{Secret: agent.NewSecret(encode([]byte(`{"alg":"ES256","typ":"JWT","kid":"k"}`)) + "." + encode([]byte(claims)) + ".c2ln")}
}

func TestFinishedTokensMustBeAsAskedFor(t *testing.T) {
	good := `{"iss":"https://x","sub":"robot","aud":"a","scope":"storage.read:/","wlcg.ver":"1.0","jti":"1","iat":100,"nbf":40,"exp":3700}`
	wlcg := agent.Request{Profile: "wlcg", Subject: "robot", Audience: []string{"a"}, Scope: []string{"storage.read:/"}}
	for _, test := range []struct {
		what  string
		req   agent.Request
		token agent.Token
		want  string // part of the error; "" for none
	}{
		{"as asked", wlcg, jwt(good), ""},
		{"another subject", wlcg, jwt(strings.Replace(good, "robot", "other", 1)), "sub: "},
		{"a narrower scope", wlcg, jwt(strings.Replace(good, "storage.read:/", "compute.read", 1)), "scope: "},
		{"no version", wlcg, jwt(strings.Replace(good, "wlcg.ver", "x", 1)), "wlcg.ver: "},
		{"opaque", wlcg, agent.Token{Secret: agent.NewSecret("opaque")}, "parts"},
		{"opaque, without a profile", agent.Request{Subject: "robot"}, agent.Token{Secret: agent.NewSecret("opaque")}, ""},
		{"without a profile, another subject", agent.Request{Subject: "robot"}, jwt(`{"sub":"other","exp":3700}`), "sub: "},
	} {
		t.Run(test.what, func(t *testing.T) {
			err := accept(test.req, Source{})(test.token)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			fault, ok := errors.AsType[*agent.Fault](err)
			if !ok || fault.Kind != agent.Configuration || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a configuration fault with %q", err, test.want)
			}
			if strings.Contains(err.Error(), test.token.Secret.Reveal()) {
				t.Error("the token is shown")
			}
		})
	}
}
