package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/sinks/condor/condortest"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

func TestUsersThatOnlyGetentKnows(t *testing.T) {
	condortest.Program(t, "getent", `
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
