package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// fakeCondor puts a program of that name first in PATH, which tells these knobs as
// condor_config_val -macro does, after it has run the shell's commands.
func fakeCondor(t *testing.T, name, commands string, knobs map[string]string) {
	t.Helper()
	var cases strings.Builder
	for knob, value := range knobs {
		fmt.Fprintf(&cases, "%s) echo '%[1]s=%s' ;;\n", knob, value)
	}
	fakeProgram(t, name, commands+`
[ "$1" = -macro ] && shift
for asked; do
case "${asked%%=*}" in
`+cases.String()+`'$INT(SEC_TOKEN_MAX_AGE)') echo 3600 ;;
*) echo "${asked%%=*}=" ;;
esac
done
`)
}

func TestAPoolIsCheckedByWhatHTCondorSays(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "site.key")
	writeFile(t, key, []byte("hello"))
	fakeCondor(t, "condor_config_val", "", map[string]string{"TRUST_DOMAIN": "pool.example.org", "SEC_TOKEN_POOL_SIGNING_KEY_FILE": key})
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
	fakeProgram(t, "condor_token_fetch", "exit 1")
	const source = "source \"htcondor_fetch\" %q {\n  token_dir = \"%s/held\"\n}\n"
	const token = "token \"t\" {\n  source = source.htcondor_fetch.pool\n  subject = \"a@pool.example\"\n  scope = [\"condor:/READ\"]\n  sink \"file\" {\n    path = \"%s/%s/10-pool\"\n    create_dir = true\n  }\n}\n"
	for name, c := range map[string]struct{ text, want string }{
		"apart":                {fmt.Sprintf(source+token, "pool", dir, dir, "tokens"), ""},
		"two sources":          {fmt.Sprintf(source+source+token, "pool", dir, "other", dir, dir, "tokens"), "source.htcondor_fetch.pool keeps its token in " + dir + "/held"},
		"a sink in the folder": {fmt.Sprintf(source+token, "pool", dir, dir, "held"), "would ask with this one in its place"},
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

// A server tells of a new key only from the second connection on: the first level is
// asked for without a token (seen with HTCondor 23.9.6).
func TestAPoolThatHasJustLearntAKeyIsAskedAgain(t *testing.T) {
	const refused = "#AUTHENTICATE:1003:Failed to authenticate with any method|AUTHENTICATE:1004:Failed to authenticate using IDTOKENS\n# READ command to X is DENIED\n"
	const allowed = "# READ command to X is ALLOWED\nAuthMethods = \"IDTOKENS\"\nMyRemoteUserName = \"a@pool.example\"\n"
	const denied = "#SECMAN:2010:Received \"DENIED\" from server for user a@pool.example using method IDTOKENS.\n# WRITE command to X is DENIED\n"
	for name, c := range map[string]struct {
		second  string
		grave   bool
		unknown bool
	}{
		"then it knows the key":   {allowed, false, false},
		"and still does not know": {refused, true, true},
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "1"), []byte(refused+denied))
		writeFile(t, filepath.Join(dir, "2"), []byte(c.second+denied))
		fakeProgram(t, "condor_ping", fmt.Sprintf("cd %s; if [ -e asked ]; then cat 2; else touch asked; cat 1; fi", dir))
		h, err := ping{pool: "cm.example.org", kind: "COLLECTOR", method: "IDTOKENS"}.ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.judge(nil, nil)
		text := fmt.Sprint(h.Findings)
		if h.ill() != c.grave || strings.Contains(text, "could not authenticate for READ") != c.unknown || strings.Contains(text, "allows nothing") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
