package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
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

// A drawer is a sink that only can be read.
type drawer struct {
	agent.Store // for the methods that are not called
	text        string
	err         error
}

func (drawer) Put(context.Context, agent.Token) (agent.Written, error) { return agent.Written{}, nil }
func (drawer) Path() string                                            { return "/t" }
func (d drawer) Read(context.Context) (agent.Secret, error) {
	return agent.NewSecret(d.text), d.err
}

func TestFilesTellTheStateOfTheirToken(t *testing.T) {
	const header, signature = "eyJhbGciOiJub25lIn0.", ".c2ln"
	for name, c := range map[string]struct {
		sink    drawer
		want    agent.State
		expires time.Time
		fails   string
	}{
		"expired":    {drawer{text: header + "eyJleHAiOjE3MDAwMDAwMDB9" + signature}, agent.Expired, time.Unix(1700000000, 0), ""},
		"valid":      {drawer{text: header + "eyJleHAiOjQxMDI0NDQ4MDB9" + signature}, agent.Valid, time.Unix(4102444800, 0), ""},
		"no expiry":  {drawer{text: header + "e30" + signature}, agent.Valid, time.Time{}, ""},
		"opaque":     {drawer{text: "opaque-0123"}, agent.Valid, time.Time{}, ""},
		"missing":    {drawer{err: fs.ErrNotExist}, agent.Missing, time.Time{}, ""},
		"unreadable": {drawer{err: fs.ErrPermission}, agent.Missing, time.Time{}, "permission denied"},
		"damaged":    {drawer{text: header + "e30x" + signature}, agent.Missing, time.Time{}, " "},
	} {
		t.Run(name, func(t *testing.T) {
			got := inFile(t.Context(), agent.Target{Sink: c.sink}, nil)
			if got.State != c.want || !got.Expires.Equal(c.expires) {
				t.Errorf("state %s, expires %v", got.State, got.Expires)
			}
			if (c.fails != "") != (got.Failing != nil) || got.Failing != nil && !strings.Contains(got.Failing.Error, c.fails) {
				t.Errorf("failing is %+v", got.Failing)
			}
		})
	}
}

// A drawerWithRecord is a drawer whose file differs from its record in the way that it says.
type drawerWithRecord struct {
	drawer
	difference string
}

func (r drawerWithRecord) Adopt(context.Context, json.RawMessage) (string, error) {
	return r.difference, nil
}

func TestTheRecordOfAFileTellsWhenItsTokenEnds(t *testing.T) {
	past, future := time.Unix(1700000000, 0), time.Unix(4102444800, 0)
	opaque, template := drawer{text: "opaque-0123"}, drawer{err: agent.ErrNotReadBack}
	jwt := drawer{text: "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln"}
	for name, c := range map[string]struct {
		sink    drawerWithRecord
		record  time.Time
		want    agent.State
		expires time.Time
		fails   bool
	}{
		"an opaque token that has expired":   {drawerWithRecord{drawer: opaque}, past, agent.Expired, past, false},
		"a template whose token has expired": {drawerWithRecord{drawer: template}, past, agent.Expired, past, false},
		"a template whose token is valid":    {drawerWithRecord{drawer: template}, future, agent.Valid, future, false},
		"a template that somebody changed":   {drawerWithRecord{template, "its size is 3, not 5"}, past, agent.Missing, time.Time{}, true},
		"a template without a record":        {drawerWithRecord{drawer: template}, time.Time{}, agent.Valid, time.Time{}, false},
		"a JWT that ended sooner":            {drawerWithRecord{drawer: jwt}, past, agent.Expired, past, false},
		"a JWT that somebody changed":        {drawerWithRecord{jwt, "its size is 3, not 5"}, past, agent.Valid, future, false},
		"a JWT without a record":             {drawerWithRecord{drawer: jwt}, time.Time{}, agent.Valid, future, false},
		"a damaged JWT as it was written":    {drawerWithRecord{drawer: drawer{text: "eyJhbGciOiJub25lIn0.e30x.c2ln"}}, future, agent.Valid, future, false},
	} {
		t.Run(name, func(t *testing.T) {
			known := recalled{}
			if !c.record.IsZero() {
				known["/t"] = agent.Record{Expires: c.record}
			}
			got := inFile(t.Context(), agent.Target{Sink: c.sink, Name: "/t"}, known)
			if got.State != c.want || !got.Expires.Equal(c.expires) || (got.Failing != nil) != c.fails {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestTokenIsAsGoodAsItsWorstFile(t *testing.T) {
	valid := drawer{text: "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln"}
	expired := drawer{text: "eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDAwMDAwMDB9.c2ln"}
	missing := drawer{err: fs.ErrNotExist}
	for _, c := range []struct {
		sinks []agent.Target
		want  agent.State
	}{
		{[]agent.Target{{Sink: valid}, {Sink: valid}}, agent.Valid},
		{[]agent.Target{{Sink: valid}, {Sink: expired}}, agent.Expired},
		{[]agent.Target{{Sink: missing}, {Sink: expired}, {Sink: valid}}, agent.Missing},
		{[]agent.Target{{Sink: expired}, {Sink: missing}}, agent.Missing},
	} {
		if got := inFiles(t.Context(), agent.Renewer{Sinks: c.sinks}, nil); got.State != c.want {
			t.Errorf("state %s, want %s", got.State, c.want)
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
