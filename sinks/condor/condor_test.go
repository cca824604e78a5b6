package condor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
	"github.com/tokenagent/tokenagent/sinks/condor/condortest"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

func TestHTCondorsConfigurationIsAskedOnce(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	condortest.Config(t, "condor_config_val", `echo "Configuration Warning: a file has gone" >&2; echo "$1 $2" >> `+asked, map[string]string{
		"TRUST_DOMAIN": "pool.example.org", "SEC_TOKEN_MAX_AGE": "3600 + 0",
	})
	knob := Knob(tokendir.Systems()[0])
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
	if got := text(t, asked); got != "-macro DAEMON_LIST=$(DAEMON_LIST)\n-macro $INT(SEC_TOKEN_MAX_AGE)\n" {
		t.Errorf("it was asked\n%s", got)
	}
}

func TestAnswersAreReadAsHTCondorWritesThem(t *testing.T) {
	condortest.Config(t, "condor_config_val", "", map[string]string{
		"DAEMON_LIST":                     "MASTER\n  COLLECTOR,\nSCHEDD", // DAEMON_LIST @=end
		"LOCAL_CONFIG_DIR_EXCLUDE_REGEXP": "^a=b$(DOLLAR)|(.*)$",
		"TRUST_DOMAIN":                    "pool.example.org",
	})
	knob := Knob(tokendir.Systems()[0])
	for name, want := range map[string]string{
		"DAEMON_LIST":                     "MASTER COLLECTOR, SCHEDD",
		"LOCAL_CONFIG_DIR_EXCLUDE_REGEXP": "^a=b$|(.*)$",
		"TRUST_DOMAIN":                    "pool.example.org",
	} {
		if got, err := knob(name); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestAnswersThatMakeNoSenseAreRefused(t *testing.T) {
	for script, want := range map[string]string{
		"echo one; echo two": "condor_config_val: unexpected answer",
		"exec yes":           "condor_config_val: ",
		`echo "TRUST_DOMAIN=a"; echo "TRUST_DOMAIN=b"`: "condor_config_val: unexpected answer",
		`echo "ERROR: no configuration" >&2; exit 1`:   `condor_config_val: exit status 1 ("ERROR: no configuration")`,
	} {
		condortest.Program(t, "condor_config_val", script)
		if got, err := Knob(tokendir.Systems()[0])("TRUST_DOMAIN"); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
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
	condortest.Program(t, "condor_config_val", fmt.Sprintf(`
sleep 1000 >%s &
echo "$1" >> %s
wait`, pipe, asked))
	held, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for patience := time.Second; text(t, asked) == "" && patience < 2*time.Minute; patience *= 2 { // until it has begun
		config := New(t.Context())
		config.patience = patience
		for _, knob := range []string{"TRUST_DOMAIN", "UID_DOMAIN", "TRUST_DOMAIN"} {
			_, err := config.ask("condor_config_val", knob)
			if want := "condor_config_val: no answer within " + patience.String(); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", knob, err, want)
			}
		}
	}
	if got := text(t, asked); got != "-macro\n" {
		t.Errorf("asked for %q", got)
	}
	// The pipe ends when nobody holds its other side: the sleep is gone.
	_ = held.SetReadDeadline(time.Now().Add(2 * time.Minute))
	if n, err := held.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("what it started still runs: %v", err)
	}
}

func TestWithoutHTCondorNobodyIsAsked(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if Knob(tokendir.Systems()[0]) != nil {
		t.Error("there is somebody to ask")
	}
}

func TestKnobsAreLookedUpInOneAnswer(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	condortest.Config(t, "condor_config_val", `echo "Configuration Warning: a file has gone" >&2; echo asked >> `+asked, map[string]string{"SEC_TOKEN_DIRECTORY": "/srv/tokens"})
	config := New(t.Context())
	system := tokendir.Systems()[0]
	for range 3 {
		if v, ok := config.Lookup(system, "SEC_TOKEN_DIRECTORY"); v != "/srv/tokens" || !ok {
			t.Errorf("SEC_TOKEN_DIRECTORY is %q, %v", v, ok)
		}
		if v, ok := config.Lookup(system, "SEC_TOKEN_SYSTEM_DIRECTORY"); v != "" || ok {
			t.Errorf("SEC_TOKEN_SYSTEM_DIRECTORY is %q, %v", v, ok)
		}
		if v, ok := config.Lookup(system, tokendir.ExcludeKnob); v != "" || !ok {
			t.Errorf("the names to pass over, which somebody has emptied, are %q, %v", v, ok)
		}
	}
	if got := text(t, asked); got != "asked\n" {
		t.Errorf("asked for %q", got)
	}
	if v, ok := config.Lookup(tokendir.System{Tool: "condor_of_no_name"}, "SEC_TOKEN_DIRECTORY"); ok {
		t.Errorf("a program that is not there says %q", v)
	}
	if len(config.Faults()) > 0 {
		t.Errorf("it found fault: %q", config.Faults())
	}
}

func TestAConfigurationThatCannotBeAskedIsTold(t *testing.T) {
	condortest.Program(t, "condor_config_val", `echo "ERROR: cannot read condor_config" >&2; exit 1`)
	config := New(t.Context())
	for _, knob := range []string{"SEC_TOKEN_DIRECTORY", "SEC_TOKEN_SYSTEM_DIRECTORY"} {
		if v, ok := config.Lookup(tokendir.Systems()[0], knob); ok {
			t.Errorf("%s is %q", knob, v)
		}
	}
	want := []string{`the configuration of HTCondor could not be asked, so its defaults were taken: condor_config_val: exit status 1 ("ERROR: cannot read condor_config")`}
	if diff := cmp.Diff(want, config.Faults()); diff != "" {
		t.Error(diff)
	}
}
func TestHTCondorsProgramsHaveNoTerminal(t *testing.T) {
	if !hosttest.InTerminal(t) {
		return
	}
	condortest.Program(t, "condor_config_val", `(: </dev/tty) 2>/dev/null && echo opens || echo none`)
	if got, err := New(t.Context()).output("condor_config_val"); got != "none" {
		t.Errorf("a terminal %s, %v", got, err)
	}
}

// text is that of the file; "" where it is not there.
func text(t *testing.T, path string) string {
	t.Helper()
	read, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(read)
}
