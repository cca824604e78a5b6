package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A keyPage runs the commands of docs/htcondor.md on the manager of a pool and on a
// client of it.
type keyPage struct {
	*pool
	sections map[string]string
}

func newKeyPage(t *testing.T) keyPage {
	t.Helper()
	p := newPool(t)
	check(t, os.Mkdir(p.path("keys"), 0o700))
	check(t, os.Mkdir(p.path("tokens"), 0o700))
	check(t, os.Chmod(p.path("manager"), 0o755))
	check(t, os.Chmod(p.path("manager/config"), 0o644)) // condor_reconfig reads it as HTCondor's user
	return keyPage{p, sections(strings.ReplaceAll(readFile(t, filepath.Join(root, "docs/htcondor.md")), "\n   ", "\n"))}
}

// does runs the n-th block of commands of a section. There is one host for both, so
// that nobody needs sudo or scp, and its folders are the pool's.
func (p keyPage) does(t *testing.T, section string, n int) {
	t.Helper()
	blocks := fenced(p.sections[section], "sh")
	if n >= len(blocks) {
		t.Fatalf("%q has the commands %q", section, blocks)
	}
	there := strings.NewReplacer("/etc/condor/passwords.d", p.path("manager/passwords.d"), "/etc/tokenagent/keys", p.path("keys"))
	script := "set -e\nsudo() { \"$@\"; }\nscp() { cp \"${1#*:}\" \"$2\"; }\n" + there.Replace(blocks[n])
	c := p.command("manager", "/bin/sh", "-c", script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", blocks[n], err, out)
	}
}

// configures writes the agent's configuration, with that key.
func (p keyPage) configures(t *testing.T, key string) {
	t.Helper()
	put(t, p.path("new.hcl"), fmt.Sprintf(agentBlock+`source "htcondor" "pool" {
  key_file     = "${path.config}/keys/%s"
  trust_domain = "pool.example"
}
token "ap1" {
  source  = source.htcondor.pool
  subject = "schedd@pool.example"
  scope   = ["condor:/READ", "condor:/ADVERTISE_SCHEDD"]
  sink "file" { path = "${path.config}/tokens/10-pool" }
}
`, key))
	check(t, os.Rename(p.path("new.hcl"), p.path("keys.hcl")))
}

// signedWith is the name of the key of the token that lies there; "" for none.
func (p keyPage) signedWith() string {
	text, err := os.ReadFile(p.path("tokens/10-pool"))
	if err != nil {
		return ""
	}
	token, err := profile.Decode(strings.TrimSpace(string(text)))
	if err != nil {
		return err.Error()
	}
	kid, _ := token.Header["kid"].(string)
	return kid
}

// takes reports whether the collector takes the token.
func (p keyPage) takes(t *testing.T, folder string) bool {
	t.Helper()
	allowed, identity := p.granted(t, folder)
	if len(allowed) > 0 && (identity != "schedd@pool.example" || !slices.Equal(allowed, []string{"READ", "ADVERTISE_SCHEDD"})) {
		t.Errorf("the collector grants %v to %s", allowed, identity)
	}
	return len(allowed) > 0
}

// starts runs the agent until the test ends.
func (p keyPage) starts(t *testing.T) (log *hosttest.Buffer) {
	t.Helper()
	run := p.tokenagent(t.Context(), "run", "--config", p.path("keys.hcl"))
	log = new(hosttest.Buffer)
	run.Stderr = log
	check(t, launch(run))
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait()
		if t.Failed() {
			t.Logf("the agent says\n%s", log)
		}
	})
	return log
}

// As docs/htcondor.md says: a key of a new name, then key_file, then the old one goes.
// A client that connects all the while is never refused.
func TestAKeyIsChangedAtAPoolWithoutAFailure(t *testing.T) {
	t.Parallel()
	p := newKeyPage(t)
	p.does(t, "One key for each host", 0)
	p.does(t, "One key for each host", 1)
	if mode := modeOf(t, p.path("keys/ap1")); mode != 0o600 {
		t.Errorf("the key has mode %v", mode)
	}
	p.configures(t, "ap1")
	p.starts(t)
	eventually(t, "a token of the first key", func() bool { return p.signedWith() == "ap1" && p.takes(t, p.path("tokens")) })
	check(t, os.CopyFS(p.path("old"), os.DirFS(p.path("tokens"))))
	check(t, os.Chmod(p.path("old/10-pool"), 0o600))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	asked, refused := make(chan int), 0
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if !p.takes(t, p.path("tokens")) {
				refused++
			}
		}
		asked <- n
	}()
	p.does(t, "Changing a key", 0)
	p.does(t, "Changing a key", 1)
	p.configures(t, "ap1-2")
	eventually(t, "a token of the second key", func() bool { return p.signedWith() == "ap1-2" })
	if !p.takes(t, p.path("tokens")) || !p.takes(t, p.path("old")) {
		t.Error("the pool does not take the tokens of both keys")
	}
	p.does(t, "Changing a key", 2)
	if !p.takes(t, p.path("tokens")) || p.takes(t, p.path("old")) {
		t.Error("the pool takes the token of the key that has gone, or not that of the new one")
	}
	stop()
	if n := <-asked; n < 3 || refused > 0 {
		t.Errorf("of %d connections %d were refused", n, refused)
	} else {
		t.Logf("%d connections during the change, none refused", n)
	}
}

// Each expression of docs/htcondor.md revokes what it says, and nothing else.
func TestTokensAreRevokedAtAPool(t *testing.T) {
	t.Parallel()
	p := newKeyPage(t)
	p.does(t, "One key for each host", 0)
	p.does(t, "One key for each host", 1)
	p.configures(t, "ap1")
	once := func(folder string) (jti string) {
		t.Helper()
		if out, err := p.tokenagent(t.Context(), "once", "--force", "--config", p.path("keys.hcl")).CombinedOutput(); err != nil {
			t.Fatalf("once: %v\n%s", err, out)
		}
		check(t, os.CopyFS(p.path(folder), os.DirFS(p.path("tokens"))))
		check(t, os.Chmod(p.path(folder+"/10-pool"), 0o600))
		token, err := profile.Decode(strings.TrimSpace(readFile(t, p.path(folder+"/10-pool"))))
		check(t, err)
		jti, _ = token.Claims["jti"].(string)
		return jti
	}
	first := once("first")
	once("second")
	shown := revocations(p.sections["Revoking tokens"])
	if len(shown) != 2 {
		t.Fatalf("the page shows the expressions %q", shown)
	}
	expression := func(args ...string) string {
		t.Helper()
		command := append([]string{"history", "--living", "--revoke-expression", "--config", p.path("keys.hcl")}, args...)
		out, err := p.tokenagent(t.Context(), command...).Output()
		if err != nil {
			t.Fatalf("%v: %v", command, err)
		}
		return "SEC_TOKEN_REVOCATION_EXPR = " + strings.TrimSpace(string(out))
	}
	config := readFile(t, p.path("manager/config"))
	for _, test := range []struct {
		expression    string
		first, second bool // whether it is taken
	}{
		{strings.NewReplacer("schedd@ap1.example.org", "schedd@pool.example", "1800000000", "1700000000").Replace(shown[0]), true, true}, // signed later
		{strings.NewReplacer("schedd@ap1.example.org", "schedd@pool.example", "1800000000", fmt.Sprint(time.Now().Unix()+1)).Replace(shown[0]), false, false},
		{strings.NewReplacer("0123456789abcdef0123456789abcdef", first).Replace(shown[1]), false, true},
		{expression("--jti", first), false, true},
		{expression("--key", "ap1"), false, false},
	} {
		put(t, p.path("manager/config"), config+test.expression+"\n")
		p.does(t, "Revoking tokens", 1)
		if got := [2]bool{p.takes(t, p.path("first")), p.takes(t, p.path("second"))}; got != [2]bool{test.first, test.second} {
			t.Errorf("with %s the tokens are taken: %v", test.expression, got)
		}
	}
}

// revocations are the lines of the configuration that a section shows.
func revocations(section string) (lines []string) {
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "SEC_TOKEN_REVOCATION_EXPR =") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// What a GlideinWMS frontend publishes takes the rights that its examples give: DAEMON
// for the ads of a kind of its own, at the user pool, and ADVERTISE_MASTER for its
// requests, at the factory's.
func TestAFrontendMayPublishWithTheTokensOfItsExamples(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	put(t, p.path("generic"), "MyType = \"glideresource\"\nName = \"resource@frontend\"\n")
	put(t, p.path("master"), "MyType = \"glideclient\"\nName = \"client@frontend\"\nMyAddress = \"<127.0.0.1:1>\"\n")
	var text strings.Builder
	fmt.Fprintf(&text, "source \"htcondor\" \"pool\" {\n  key_file = %q\n  trust_domain = %q\n}\n", p.path("manager/passwords.d/POOL"), poolDomain)
	scopes := map[string]string{}
	for name, example := range map[string]string{"frontend": "frontend", "factory": "factory"} {
		_, block, found := strings.Cut(readFile(t, filepath.Join(root, "examples/configs/gwms-frontend.hcl")), fmt.Sprintf("token %q {", example))
		_, scope, _ := strings.Cut(block, "scope   = ")
		scopes[name], _, _ = strings.Cut(scope, "\n")
		if !found || !strings.HasPrefix(scopes[name], "[") {
			t.Fatalf("the example gives %s %q", name, scopes[name])
		}
		check(t, os.Mkdir(p.path(name), 0o700))
		fmt.Fprintf(&text, "token %q {\n  source = source.htcondor.pool\n  subject = \"frontend@pool.example\"\n  scope = %s\n  sink \"file\" {\n    path = %q\n  }\n}\n", name, scopes[name], p.path(name+"/token"))
	}
	put(t, p.path("frontend.hcl"), text.String())
	if out, err := p.tokenagent(t.Context(), "once", "--config", p.path("frontend.hcl")).CombinedOutput(); err != nil {
		t.Fatalf("once: %v\n%s", err, out)
	}
	for _, test := range []struct {
		token, command, ad string
		want               bool
	}{
		{"frontend", "UPDATE_AD_GENERIC", "generic", true},
		{"factory", "UPDATE_AD_GENERIC", "generic", false},
		{"factory", "UPDATE_MASTER_AD", "master", true},
		{"frontend", "UPDATE_MASTER_AD", "master", false},
	} {
		c := p.command("client", condorHome+"/usr/sbin/condor_advertise", "-tcp", test.command, p.path(test.ad))
		c.Env = append(c.Env, "_condor_SEC_TOKEN_DIRECTORY="+p.path(test.token), "_condor_SEC_CLIENT_AUTHENTICATION_METHODS=IDTOKENS")
		out, _ := c.CombinedOutput()
		if sent := strings.Contains(string(out), "Sent 1 of 1 ad"); sent != test.want {
			t.Errorf("with the token %s, %s: sent: %v\n%s", test.token, test.command, sent, out)
		}
	}
}
