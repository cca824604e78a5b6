package main

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

const oneOfAnIssuer = `
source "client_credentials" "x" {
  issuer      = "ISSUER"
  ca_file     = "CA"
  client_id   = "robot"
  client_auth = "none"
SOURCE
}
token "t" {
  source = source.client_credentials.x
TOKEN
  sink "file" { path = "${path.config}/t" }
}
`

// What users of large issuers write, and what comes of it: one run of the program each.
func TestOnceTakesWhatLargeIssuersGive(t *testing.T) {
	t.Parallel()
	const wlcg = "profile = \"wlcg\"\nsubject = \"robot\"\naudience = [\"https://se.example.org\"]\n"
	type members = map[string]any
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html><title>Sign in</title>")
	}
	for name, c := range map[string]struct {
		source, token string
		how           issuertest.Behaviour
		claims        members // in the place of scope
		answer        members // of what the issuer answers, the rest stays
		code          int
		text          string // of the file; "": a JWT
		says          string
	}{
		"Google": {`token_format = "opaque"`, `scope = ["https://www.googleapis.com/auth/cloud-platform", "openid"]`, issuertest.Behaviour{}, nil,
			members{"access_token": "ya29.c.b0Aaekm1K", "scope": "https://www.googleapis.com/auth/cloud-platform"}, 0, "ya29.c.b0Aaekm1K", "valid"},
		"Google, found out":      {"verify = false", "", issuertest.Behaviour{}, nil, members{"access_token": "ya29.c.b0Aaekm1K"}, 0, "ya29.c.b0Aaekm1K", "valid"},
		"a URL":                  {"", "", issuertest.Behaviour{}, nil, members{"access_token": "https://cilogon.example.org/oauth2/7bd4?type=a&ts=1"}, 0, "https://cilogon.example.org/oauth2/7bd4?type=a&ts=1", "valid"},
		"Microsoft":              {"", `scope = ["api://app/Files.Read"]`, issuertest.Behaviour{}, members{"scp": "Files.Read"}, members{"scope": nil, "expires_in": "3599"}, 0, "", "expires_in is a text"},
		"a capability set":       {"", wlcg + `scope = ["wlcg.capabilityset:/dune", "wlcg.groups:/dune"]`, issuertest.Behaviour{}, members{"wlcg.ver": "1.0", "wlcg.groups": []string{"/dune"}, "scope": "storage.read:/dune storage.stage:/dune"}, members{"scope": nil}, 0, "", "valid"},
		"no path":                {"", wlcg + `scope = ["storage.read:"]`, issuertest.Behaviour{}, members{"wlcg.ver": "1.0", "scope": "storage.read:/"}, members{"scope": []string{"storage.read:/"}}, 0, "", "scope is an array"},
		"a page, then RFC 8414":  {"", "", issuertest.Behaviour{ServeMetadata: page}, nil, nil, 0, "", "valid"},
		"half a JWT":             {"", "", issuertest.Behaviour{}, nil, members{"access_token": "eyJhbGciOiJFUzI1NiJ9.eyJz.c2ln"}, exitNotValid, "none", `write token_format = "opaque" in the source`},
		"no JWT":                 {`token_format = "jwt"`, "", issuertest.Behaviour{Opaque: true}, nil, nil, exitNotValid, "none", `token_format = "jwt" in the source takes nothing else`},
		"opaque under a profile": {`token_format = "opaque"`, wlcg, issuertest.Behaviour{Opaque: true}, nil, nil, exitConfiguration, "none", "the profile wlcg is for JWTs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := issuertest.Start(t)
			c.how.Claims = func(_ url.Values, all map[string]any) {
				if c.claims != nil {
					delete(all, "scope")
				}
				maps.Copy(all, c.claims)
				all["sub"] = "robot"
			}
			c.how.Answer = func(_ url.Values, answer map[string]any) { maps.Copy(answer, c.answer) }
			c.how.ServeOAuth = func(w http.ResponseWriter, _ *http.Request) {
				issuertest.Reply(w, http.StatusOK, map[string]any{"issuer": i.URL, "token_endpoint": i.URL + issuertest.TokenPath, "jwks_uri": i.URL + issuertest.KeysPath})
			}
			i.Change(func(b *issuertest.Behaviour) { *b = c.how })
			s := newSite(t, strings.NewReplacer("ISSUER", i.URL, "CA", i.CAFile, "SOURCE", c.source, "TOKEN", c.token).Replace(oneOfAnIssuer))
			out, code := s.output(t, nil, "once")
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, c.code, c.says, out)
			}
			if c.text == "none" {
				return
			}
			if text := strings.TrimSpace(readFile(t, s.path("t"))); c.text != "" && text != c.text || c.text == "" && strings.Count(text, ".") != 2 {
				t.Errorf("the file holds %q", text)
			}
		})
	}
}

// INDIGO IAM says invalid_token of a refresh token that has ended; a person is told at once.
func TestOnceNamesTheLoginForARefreshTokenThatHasEnded(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t)
	s.wantLogin(t, 0, []string{"cilogon"})
	s.issuer.Change(func(b *issuertest.Behaviour) {
		b.ServeToken = func(w http.ResponseWriter, _ *http.Request) {
			issuertest.Reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token", "error_description": "Invalid refresh token"})
		}
	})
	out, code := s.output(t, nil, "once")
	// This issuer's refresh tokens begin with "refresh", and no part of one is shown.
	want := "the issuer refused it (invalid_token), it is expired, revoked or used up, or a person must log in again (it says: Invalid … token); to get a new one: tokenagent login cilogon --config " + s.path("site.hcl")
	if code != exitNotValid || !strings.Contains(out, want) || !strings.Contains(out, "kind=configuration") {
		t.Errorf("exit %d, want %q:\n%s", code, want, out)
	}
}
