package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/control"
)

// states is an agent that says so of its tokens.
func states(all ...agent.Status) func(context.Context, ...string) ([]agent.Status, error) {
	return func(context.Context, ...string) ([]agent.Status, error) { return all, nil }
}

// hangs is an agent whose loop hangs.
func hangs(ctx context.Context, _ ...string) ([]agent.Status, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func beat(age time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(-age) }
}

func TestProbesTellByTheExitCodeAlone(t *testing.T) {
	valid := agent.Status{Name: "t", State: agent.Valid, Required: true}
	expired := agent.Status{Name: "t", State: agent.Expired, Required: true}
	optional := agent.Status{Name: "o", State: agent.Missing}
	unknown := &control.Refusal{Reason: control.UnknownToken, Text: `no token "t"`}
	for _, c := range []struct {
		story   string
		probe   string
		answers control.Answers
		code    int
		says    string
	}{
		{"goes round", "--live", control.Answers{Heartbeat: beat(stillAlive / 2)}, 0, ""},
		{"has not gone round yet", "--live", control.Answers{Heartbeat: func() time.Time { return time.Time{} }}, 0, ""},
		{"stands still", "--live", control.Answers{Heartbeat: beat(stillAlive + time.Second)}, 1, "stood still for 2m"},
		{"hangs, but is asked for its heartbeat alone", "--live", control.Answers{Heartbeat: beat(0), Status: hangs}, 0, ""},
		{"valid", "--ready", control.Answers{Status: states(valid, optional)}, 0, ""},
		{"expired", "--ready", control.Answers{Status: states(valid, expired)}, 4, "t is expired"},
		{"hangs", "--ready", control.Answers{Status: hangs}, 5, "no answer in time"},
		{"no such token", "--ready", control.Answers{Status: func(context.Context, ...string) ([]agent.Status, error) { return nil, unknown }}, 2, "no token"},
	} {
		t.Run(c.probe+" "+c.story, func(t *testing.T) {
			t.Parallel()
			code, said := probed(t, serveAnswers(t, c.answers), c.probe)
			if code != c.code || !strings.Contains(said, c.says) || c.says == "" && said != "" {
				t.Errorf("exit code %d, want %d; it says %q, want %q", code, c.code, said, c.says)
			}
		})
	}
}

func TestProbesNeverLookAtTheFiles(t *testing.T) {
	nobody := filepath.Join(t.TempDir(), "control.sock")
	for _, probe := range []string{"--live", "--ready"} {
		if code, said := probed(t, nobody, probe); code != 5 || !strings.Contains(said, "no agent answers") {
			t.Errorf("%s: exit code %d, %q", probe, code, said)
		}
	}
}

func TestProbesAreAskedOneAtATime(t *testing.T) {
	for _, other := range []string{"--ready", "--json", "--watch", "pilot"} {
		if code, said := probed(t, "/nowhere", "--live", other); code != 2 {
			t.Errorf("--live %s: exit code %d, %q", other, code, said)
		}
	}
}

// probed asks the agent behind the socket, and returns the exit code and all that
// was said.
func probed(t *testing.T, socket string, flags ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	args := append([]string{"status", "--control", socket}, flags...)
	return report(&out, execute(args, nil, &out, &out)), out.String()
}

// serveAnswers gives these answers at a socket of its own, until the test ends.
func serveAnswers(t *testing.T, answers control.Answers) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	listener, err := control.Listen(socket, control.OwnerOnly)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := control.Serve(ctx, listener, answers); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); serving.Wait() })
	return socket
}
