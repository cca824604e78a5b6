package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/control"
)

// An agent of another configuration, at the place where agents answer whose
// configuration names none, is not asked in the stead of the right one.
func TestTheAgentOfAnotherConfigurationIsNotAsked(t *testing.T) {
	folder := t.TempDir()
	ours := filepath.Join(folder, "ours.hcl")
	put(t, ours, `token "t" {
  source = source.file.f
  sink "file" { path = "${path.config}/t" }
}
source "file" "f" { path = "${path.config}/f" }
`)
	var theirs []string
	socket := serveAnswers(t, control.Answers{
		Status:    states(agent.Status{Name: "theirs", State: agent.Valid}),
		Refresh:   states(agent.Status{Name: "theirs", State: agent.Valid}),
		Reload:    func(context.Context) (agent.Replaced, error) { return agent.Replaced{}, nil },
		Leftovers: func(context.Context) ([]control.Leftover, error) { return nil, nil },
		Refused:   func() time.Time { return time.Time{} },
		Heartbeat: beat(0),
		Follows:   func() []string { return theirs },
	})
	check(t, os.Symlink(socket, filepath.Join(folder, "control.sock")))
	t.Setenv("RUNTIME_DIRECTORY", folder)
	if got := new(place).followed(); !slices.Equal(got, []string{"/etc/tokenagent/tokenagent.hcl", "/etc/tokenagent/conf.d"}) {
		t.Errorf("by default %q is followed", got)
	}
	ask := func(args ...string) (code int, said string) {
		var out bytes.Buffer
		return report(&out, execute(append(args, "--config", ours), nil, &out, &out)), out.String()
	}
	for _, question := range [][]string{{"reload"}, {"refresh"}, {"status", "--live"}, {"status", "--ready"}} {
		theirs = []string{filepath.Join(folder, "ours"), "/etc/tokenagent/conf.d"}
		if code, said := ask(question...); code != exitNoAgent || !strings.Contains(said, "no agent answers for "+ours+", only for "+theirs[0]+", /etc/tokenagent/conf.d; name the socket") {
			t.Errorf("%q: exit code %d\n%s", question, code, said)
		}
		for _, same := range []string{ours, folder} {
			theirs = []string{"/etc/tokenagent/tokenagent.hcl", same}
			if code, said := ask(question...); code != 0 {
				t.Errorf("%q of the agent of %s: exit code %d\n%s", question, same, code, said)
			}
		}
	}
	theirs = []string{"/etc/tokenagent/tokenagent.hcl"}
	if code, said := ask("status"); code != exitNotValid || strings.Contains(said, "theirs") {
		t.Errorf("status: exit code %d\n%s", code, said)
	}
}
