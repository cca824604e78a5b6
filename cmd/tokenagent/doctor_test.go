package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// fakeProgram puts a shell script of that name into a folder that is searched first.
func fakeProgram(t *testing.T, name, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestUsersThatOnlyGetentKnows(t *testing.T) {
	fakeProgram(t, "getent", `
case "$3" in
frontend|54321) echo 'frontend:x:54321:54321:GlideinWMS:/var/lib/gwms-frontend:/bin/bash' ;;
*) exit 2 ;;
esac`)
	known := tokendir.User{Name: "frontend", UID: 54321, Home: "/var/lib/gwms-frontend"}
	for name, want := range map[string]tokendir.User{
		"frontend": known,
		"54321":    known,
		"54322":    {UID: 54322},
		"0":        {Name: "root", Home: "/root"},
	} {
		got, ok := userOf(name)
		if name == "0" {
			got.Home = "/root" // wherever this machine has it
		}
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, name := range []string{"stranger", "-1", "4294967295", ""} {
		if u, ok := userOf(name); ok {
			t.Errorf("%q is %+v", name, u)
		}
	}
}

func TestKnobsAreLookedUpInOneAnswer(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	fakeCondor(t, "condor_config_val", `echo "Configuration Warning: a file has gone" >&2; echo asked >> `+asked, map[string]string{"SEC_TOKEN_DIRECTORY": "/srv/tokens"})
	config := newCondorConfig(t.Context())
	system := tokendir.Systems()[0]
	for range 3 {
		if v, ok := config.lookup(system, "SEC_TOKEN_DIRECTORY"); v != "/srv/tokens" || !ok {
			t.Errorf("SEC_TOKEN_DIRECTORY is %q, %v", v, ok)
		}
		if v, ok := config.lookup(system, "SEC_TOKEN_SYSTEM_DIRECTORY"); v != "" || ok {
			t.Errorf("SEC_TOKEN_SYSTEM_DIRECTORY is %q, %v", v, ok)
		}
		if v, ok := config.lookup(system, tokendir.ExcludeKnob); v != "" || !ok {
			t.Errorf("the names to pass over, which somebody has emptied, are %q, %v", v, ok)
		}
	}
	if got := readFile(t, asked); got != "asked\n" {
		t.Errorf("asked for %q", got)
	}
	if v, ok := config.lookup(tokendir.System{Tool: "condor_of_no_name"}, "SEC_TOKEN_DIRECTORY"); ok {
		t.Errorf("a program that is not there says %q", v)
	}
	if len(config.faults) > 0 {
		t.Errorf("it found fault: %q", config.faults)
	}
}

func TestAConfigurationThatCannotBeAskedIsTold(t *testing.T) {
	fakeProgram(t, "condor_config_val", `echo "ERROR: cannot read condor_config" >&2; exit 1`)
	config := newCondorConfig(t.Context())
	for _, knob := range []string{"SEC_TOKEN_DIRECTORY", "SEC_TOKEN_SYSTEM_DIRECTORY"} {
		if v, ok := config.lookup(tokendir.Systems()[0], knob); ok {
			t.Errorf("%s is %q", knob, v)
		}
	}
	want := []string{`the configuration of HTCondor could not be asked, so its defaults were taken: condor_config_val: exit status 1 ("ERROR: cannot read condor_config")`}
	if diff := cmp.Diff(want, config.faults); diff != "" {
		t.Error(diff)
	}
}
