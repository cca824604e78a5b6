package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// The agent and its commands, as a person types them, at issuers that others
// wrote.

const (
	realParts = "../../sources/testdata"
	storage   = "https://storage.example.org" // the service that the tokens are for
)

// robotToken is a token of a source "it" of that kind with those lines; both have
// lines that every issuer of ours takes.
func robotToken(kind, lines string) string {
	return fmt.Sprintf(`
source %q "it" {
%s  audience_parameter = "resource"
}
token "robot" {
  source   = source.%s.it
  profile  = "wlcg"
  audience = [%q]
  scope    = ["storage.read:/"]
  sink "file" {
    path = "${path.config}/robot"
  }
}
`, kind, lines, kind, storage)
}

func TestCommandsAtAnIssuer(t *testing.T) {
	t.Parallel()
	p := issuertest.StartOIDCProvider(t, realParts)
	s := newSite(t, robotToken("client_credentials", p.Client("private_key_jwt")))
	site, token := s.path("site.hcl"), s.path("robot")
	verify := []string{"token", "verify", "--ca-file", p.CA.File, "--issuer", p.URL}

	out := types(t, 0, "check", "--online", "--issue", "--config", site)
	for _, line := range []string{"its issuer is " + p.URL, "keys +1 key at", "private_key_jwt is offered", "scope +storage.read:/, as asked", "audience +" + storage + ", as asked"} {
		if !regexp.MustCompile("ok .*" + line).MatchString(out) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
	if _, err := os.Stat(token); err == nil {
		t.Error("check has written a token")
	}
	types(t, 0, "once", "--config", site)
	types(t, 0, append(verify, "--audience", storage, token)...)
	types(t, 1, append(verify, "--audience", "https://other.example.org", token)...)

	more := s.path("more")
	put(t, more, tampered(t, readFile(t, token), "storage.read:/", "storage.modify:/"))
	if out := types(t, 1, append(verify, more)...); !strings.Contains(out, "signature") {
		t.Errorf("of a token with more power than was signed it says\n%s", out)
	}
	put(t, more, types(t, 0, "token", "create", "--config", site, "robot"))
	types(t, 0, append(verify, more)...)
}

func TestAgentGoesOnWhateverItsIssuerDoes(t *testing.T) {
	t.Parallel()
	p := issuertest.StartOIDCProvider(t, realParts)
	s := newSite(t, "")
	secret := s.path("secret")
	put(t, secret, "not-the-one\n")
	s.configure(t, robotToken("client_credentials", strings.ReplaceAll(p.Client("client_secret_basic"), p.SecretFile, secret)))

	// The secret is wrong: only a corrected one makes the agent try again soon.
	s.start(t)
	for range 3 {
		failsAs(t, s, "configuration", "invalid_client")
	}
	put(t, secret, readFile(t, p.SecretFile))
	recovers(t, s)
	good := readFile(t, s.path("robot"))

	// The scope comes back narrower: the token in place stays.
	p.Act(t, issuertest.Ways{Scope: "compute.read"})
	failsAs(t, s, "configuration", "storage.read:/")
	p.Act(t, issuertest.Ways{})

	// The keys are rotated: the agent looks at them again.
	kid := p.RotateKey(t)
	renews(t, s)
	if token, err := profile.Decode(strings.TrimSpace(readFile(t, s.path("robot")))); err != nil || token.Header["kid"] != kid {
		t.Errorf("the token is signed with %v, %v; the issuer's key is %s", token.Header["kid"], err, kid)
	}
	if readFile(t, s.path("robot")) == good {
		t.Error("the token is still the first")
	}
	good = readFile(t, s.path("robot"))

	// It is overloaded, and says for how long: longer than the agent would wait.
	p.Act(t, issuertest.Ways{Failures: 1, RetryAfter: "11"})
	failsAs(t, s, "transient", "503")
	recovers(t, s)
	asked := p.Asked(t)
	if waited := asked[len(asked)-1].Sub(asked[len(asked)-2]); waited < 11*time.Second {
		t.Errorf("it was asked again after %v", waited)
	}
	s.stop(t)
	if n := strings.Count(s.log(t), "works again"); n != 3 {
		t.Errorf("it worked again %d times", n)
	}
	shownNowhere(t, s, "not-the-one", strings.TrimSpace(readFile(t, p.SecretFile)), strings.TrimSpace(good), "The service is busy")
}

func TestLoginGivesTokensUntilSomebodyElseUsesThem(t *testing.T) {
	t.Parallel()
	p := issuertest.StartOIDCProvider(t, realParts)
	s := newSite(t, robotToken("refresh_token", p.Client("none")))
	logIn(t, p, "login", "it", "--scope", "openid", "--config", s.path("site.hcl"))
	stolen := storedToken(t, s)

	// Each renewal uses what the one before has left, across restarts.
	p.Act(t, issuertest.Ways{Lifetime: 20})
	s.start(t)
	s.settled(t)
	first := readFile(t, s.path("robot"))
	eventually(t, "a token that is renewed by itself", func() bool { return readFile(t, s.path("robot")) != first })
	p.Act(t, issuertest.Ways{})
	for range 3 {
		renews(t, s)
	}
	s.stop(t)
	s.start(t)
	s.settled(t)
	renews(t, s)
	if storedToken(t, s) == stolen {
		t.Fatal("the refresh token was never rotated")
	}

	// Somebody uses a token of the past, which ends the family.
	thief := newSite(t, robotToken("refresh_token", p.Client("none")+"  refresh_token_file = \"${path.config}/stolen\"\n"))
	put(t, thief.path("stolen"), stolen)
	types(t, 4, "once", "--timeout", "15s", "--config", thief.path("site.hcl"))
	failing := failsAs(t, s, "configuration", "tokenagent login it --config ")
	if !strings.Contains(s.log(t), "tokenagent login it --config ") {
		t.Error("the log does not name the login")
	}
	_, mend, _ := strings.Cut(failing, "tokenagent login ")
	logIn(t, p, append([]string{"login", "--scope", "openid"}, strings.Fields(mend)...)...)
	recovers(t, s)
	shownNowhere(t, s, stolen, strings.TrimSpace(readFile(t, s.path("robot"))))
}

func TestATokenIsExchangedForAnother(t *testing.T) {
	t.Parallel()
	z := issuertest.StartZitadel(t, realParts)
	block := z.Block("robot", "client_secret_basic")
	s := newSite(t, fmt.Sprintf(`
source "client_credentials" "it" {
%s}
source "token_exchange" "it" {
%s  subject_token_file = "${path.config}/robot"
}
token "robot" {
  source = source.client_credentials.it
  sink "file" {
    path = "${path.config}/robot"
  }
}
token "other" {
  source   = source.token_exchange.it
  audience = ["https://a.example.org", "https://b.example.org"]
  sink "file" {
    path = "${path.config}/other"
  }
}
`, block, block))
	s.start(t)
	s.settled(t)
	types(t, 0, "token", "verify", "--ca-file", z.CA.File, "--issuer", z.URL, "--audience", "https://b.example.org", s.path("other"))
	s.stop(t)
}

func TestManyTokensAreAskedForWithinTheIssuersLimit(t *testing.T) {
	t.Parallel()
	p := issuertest.StartOIDCProvider(t, realParts)
	s := newSite(t, fmt.Sprintf(`
source "client_credentials" "it" {
%s  audience_parameter = "resource"
}
locals {
  services = { for n in range(10) : "s${n}" => "https://s${n}.example.org" }
}
token "one" {
  for_each = local.services
  source   = source.client_credentials.it
  audience = [each.value]
  sink "file" {
    path = "${path.config}/one-${each.key}"
  }
  sink "file" {
    path = "${path.config}/same-${each.key}"
  }
}
`, p.Client("client_secret_post")))
	began := time.Now()
	types(t, 0, "once", "--config", s.path("site.hcl"))
	asked := p.Asked(t)
	if len(asked) != 10 {
		t.Fatalf("it was asked %d times for 10 tokens, each of which two files hold", len(asked))
	}
	if took := asked[len(asked)-1].Sub(began); took < 1790*time.Millisecond { // 9 fifths of a second
		t.Errorf("it was asked 10 times within %v", took)
	}
	if readFile(t, s.path("one-s3")) != readFile(t, s.path("same-s3")) {
		t.Error("the two files hold different tokens")
	}
}

// types runs a command as a person types it, which must end with that code, and
// returns all that it says.
func types(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if got := runHere(args, strings.NewReader(""), &out, &out); got != code {
		t.Fatalf("tokenagent %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, &out)
	}
	return out.String()
}

// renews has the agent ask for the only token of the site, which must succeed.
func renews(t *testing.T, s *site) {
	t.Helper()
	tokens, err := s.client().Refresh(t.Context())
	if err != nil || len(tokens) != 1 || tokens[0].Failing != nil || tokens[0].State != agent.Valid {
		t.Fatalf("got %+v, %v", tokens, err)
	}
}

// recovers waits until nothing fails any more.
func recovers(t *testing.T, s *site) {
	t.Helper()
	eventually(t, "an agent for which nothing fails", func() bool {
		tokens, err := s.client().Status(t.Context())
		return err == nil && tokens[0].State == agent.Valid && tokens[0].Failing == nil
	})
}

// failsAs has the agent ask for the only token of the site, which must fail in that
// way and leave the file as it was; the error comes back.
func failsAs(t *testing.T, s *site, kind, because string) string {
	t.Helper()
	before, _ := os.ReadFile(s.path("robot"))
	var tokens []agent.Status
	eventually(t, "an agent that answers", func() (done bool) {
		var err error
		tokens, err = s.client().Refresh(t.Context())
		return err == nil
	})
	if f := tokens[0].Failing; f == nil || f.Kind != kind || !strings.Contains(f.Error, because) {
		t.Fatalf("got %+v, want that it fails with %q", f, because)
	}
	if after, _ := os.ReadFile(s.path("robot")); !bytes.Equal(before, after) {
		t.Error("the token in place is another")
	}
	return tokens[0].Failing.Error
}

// shownNowhere demands that neither the log nor what is remembered across restarts
// holds one of the secrets.
func shownNowhere(t *testing.T, s *site, secrets ...string) {
	t.Helper()
	files, err := filepath.Glob(s.state("*"))
	check(t, err)
	for _, path := range append(files, s.path("log")) {
		info, err := os.Stat(path)
		check(t, err)
		for _, secret := range secrets {
			if !info.IsDir() && strings.Contains(readFile(t, path), secret) {
				t.Errorf("%s shows %s", path, secret)
			}
		}
	}
}

// logIn runs a login, and is the person whom it tells where to go.
func logIn(t *testing.T, p *issuertest.OIDCProvider, args ...string) {
	t.Helper()
	read, write := io.Pipe()
	code := make(chan int)
	go func() {
		c := runHere(args, strings.NewReader(""), write, write)
		write.Close()
		code <- c
	}()
	var said []string
	for lines := bufio.NewScanner(read); lines.Scan(); {
		said = append(said, lines.Text())
		if open, is := strings.CutPrefix(lines.Text(), "or open "); is {
			p.LetIn(t, strings.TrimSpace(open), "")
		}
	}
	if c := <-code; c != 0 {
		t.Fatalf("tokenagent %s: exit %d\n%s", strings.Join(args, " "), c, strings.Join(said, "\n"))
	}
}

// storedToken is what lies in the state folder for the next renewal.
func storedToken(t *testing.T, s *site) string {
	t.Helper()
	token, err := refresh.NewStore(s.state(""), "it").Read()
	check(t, err)
	return token.Text.Reveal()
}
