package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A key of the issuer comes into use before the server knows it. XRootD refuses the new
// token, so the old one stays and copies go on; when the key is published, the next attempt
// installs the new one. And a command with a typo keeps no token out.
func TestAValidationWithXRootDKeepsATokenOutUntilItsKeyIsPublished(t *testing.T) {
	t.Parallel()
	requireLong(t)
	i := newIssuer(t)
	all := slices.Clone(i.keys.Keys)
	i.publish(all[:1]...)
	check(t, os.Chmod(filepath.Join(i.dir, "ca.pem"), 0o644)) // for the user that the server runs as
	x := newXRootDOf(t, i.url, func(command ...string) []string { return append([]string{"unshare"}, i.masked(command...)...) })
	issue := func(algorithm string) string { return i.issue(t, algorithm, "wlcg", wlcgAny, "storage.read:/") + "\n" }

	s := newSite(t, "")
	command := `["/usr/bin/env", "` + strings.Join(x.client(), `", "`) + `", "xrdcp", "-f", "-s", "` + x.url + `", "/dev/null"]`
	tokens := `
source "file" "upstream" { path = "${path.config}/upstream" }
token "data" {
  source = source.file.upstream
  sink "file" {
    path  = "${path.config}/data"
    owner = "xrootd"
  }
  validate {
    command = COMMAND
  }
}
`
	s.configure(t, strings.ReplaceAll(tokens, "COMMAND", command))
	supply := func(token string) {
		put(t, s.path("next"), token)
		move(t, s.path("next"), s.path("upstream"))
	}
	copies := func(when string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), "xrdcp", "-f", "-s", x.url, x.dir+"/got")
		c.Env = append(x.client(), "PATH="+os.Getenv("PATH"), "BEARER_TOKEN_FILE="+s.path("data"))
		if out, err := c.CombinedOutput(); err != nil || readFile(t, x.dir+"/got") != "what lies there\n" {
			t.Errorf("%s: xrdcp: %v\n%s", when, err, out)
		}
	}
	holds := func(token string) func() bool {
		return func() bool { text, err := os.ReadFile(s.path("data")); return err == nil && string(text) == token }
	}

	first := issue("ES256")
	supply(first)
	s.start(t)
	eventually(t, "the first token", holds(first))
	copies("at first")

	second := issue("RS256")
	supply(second)
	eventually(t, "a validation that fails", func() bool { return strings.Contains(s.log(t), "new token not validated; the one in place is kept") })
	if !holds(first)() {
		t.Error("the token of a key that is not published is in place")
	}
	copies("while the key is not published")

	i.publish(all...)
	caches, err := filepath.Glob(x.dir + "/own/scitokens/*")
	check(t, err)
	for _, cache := range caches { // as after the ten minutes for which XRootD keeps the keys
		check(t, os.Remove(cache))
	}
	eventually(t, "the second token", holds(second))
	copies("after the key was published")

	s.configure(t, strings.ReplaceAll(tokens, "COMMAND", strings.Replace(command, "/usr/bin/env", "/usr/bin/enf", 1)))
	if out, err := s.command(nil, "reload").CombinedOutput(); err != nil {
		t.Fatalf("reload: %v\n%s", err, out)
	}
	third := issue("ES256")
	supply(third)
	eventually(t, "the third token", holds(third))
	copies("with a typo in the command")
	if !strings.Contains(s.log(t), "new token is installed without validation: it cannot be validated") {
		t.Error("the typo is not told")
	}
	s.stop(t)
}

// HTCondor finds the new token, and no other, in the folder that the validation names.
func TestAValidationWithCondorPingKeepsATokenOutThatThePoolRefuses(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	check(t, os.Mkdir(p.path("tokens"), 0o700))
	put(t, p.path("other"), strings.Repeat("another key", 8))
	issue := func(key string) string {
		put(t, p.path("issue.hcl"), fmt.Sprintf(`source "htcondor" "pool" {
  key_file     = %q
  key_id       = "POOL"
  trust_domain = %q
}
token "it" {
  source  = source.htcondor.pool
  subject = "schedd@pool.example"
  scope   = ["condor:/READ"]
}
`, p.path(key), poolDomain))
		out, err := p.tokenagent(t.Context(), "token", "create", "--config", p.path("issue.hcl"), "it").Output()
		check(t, err)
		return string(out)
	}
	put(t, p.path("site.hcl"), fmt.Sprintf(agentBlock+`source "file" "upstream" { path = "${path.config}/upstream" }
token "schedd" {
  source  = source.file.upstream
  profile = "htcondor"
  subject = "schedd@pool.example"
  scope   = ["condor:/READ"]
  sink "file" { path = "${path.config}/tokens/schedd" }
  validate {
    command = ["/usr/bin/env", "CONDOR_CONFIG=%s", "_condor_SEC_CLIENT_AUTHENTICATION_METHODS=IDTOKENS", "%s/condor_ping", "-type", "COLLECTOR", "READ"]
  }
}
`, p.path("client/config"), p.bin))
	once := func(token string) (string, int) {
		put(t, p.path("upstream"), token)
		c := p.tokenagent(t.Context(), "once", "--config", p.path("site.hcl"))
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	good := issue("manager/passwords.d/POOL")
	if out, code := once(good); code != 0 || strings.Contains(out, "without validation") || readFile(t, p.path("tokens/schedd")) != good {
		t.Errorf("of the pool's key: exit %d\n%s", code, out)
	}
	out, code := once(issue("other"))
	if code != exitNotValid || !strings.Contains(out, "condor_ping: exit status") && !strings.Contains(out, "env: exit status") || readFile(t, p.path("tokens/schedd")) != good {
		t.Errorf("of another key: exit %d\n%s", code, out)
	}
	if got, identity := p.granted(t, p.path("tokens")); len(got) == 0 || identity != "schedd@pool.example" {
		t.Errorf("the collector grants %v to %s", got, identity)
	}
}
