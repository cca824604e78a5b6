package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

func TestHTCondorsConfigurationIsAskedOnce(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	fakeCondor(t, "condor_config_val", `echo "Configuration Warning: a file has gone" >&2; echo "$1 $2" >> `+asked, map[string]string{
		"TRUST_DOMAIN": "pool.example.org", "SEC_TOKEN_MAX_AGE": "3600 + 0",
	})
	knob := condorKnob()
	for name, want := range map[string]string{
		"TRUST_DOMAIN":        "pool.example.org",
		"SEC_TOKEN_MAX_AGE":   "3600",
		"SEC_TOKEN_DIRECTORY": "it is not set",
		"NOWHERE":             "condor_config_val was not asked for NOWHERE",
	} {
		for range 2 {
			got, err := knob(name)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
	if got := readFile(t, asked); got != "-macro DAEMON_LIST=$(DAEMON_LIST)\n-macro $INT(SEC_TOKEN_MAX_AGE)\n" {
		t.Errorf("it was asked\n%s", got)
	}
}

func TestAnswersThatMakeNoSenseAreRefused(t *testing.T) {
	for script, want := range map[string]string{
		"echo one; echo two": "condor_config_val: unexpected answer",
		"exec yes":           "condor_config_val: ",
		`echo "TRUST_DOMAIN=a"; echo "TRUST_DOMAIN=b"`: "condor_config_val: unexpected answer",
		`echo "ERROR: no configuration" >&2; exit 1`:   `condor_config_val: exit status 1 ("ERROR: no configuration")`,
	} {
		fakeProgram(t, "condor_config_val", script)
		if got, err := condorKnob()("TRUST_DOMAIN"); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%s: %q, %.400v", script, got, err)
		}
	}
}

func TestAProgramThatHangsIsAskedOnceAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	asked, pipe := filepath.Join(dir, "asked"), filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	fakeProgram(t, "condor_config_val", fmt.Sprintf(`
sleep 1000 >%s &
echo "$1" >> %s
wait`, pipe, asked))
	held, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for patience := time.Second; !exists(asked) && patience < longest; patience *= 2 { // until it has begun
		config := newCondorConfig(t.Context())
		config.patience = patience
		for _, knob := range []string{"TRUST_DOMAIN", "UID_DOMAIN", "TRUST_DOMAIN"} {
			_, err := config.ask("condor_config_val", knob)
			if want := "condor_config_val: no answer within " + spoken(patience); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", knob, err, want)
			}
		}
	}
	if got := readFile(t, asked); got != "-macro\n" {
		t.Errorf("asked for %q", got)
	}
	// The pipe ends when nobody holds its other side: the sleep is gone.
	_ = held.SetReadDeadline(time.Now().Add(longest))
	if n, err := held.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("what it started still runs: %v", err)
	}
}

func TestWithoutHTCondorNobodyIsAsked(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if condorKnob() != nil {
		t.Error("there is somebody to ask")
	}
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
		if (h.ill() != nil) != c.grave || strings.Contains(text, "could not authenticate for READ") != c.unknown || strings.Contains(text, "allows nothing") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
