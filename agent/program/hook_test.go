package program

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

// A nothing is the source and the sink of the token that a hook belongs to.
type nothing struct{}

func (nothing) Issue(context.Context, agent.Request) (agent.Token, error) { return agent.Token{}, nil }
func (nothing) Put(context.Context, agent.Token) (agent.Written, error)   { return agent.Written{}, nil }

// decode decodes a hook block with these lines.
func decode(t *testing.T, definitions bool, lines ...string) (hooks.Hook, config.Faults) {
	t.Helper()
	return decodeFor(t, "on_change", definitions, lines...)
}

func decodeFor(t *testing.T, event string, definitions bool, lines ...string) (hooks.Hook, config.Faults) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokenagent.hcl")
	text := `
source "none" "s" {}
token "t" {
  source = source.none.s
  sink "none" {}
  hook "` + event + `" {
    ` + strings.Join(lines, "\n    ") + `
  }
}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, faults := config.Load(t.Context(), []string{path}, config.Kinds{
		Sources: map[string]config.SourceDecoder{"none": func(*config.Block) config.Source { return config.Source{Source: nothing{}} }},
		Sinks: map[string]config.SinkDecoder{"none": func(*config.Block, agent.Request) config.Sink {
			return config.Sink{Target: agent.Target{Sink: nothing{}}}
		}},
		Hook: DecodeHook,
	}, config.Environment{Definitions: definitions})
	if len(c.Renewers) == 0 {
		return hooks.Hook{}, faults
	}
	return c.Renewers[0].Hooks[0], faults
}

func TestHooksAreDecoded(t *testing.T) {
	h, faults := decode(t, false, `command = ["/bin/sh", "-c", "exit 0"]`, `timeout = "2m"`, `user = "root"`)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if h.Event != hooks.OnChange || h.Key != `user=root /bin/sh -c "exit 0"` {
		t.Errorf("got %+v", h)
	}
	want := Program{Args: []string{"/bin/sh", "-c", "exit 0"}, Timeout: 2 * time.Minute}
	if os.Geteuid() != 0 {
		want.User, _ = LookupUser("root")
	}
	if diff := cmp.Diff(want, h.Command.(hook).Program); diff != "" {
		t.Error(diff)
	}
	h, _ = decode(t, true, `command = ["/bin/true"]`)
	if p := h.Command.(hook).Program; p.Timeout != 30*time.Second || p.User != nil || h.Key != "/bin/true" {
		t.Errorf("got %+v", h)
	}
}

func TestFaultsOfHooks(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for what, test := range map[string]struct {
		lines []string
		want  []string // parts of severity, summary and detail; none: no fault
	}{
		"no command":          {nil, []string{"error", "missing attribute command"}},
		"empty command":       {[]string{`command = []`}, []string{"error", "command is empty", `["/usr/sbin/condor_reconfig"`}},
		"a string":            {[]string{`command = "/bin/true"`}, []string{"error", "wrong type for command", "list of strings"}},
		"a line for a shell":  {[]string{`command = ["systemctl reload x"]`}, []string{"error", "no shell runs the command", "and its arguments"}},
		"relative":            {[]string{`command = ["systemctl", "reload"]`}, []string{"error", "the program has no absolute path"}},
		"a token":             {[]string{`command = ["/bin/true", "` + jwt + `"]`}, []string{"error", "there is a token in the command", "put it into a file"}},
		"NUL":                 {[]string{`command = ["/bin/true", "a\u0000"]`}, []string{"error", "command has a NUL byte"}},
		"short timeout":       {[]string{`command = ["/bin/true"]`, `timeout = "0s"`}, []string{"error", "the timeout is out of range", `"1s"`}},
		"long timeout":        {[]string{`command = ["/bin/true"]`, `timeout = "2d"`}, []string{"error", "the timeout is out of range", `"1h"`}},
		"unknown attribute":   {[]string{`command = ["/bin/true"]`, `usr = "root"`}, []string{"error", "unknown attribute usr", "did you mean user?"}},
		"unknown user":        {[]string{`command = ["/bin/true"]`, `user = "nobody-of-that-name"`}, []string{"error", "unknown user", "getent knows none"}},
		"missing program":     {[]string{`command = ["` + missing + `"]`}, []string{"warning", "the program cannot be run", "there is no " + missing + "; install it"}},
		"a folder":            {[]string{`command = ["/usr/bin"]`}, []string{"warning", "the program cannot be run", "is a folder"}},
		"not executable":      {[]string{`command = ["/etc/passwd"]`}, []string{"warning", "the program cannot be run", "chmod +x"}},
		"with an empty user":  {[]string{`command = ["/bin/true"]`, `user = ""`}, []string{"error", "user is empty"}},
		"a path with a blank": {[]string{`command = ["/no such/program"]`}, []string{"warning", "there is no /no such/program"}},
	} {
		t.Run(what, func(t *testing.T) {
			_, faults := decode(t, false, test.lines...)
			if len(faults) != 1 {
				t.Fatalf("got %v", []config.Fault(faults))
			}
			text := faults[0].Severity + ": " + faults[0].Error()
			for _, part := range test.want {
				if !strings.Contains(text, part) {
					t.Errorf("got %q, want it to have %q", text, part)
				}
			}
		})
	}
}

func TestOnExpiringSaysHowMuchIsLeft(t *testing.T) {
	const command = `command = ["/bin/true"]`
	h, faults := decodeFor(t, "on_expiring", false, command, `before = "30m"`)
	if len(faults) > 0 || h.Before != 30*time.Minute || h.Event != hooks.OnExpiring {
		t.Errorf("got %+v, %v", h, []config.Fault(faults))
	}
	if other, _ := decodeFor(t, "on_expiring", false, command, `before = "5m"`); other.Key == h.Key {
		t.Errorf("both have the key %q", h.Key)
	}
	for name, c := range map[string]struct {
		event string
		lines []string
		want  string
	}{
		"nothing":       {"on_expiring", []string{command}, "missing attribute before; write how much life is left"},
		"too little":    {"on_expiring", []string{command, `before = "9s"`}, "before is too short; it is at least \"10s\""},
		"nothing left":  {"on_expiring", []string{command, `before = "0s"`}, "before is too short"},
		"a number":      {"on_expiring", []string{command, `before = 30`}, "wrong type for before"},
		"a word":        {"on_expiring", []string{command, `before = "soon"`}, "before"},
		"another event": {"on_failure", []string{command, `before = "30m"`}, "before is not used"},
	} {
		_, faults := decodeFor(t, c.event, false, c.lines...)
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), c.want) {
			t.Errorf("%s: got %v", name, []config.Fault(faults))
		}
	}
}

// A definition is checked on hosts that have neither its programs nor its users.
func TestDefinitionsAreCheckedWithoutTheMachine(t *testing.T) {
	_, faults := decode(t, true, `command = ["/no/such/program"]`, `user = "nobody-of-that-name"`)
	if len(faults) > 0 {
		t.Error([]config.Fault(faults))
	}
}

// Hooks of one key are run once for all their tokens, so others must not have it.
func TestKeysDifferWhereCommandsOrUsersDo(t *testing.T) {
	keys := map[string]bool{}
	for _, k := range []string{
		keyOf([]string{"/x", "a b"}, ""),
		keyOf([]string{"/x", "a", "b"}, ""),
		keyOf([]string{"/x", `"a b"`}, ""),
		keyOf([]string{"/x", `a\u0020b`}, ""),
		keyOf([]string{"/x", "a", "b"}, "root"),
		keyOf([]string{"/x", "a", "b"}, "other"),
		keyOf([]string{"/x", "user=root", "a", "b"}, ""),
	} {
		if keys[k] || strings.ContainsAny(k, "\n\x1b") {
			t.Errorf("%q is no key of its own", k)
		}
		keys[k] = true
	}
}

func TestHooksAreToldOfEventAndTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "said")
	h := hook{shell(`env | grep ^TOKENAGENT >"$1"; cat >>"$1"`, file)}
	zurich := time.FixedZone("CET", 3600)
	err := h.Run(t.Context(), hooks.OnChange, []hooks.Notice{
		{Token: `pilot["ce1"]`, Path: "/srv/a token", Expires: time.Date(2026, 11, 22, 13, 0, 0, 999, zurich)},
		{Token: "opaque", Path: "/srv/opaque"},
		{Token: "failing"},
		{Token: "odd\tname\n", Path: "/srv/\r\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "TOKENAGENT_EVENT=on_change\n" +
		"pilot[\"ce1\"]\t/srv/a token\t2026-11-22T12:00:00Z\n" +
		"opaque\t/srv/opaque\t\n" +
		"failing\t\t\n" +
		"odd\\tname\\n\t/srv/\\r\\n\t\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// The words are those of HTCondor 23.9.6.
func TestCondorReconfigIsTooEarlyWhileHTCondorDoesNotRun(t *testing.T) {
	for name, test := range map[string]struct {
		program, says string
		want          bool
	}{
		"no daemon yet":    {"condor_reconfig", "Can't find address for local master\nPerhaps you need to query another pool.", true},
		"killed":           {"condor_reconfig", "Can't connect to local master", true},
		"one daemon":       {"condor_reconfig", "Can't find address for local schedd", true},
		"of a CE":          {"condor_ce_reconfig", "Can't find address for local master", true},
		"not allowed to":   {"condor_reconfig", "AUTHENTICATE:1003:Failed to authenticate with any method\nCan't send Reconfig command to local master", false},
		"another program":  {"reload", "Can't connect to local master", false},
		"no configuration": {"condor_reconfig", "Neither the environment variable CONDOR_CONFIG, ...", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), test.program)
			text := "#!/bin/sh\ncat >&2 <<'EOF'\n" + test.says + "\nEOF\nexit 1\n"
			if err := os.Rename(script(t, text, 0o755), path); err != nil {
				t.Fatal(err)
			}
			err := hook{Program{Args: []string{path}, Timeout: time.Minute}}.Run(t.Context(), hooks.OnFirst, nil)
			f, ok := errors.AsType[*agent.Fault](err)
			if !ok || f.Expected != test.want {
				t.Errorf("got %v, %+v", err, f)
			}
		})
	}
}

func TestHooksThatFailAreFaults(t *testing.T) {
	err := hook{shell(`exit 1`)}.Run(t.Context(), hooks.OnFirst, nil)
	if _, ok := errors.AsType[*agent.Fault](err); !ok {
		t.Errorf("got %v", err)
	}
	if err := (hook{shell(`exit 0`)}).Run(t.Context(), hooks.OnFirst, nil); err != nil {
		t.Error(err)
	}
}
