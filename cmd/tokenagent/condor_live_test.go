package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// implied are the levels that HTCondor grants with one that a token names.
var implied = map[string][]string{
	"WRITE":            {"READ"},
	"DAEMON":           {"READ", "WRITE"},
	"NEGOTIATOR":       {"READ"},
	"ADMINISTRATOR":    {"READ", "WRITE"},
	"ADVERTISE_MASTER": {"READ"},
	"ADVERTISE_STARTD": {"READ"},
	"ADVERTISE_SCHEDD": {"READ"},
}

func TestAPoolGrantsExactlyWhatATokenSays(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	scopes := [][]string{{"READ", "WRITE"}, {"READ", "ADVERTISE_MASTER", "ADVERTISE_SCHEDD"}, {"READ", "WRITE", "DAEMON"}}
	for _, level := range levels {
		scopes = append(scopes, []string{level})
	}
	var text strings.Builder
	fmt.Fprintf(&text, "agent {\n  state_dir = \"${path.config}/state\"\n}\nsource \"htcondor\" \"pool\" {\n  key_file = %q\n  key_id = \"POOL\"\n  trust_domain = %q\n}\n", p.path("manager/passwords.d/POOL"), poolDomain)
	for i, scope := range scopes {
		check(t, os.Mkdir(p.path(fmt.Sprintf("tokens%d", i)), 0o700))
		fmt.Fprintf(&text, "token \"t%d\" {\n  source = source.htcondor.pool\n  subject = \"t%[1]d@pool.example\"\n  scope = [\"condor:/%s\"]\n  sink \"file\" {\n    path = \"%s/tokens%[1]d/token\"\n  }\n}\n",
			i, strings.Join(scope, `", "condor:/`), p.folder)
	}
	put(t, p.path("all.hcl"), text.String())
	if out, err := p.tokenagent(t.Context(), "once", "--config", p.path("all.hcl")).CombinedOutput(); err != nil {
		t.Fatalf("once: %v\n%s", err, out)
	}
	for i, scope := range scopes {
		want := slices.Clone(scope)
		for _, level := range scope {
			want = append(want, implied[level]...)
		}
		got, identity := p.granted(t, p.path(fmt.Sprintf("tokens%d", i)))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, slices.Compact(want)) || identity != fmt.Sprintf("t%d@pool.example", i) {
			t.Errorf("scope %v: the collector grants %v to %s", scope, got, identity)
		}
	}
}

// An access point without the pool's key: a person asks once for a long-lived
// token, an administrator approves, and the agent fetches short ones with it, again
// and again beyond the life of the first.
func TestTokensAreFetchedFromAPoolForEver(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	check(t, os.Mkdir(p.path("tokens"), 0o700))
	put(t, p.path("fetch.hcl"), fmt.Sprintf(agentBlock+`source "htcondor_fetch" "pool" {
  token_dir = "${path.config}/condor/requested"
  pool      = "localhost:%d"
  type      = "COLLECTOR"
}
token "schedd" {
  source   = source.htcondor_fetch.pool
  subject  = "schedd@pool.example"
  scope    = ["condor:/READ", "condor:/ADVERTISE_SCHEDD"]
  lifetime = "30s"
  sink "file" { path = "${path.config}/tokens/pool" }
}
`, p.port))
	p.closeTheTerminalOfALogin(t)
	if said := p.login(t); !strings.Contains(said, "it ends in 23h") && !strings.Contains(said, "it ends in 1d") {
		t.Errorf("login does not tell when the token ends:\n%s", said)
	}
	if path := p.path("condor/requested/requested"); modeOf(t, path) != 0o600 {
		t.Errorf("%s has mode %v", path, modeOf(t, path))
	}
	// what this host's HTCondor says of its tools does not matter
	config := readFile(t, p.path("client/config"))
	put(t, p.path("client/config"), config+"TOOL.SEC_TOKEN_DIRECTORY = /nonexistent\nTOOL.SEC_CLIENT_AUTHENTICATION_METHODS = FS\nTOOL.SEC_CLIENT_AUTHENTICATION = NEVER\n")

	run := p.tokenagent(t.Context(), "run", "--config", p.path("fetch.hcl"))
	log := new(hosttest.Buffer)
	run.Stderr = log
	check(t, launch(run))
	t.Cleanup(func() { _ = run.Process.Kill(); _ = run.Wait() })
	seen := map[string]bool{}
	var first, last time.Time
	eventuallyWithin(t, 5*time.Minute, "the fifth token, beyond the life of the first", func() bool {
		text, err := os.ReadFile(p.path("tokens/pool"))
		if err != nil || seen[string(text)] {
			return false
		}
		seen[string(text)] = true
		decoded, err := profile.Decode(strings.TrimSpace(string(text)))
		check(t, err)
		expires, _ := profile.Instant(decoded.Claims["exp"])
		if first.IsZero() {
			first = expires
		}
		if !expires.After(last) {
			t.Errorf("a token that ends %v comes after one that ends %v", expires, last)
		}
		last = expires
		return len(seen) >= 5 && time.Now().After(first)
	})
	put(t, p.path("client/config"), config)
	if got, identity := p.granted(t, p.path("tokens")); !slices.Equal(got, []string{"READ", "ADVERTISE_SCHEDD"}) || identity != "schedd@pool.example" {
		t.Errorf("the collector grants %v to %s\n%s", got, identity, log)
	}
	out, err := p.tokenagent(t.Context(), "status", "--config", p.path("fetch.hcl")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "source.htcondor_fetch.pool asks with a token that ends in 23h") {
		t.Errorf("status does not tell when the requested token ends: %v\n%s", err, out)
	}
}

// asks starts a login as a person does, and waits for the number of its request.
func (p *pool) asks(t *testing.T) (login *exec.Cmd, said *hosttest.Buffer, number string) {
	t.Helper()
	login, said = p.tokenagent(t.Context(), "login", "pool", "--config", p.path("fetch.hcl"), "--lifetime", "1d"), new(hosttest.Buffer)
	login.Stdout, login.Stderr = said, said
	check(t, launch(login))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("login said:\n%s", said)
		}
	})
	eventuallyWithin(t, 3*time.Minute, "login says the number of the request", func() bool {
		_, rest, found := strings.Cut(said.String(), "-reqid ")
		number, _, _ = strings.Cut(rest, "\n")
		return found && strings.Contains(rest, "\n")
	})
	return login, said, number
}

// closeTheTerminalOfALogin leaves no condor_token_request waiting.
func (p *pool) closeTheTerminalOfALogin(t *testing.T) {
	t.Helper()
	waiting := func() bool {
		return exec.Command("pgrep", "-f", "condor_token_request .*-pool "+p.address()+" ").Run() == nil
	}
	for _, end := range []syscall.Signal{syscall.SIGHUP, syscall.SIGKILL} {
		login, _, _ := p.asks(t)
		if !waiting() {
			t.Error("nothing waits for an administrator")
		}
		check(t, login.Process.Signal(end))
		_ = login.Wait()
		eventually(t, "condor_token_request ends", func() bool { return !waiting() })
	}
}

// login asks for the long-lived token as a person does, and approves it as an
// administrator does. It returns what the person was told.
func (p *pool) login(t *testing.T) string {
	t.Helper()
	login, said, number := p.asks(t)
	approve := p.command("manager", "condor_token_request_approve", "-type", "COLLECTOR", "-reqid", number)
	approve.Stdin = strings.NewReader("yes\n")
	if out, err := approve.CombinedOutput(); err != nil {
		t.Fatalf("approve %q: %v\n%s", number, err, out)
	}
	if err := login.Wait(); err != nil {
		t.Fatalf("login: %v\n%s", err, said)
	}
	return said.String()
}
