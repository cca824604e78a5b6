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

func TestHTCondorsConfigurationIsAskedOnce(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	fakeProgram(t, "condor_config_val", fmt.Sprintf(`
echo "$#:$1" >> %s
case "$1" in
TRUST_DOMAIN) echo "Configuration Warning: a file has gone" >&2; echo pool.example.org ;;
EMPTY) echo ;;
LINES) echo one; echo two ;;
ENDLESS) exec yes ;;
*) echo "Not defined: $1" >&2; exit 1 ;;
esac`, asked))
	knob := condorKnob()
	for name, want := range map[string]string{
		"TRUST_DOMAIN": "pool.example.org",
		"EMPTY":        "",
		"LINES":        "condor_config_val gave more than one line",
		"ENDLESS":      "condor_config_val: ",
		"NOWHERE":      `condor_config_val: exit status 1 ("Not defined: NOWHERE")`,
		"$(id) x":      `condor_config_val: exit status 1 ("Not defined: $(id) x")`,
	} {
		for range 2 {
			got, err := knob(name)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, want) || len(got) > 400 {
				t.Errorf("%s is %.400q, want %q", name, got, want)
			}
		}
	}
	if got := strings.Count(readFile(t, asked), "\n"); got != 6 {
		t.Errorf("it was asked %d times", got)
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
		for _, knob := range []string{"A", "B", "A"} {
			_, err := config.ask("condor_config_val", knob)
			if want := "condor_config_val: no answer within " + spoken(patience); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", knob, err, want)
			}
		}
	}
	if got := readFile(t, asked); got != "A\n" {
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
	fakeProgram(t, "condor_config_val", fmt.Sprintf(`
case "$1" in
TRUST_DOMAIN) echo pool.example.org ;;
SEC_TOKEN_POOL_SIGNING_KEY_FILE) echo %s ;;
*) exit 1 ;;
esac`, key))
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
	_, faults := here.read(false)
	if got := faults.Error(); !strings.Contains(got, "TRUST_DOMAIN: HTCondor is not installed here") {
		t.Errorf("got %s", got)
	}
}
