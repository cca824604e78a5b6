package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sinks/condor/condortest"
)

func TestAPoolIsCheckedByWhatHTCondorSays(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "site.key")
	writeFile(t, key, []byte("hello"))
	condortest.Config(t, "condor_config_val", "", map[string]string{"TRUST_DOMAIN": "pool.example.org", "SEC_TOKEN_POOL_SIGNING_KEY_FILE": key})
	file := filepath.Join(dir, "tokenagent.hcl")
	writeFile(t, file, []byte(`
source "htcondor" "pool" {}

token "collector" {
  source  = source.htcondor.pool
  subject = "schedd@example.org"
  scope   = ["condor:/READ"]

  sink "file" {
    path = "`+filepath.Join(dir, "10-collector")+`"
  }
}
`))
	succeed(t, "check", "--strict", "--config", file)
	t.Setenv("PATH", dir)
	here := place{configs: []string{file}}
	_, faults := here.read(t.Context(), false)
	if got := faults.Error(); !strings.Contains(got, "TRUST_DOMAIN: HTCondor is not installed here") {
		t.Errorf("got %s", got)
	}
}

// HTCondor's client presents the first token of a folder: another one beside the
// long-lived token would be asked with, and end after one lifetime.
func TestALongLivedTokenHasItsFolderToItself(t *testing.T) {
	dir := t.TempDir()
	condortest.Program(t, "condor_token_fetch", "exit 1")
	const source = "source \"htcondor_fetch\" %q {\n  token_dir = \"%s/held\"\n}\n"
	const token = "token \"t\" {\n  source = source.htcondor_fetch.pool\n  subject = \"a@pool.example\"\n  scope = [\"condor:/READ\"]\n  sink \"file\" {\n    path = \"%s/%s/10-pool\"\n    create_dir = true\n  }\n}\n"
	for name, c := range map[string]struct{ text, want string }{
		"apart":                {fmt.Sprintf(source+token, "pool", dir, dir, "tokens"), ""},
		"two sources":          {fmt.Sprintf(source+source+token, "pool", dir, "other", dir, dir, "tokens"), "source.htcondor_fetch.pool keeps its files in " + dir + "/held"},
		"a sink in the folder": {fmt.Sprintf(source+token, "pool", dir, dir, "held"), "could take the token for one of them"},
	} {
		file := filepath.Join(t.TempDir(), "tokenagent.hcl")
		writeFile(t, file, []byte(c.text))
		here := place{configs: []string{file}}
		_, faults := here.read(t.Context(), false)
		if got := faults.Error(); faults.HasErrors() != (c.want != "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
