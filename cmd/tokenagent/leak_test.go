package main

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// leakyTokens have secrets of every sort: ISSUER and CA stand for those of the
// issuer, which repeats all that it is sent.
const leakyTokens = `
source "client_credentials" "basic" {
  issuer             = "ISSUER"
  ca_file            = "CA"
  client_id          = "robot"
  client_secret_file = "${path.config}/secret"
}
source "client_credentials" "post" {
  issuer             = "ISSUER"
  ca_file            = "CA"
  client_id          = "robot"
  client_auth        = "client_secret_post"
  client_secret_file = "${path.config}/secret"
}
source "token_exchange" "exchange" {
  issuer             = "ISSUER"
  ca_file            = "CA"
  client_id          = "pod"
  client_auth        = "none"
  subject_token_file = "${path.config}/subject"
}
source "refresh_token" "refresh" {
  issuer             = "ISSUER"
  ca_file            = "CA"
  client_id          = "robot"
  client_auth        = "none"
  refresh_token_file = "${path.config}/refresh"
}
source "file" "copy" {
  path = "${path.config}/upstream"
}
source "command" "program" {
  command         = ["/bin/sh", "${path.config}/program"]
  assume_lifetime = "1h"
}
token "program" {
  source = source.command.program
  sink "file" { path = "${path.config}/tokens/program" }
  hook "on_change" { command = ["/bin/sh", "${path.config}/hook"] }
  hook "on_failure" { command = ["/bin/sh", "${path.config}/hook"] }
}
`

// The secrets that no issuer makes. Each is one that the agent would take for a
// token, so that it also comes from where it should not.
var leakySecrets = map[string]string{
	"secret":   "oF8mClientSecret0uJ2hT7pQ",
	"subject":  "Zq3SubjectToken9xV5bN1kW",
	"upstream": "Lr6UpstreamToken4yC8dG2fH",
	"printed":  "Pw7PrintedToken1sA9jM3nE",
}

// Nothing that an issuer, a program or a file makes of secrets has one of them
// turn up where people and monitors look.
func TestNoSecretTurnsUpWhereSomebodyLooks(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	i.Change(func(b *issuertest.Behaviour) { b.Rotate = true })
	s := newSite(t, "")
	check(t, os.Mkdir(s.path("tokens"), 0o700))
	for _, name := range []string{"secret", "subject", "upstream"} {
		put(t, s.path(name), leakySecrets[name]+"\n")
	}
	first := i.Refresh()
	put(t, s.path("refresh"), first+"\n")
	tells := "cat /proc/self/environ /proc/self/cmdline /proc/$$/cmdline /proc/$PPID/cmdline >>" + s.path("told") + "\n"
	put(t, s.path("program"), tells+"echo "+leakySecrets["printed"])
	put(t, s.path("hook"), tells+"cat >>"+s.path("told"))
	s.mkdir(t, "tmp", os.Geteuid(), 0o700)
	temporary := []string{"env", "TMPDIR=" + s.path("tmp")}
	text := strings.NewReplacer("ISSUER", i.URL, "CA", i.CAFile).Replace(siteHead + leakyTokens +
		tokenFrom("basic", "client_credentials.basic") + tokenFrom("post", "client_credentials.post") +
		tokenFrom("exchange", "token_exchange.exchange") + tokenFrom("refresh", "refresh_token.refresh") + tokenFrom("copy", "file.copy"))
	put(t, s.path("site.hcl"), strings.Replace(text, "agent {", "agent {\n log_level = \"debug\"", 1))
	s.start(t, temporary...)
	s.settled(t)

	secrets := []string{first, base64.StdEncoding.EncodeToString([]byte("robot:" + leakySecrets["secret"]))}
	for _, secret := range leakySecrets {
		secrets = append(secrets, secret)
	}
	for _, name := range []string{"basic", "post", "exchange", "refresh"} {
		secrets = append(secrets, strings.Split(strings.TrimSpace(readFile(t, s.path("tokens/"+name))), ".")...)
	}
	if len(secrets) < 18 {
		t.Fatalf("there are only %d secrets to look for", len(secrets))
	}

	var places strings.Builder
	for _, leak := range leaks(s) {
		leak.begin(t, i)
		for _, args := range [][]string{{"refresh"}, {"status"}, {"status", "--json"}, {"check"}, {"check", "--online", "--issue"}} {
			out, err := s.command(temporary, args...).CombinedOutput()
			fmt.Fprintf(&places, "\n%s, %s: %v\n%s", leak.what, strings.Join(args, " "), err, out)
			if err == nil && args[0] == "refresh" {
				t.Errorf("%s has nothing fail", leak.what)
			}
		}
	}
	s.stop(t)
	places.WriteString(s.log(t) + keptOf(t, s) + readFile(t, s.path("told")))
	for _, said := range []string{"invalid_scope", "password=[secret]", "it is not a token", "TOKENAGENT_EVENT", "tokenagent\x00run"} {
		if !strings.Contains(places.String(), said) {
			t.Errorf("nobody says %q, so that little was looked at", said)
		}
	}
	for _, secret := range secrets {
		if at := strings.Index(places.String(), secret); at >= 0 {
			t.Errorf("%.6s… turns up: %s", secret, places.String()[max(0, at-300):at])
		}
	}
	left, err := os.ReadDir(s.path("tmp"))
	check(t, err)
	for _, entry := range left {
		t.Errorf("%s is left where temporary files are", entry.Name())
	}
}

// A leak is a way in which others repeat secrets.
type leak struct {
	what  string
	begin func(t *testing.T, i *issuertest.Issuer)
}

func leaks(s *site) []leak {
	answering := func(what string, answer func(sent string) (status int, contentType, body string)) leak {
		return leak{what, func(_ *testing.T, i *issuertest.Issuer) {
			i.Change(func(b *issuertest.Behaviour) {
				b.ServeToken = func(w http.ResponseWriter, r *http.Request) {
					status, contentType, body := answer(sentBy(r))
					w.Header().Set("Content-Type", contentType)
					w.WriteHeader(status)
					fmt.Fprint(w, body)
				}
			})
		}}
	}
	return []leak{
		answering("an error of OAuth", func(sent string) (int, string, string) {
			return 400, "application/json", fmt.Sprintf(`{"error":"invalid_scope","error_description":%[1]q,"error_uri":%[1]q}`, sent)
		}),
		answering("an error of no standard", func(sent string) (int, string, string) {
			return 401, "application/json", fmt.Sprintf(`{"error":%q}`, sent)
		}),
		answering("an error page", func(sent string) (int, string, string) { return 500, "text/html", "<html>" + sent }),
		answering("a page", func(sent string) (int, string, string) { return 200, "text/html", "<html>" + sent }),
		answering("a redirect", func(sent string) (int, string, string) { return 302, "text/html", sent }),
		answering("a token with a line end", func(sent string) (int, string, string) {
			return 200, "application/json", fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, "a\n"+sent)
		}),
		answering("a type of its own", func(sent string) (int, string, string) {
			return 200, "application/json", fmt.Sprintf(`{"access_token":"a","token_type":%q,"expires_in":%[1]q}`, sent)
		}),
		{"programs and files", func(t *testing.T, i *issuertest.Issuer) {
			i.Change(func(b *issuertest.Behaviour) { b.ServeToken = nil })
			put(t, s.path("program"), fmt.Sprintf("echo the token is %[1]s; echo password=%[1]s >&2; exit 1", leakySecrets["printed"]))
			put(t, s.path("upstream"), "the token is "+leakySecrets["upstream"])
			put(t, s.path("subject"), "the token is "+leakySecrets["subject"])
		}},
	}
}

// sentBy is all that a request has to tell, secrets and all.
func sentBy(r *http.Request) string {
	sent, _ := url.QueryUnescape(r.PostForm.Encode())
	user, password, _ := r.BasicAuth()
	return strings.Join([]string{sent, user, password, r.Header.Get("Authorization")}, " ")
}

// keptOf is all that the agent keeps across restarts, but for the refresh tokens.
func keptOf(t *testing.T, s *site) string {
	t.Helper()
	var all strings.Builder
	kept := 0
	check(t, filepath.WalkDir(s.path("state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains(strings.Split(path, "/"), "refresh") {
			return err
		}
		kept++
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	}))
	if kept < 2 {
		t.Error("the agent keeps nothing")
	}
	return all.String()
}
