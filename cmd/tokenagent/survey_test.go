package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
)

func TestTableSaysInWordsWhatBecameOfEachToken(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	tokens := []agent.Status{
		{Name: "good", State: agent.Valid, Renew: at(27 * time.Minute), Sinks: []agent.SinkStatus{{Name: "/t/good", State: agent.Valid, Expires: at(57*time.Minute + 3*time.Second)}}},
		{Name: "old", State: agent.Expired, Renew: at(-time.Second),
			Failing: &agent.Failing{Error: "the issuer\nis down", Failures: 3, Since: at(-time.Hour), Retry: at(12 * time.Second)},
			Sinks:   []agent.SinkStatus{{Name: "/t/old", State: agent.Expired, Expires: at(-3 * time.Minute)}}},
		{Name: "two", State: agent.Missing, Renew: at(time.Hour), Sinks: []agent.SinkStatus{
			{Name: "/t/a", State: agent.Valid},
			{Name: "/t/b", State: agent.Missing, Failing: &agent.Failing{Error: "disk full", Failures: 1, Retry: at(-time.Second)}},
		}},
	}
	want := strings.TrimPrefix(`
NAME  STATE    REMAINING       RENEWAL  SINK     LAST ERROR
good  valid    57m3s           in 27m   /t/good  -
old   expired  expired 3m ago  now      /t/old   the issuer is down (3 times since 2026-11-22 11:00:00); tried again in 12s
two   valid    unknown         in 1h    /t/a     -
      missing  -                        /t/b     disk full; tried again now
`, "\n")
	var got strings.Builder
	printTable(&got, tokens, now)
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Error(d)
	}
}

func TestAFailingHookNamesItsProgramOnce(t *testing.T) {
	for _, c := range []struct{ command, fails, want string }{
		{"/x/hook.sh one", "/x/hook.sh: exit status 1; it said: no: never", "exit status 1; it said: no: never"},
		{"user=xrootd /x/hook.sh one", "/x/hook.sh as xrootd: exit status 1", "exit status 1"},
		{`"/a b/hook.sh"`, "/a b/hook.sh: exit status 1", "/a b/hook.sh: exit status 1"},
		{"/x/hook.sh", "it hangs", "it hangs"},
		{"", "it hangs", "it hangs"},
	} {
		h := agent.HookStatus{Command: c.command, Failing: agent.Failing{Error: c.fails, Failures: 1}}
		if got := hookFailure(h, time.Now()); got != c.want {
			t.Errorf("%s: %s: got %q, want %q", c.command, c.fails, got, c.want)
		}
	}
}

func TestAHookThatIsTooEarlyIsSaidToWait(t *testing.T) {
	h := agent.HookStatus{Event: "on_first", Command: "/x/condor_reconfig", Failing: agent.Failing{Error: "no master", Failures: 1}}
	for early, want := range map[bool]string{true: "hook on_first of t waits for HTCondor to run: ", false: "hook on_first of t fails: "} {
		h.Early = early
		var out strings.Builder
		survey{Tokens: []agent.Status{{Name: "t", Hooks: []agent.HookStatus{h}}}}.print(&out)
		if !strings.Contains(out.String(), want) {
			t.Errorf("too early %v: %s", early, &out)
		}
	}
}

func TestOnlyAnUnknownNameIsARefusal(t *testing.T) {
	unknown := fmt.Errorf("%w: x", agent.ErrUnknown)
	for _, c := range []struct {
		err  error
		code int
	}{
		{unknown, exitUsage},
		{agent.ErrStopped, exitFailed},
	} {
		_, err := named(func(context.Context, ...string) ([]agent.Status, error) { return nil, c.err })(t.Context())
		if got := codeOf(err); got != c.code {
			t.Errorf("%v: exit code %d, want %d", err, got, c.code)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := named(func(ctx context.Context, _ ...string) ([]agent.Status, error) { return nil, ctx.Err() })(ended)
	if got := codeOf(err); got != exitFailed {
		t.Errorf("%v: exit code %d", err, got)
	}
}

func TestASourceTellsWhenWhatItAsksWithEnds(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.Local)
	for want, s := range map[string]sourceStatus{
		"s asks with a token that never ends":                                        {What: "token"},
		"s asks with a refresh token that ends in 2h, on 2026-11-30 14:00:00":        {What: "refresh token", Expires: now.Add(2 * time.Hour)},
		"s asks with a client certificate that ended 2h ago, on 2026-11-30 10:00:00": {What: "client certificate", Expires: now.Add(-2 * time.Hour)},
		"s cannot ask for tokens: there is none":                                     {What: "token", Error: "there is none"},
	} {
		s.Name = "s"
		if got := s.line(now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
