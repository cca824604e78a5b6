package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/systemd"
)

// A serviceManager is what systemd is to a service: a socket that hears of it.
type serviceManager struct{ socket *net.UnixConn }

// newServiceManager listens at the address, which what is started from now on
// finds in its environment.
func newServiceManager(t *testing.T, address string) serviceManager {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", address)
	return listenAsManager(t, address)
}

// listenAsManager listens at the address, without telling any process.
func listenAsManager(t *testing.T, address string) serviceManager {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { socket.Close() })
	return serviceManager{socket}
}

// next is the next message that does not just feed the watchdog.
func (m serviceManager) next(t *testing.T) string {
	t.Helper()
	for {
		text, err := m.message(longest)
		if err != nil {
			t.Fatalf("the service manager hears nothing more: %v", err)
		}
		if text != "WATCHDOG=1" {
			return text
		}
	}
}

func (m serviceManager) message(patience time.Duration) (string, error) {
	buffer := make([]byte, 4096)
	m.socket.SetReadDeadline(time.Now().Add(patience))
	n, err := m.socket.Read(buffer)
	return string(buffer[:n]), err
}

// until takes messages until one matches the pattern. Others may come before it:
// an agent reads its configuration again by itself when that was just written.
func (m serviceManager) until(t *testing.T, pattern string) {
	t.Helper()
	wanted := regexp.MustCompile("^(?:" + pattern + ")$")
	for end := time.Now().Add(longest); ; {
		if text := m.next(t); wanted.MatchString(text) {
			return
		} else if time.Now().After(end) {
			t.Fatalf("the service manager is told %q, and not %q", text, pattern)
		}
	}
}

// wants takes messages that match the patterns, in their order and without
// another between them.
func (m serviceManager) wants(t *testing.T, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if text := m.next(t); !regexp.MustCompile("^(?:" + p + ")$").MatchString(text) {
			t.Fatalf("the service manager is told %q, want %q", text, p)
		}
	}
}

const (
	waitingAtFirst = "EXTEND_TIMEOUT_USEC=120000000\nSTATUS=the first tokens are on their way"
	reloadBegins   = `RELOADING=1\nMONOTONIC_USEC=\d+`
	oneValid       = `STATUS=1 token valid; next renewal [0-9: -]+`
)

const oneToken = `
token "one" {
  source   = source.local_key.site
  subject  = "one"
  lifetime = "1h"
  sink "file" { path = "${path.config}/one" }
}
`

func TestTheServiceManagerHearsOfStartReloadsAndEnd(t *testing.T) {
	for name, address := range map[string]string{
		"socket in a folder": filepath.Join(t.TempDir(), "notify"),
		"abstract socket":    fmt.Sprintf("@tokenagent-test-%d", unix.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			m, s := newServiceManager(t, address), newSite(t, oneToken)
			s.start(t)
			m.wants(t, waitingAtFirst, "READY=1")
			m.until(t, oneValid)

			_, err := s.client().Reload(t.Context())
			check(t, err)
			m.until(t, reloadBegins)
			m.until(t, "READY=1")

			s.configure(t, "token {}")
			if _, err := s.client().Reload(t.Context()); !isRefusal(err) {
				t.Errorf("a configuration with faults gives %v", err)
			}
			m.until(t, reloadBegins)
			m.until(t, "READY=1")
			m.until(t, oneValid+"; the configuration on disk is refused, tokenagent check --config "+s.path("site.hcl")+" says why")

			s.stop(t)
			m.until(t, "STOPPING=1\nSTATUS=stopping")
		})
	}
}

func isRefusal(err error) bool {
	_, is := errors.AsType[*control.Refusal](err)
	return is
}

func TestRequireAllIsReadyWhenAllTokensAre(t *testing.T) {
	m := newServiceManager(t, filepath.Join(t.TempDir(), "notify"))
	s := newSite(t, "")
	put(t, s.path("site.hcl"), strings.Replace(siteHead, "agent {", "agent {\nrequire_all = true", 1)+oneToken+`
token "late" {
  source   = source.local_key.site
  subject  = "late"
  lifetime = "1h"
  required = false # require_all says otherwise
  sink "file" { path = "${path.config}/later/late" }
}
`)
	const waiting = "EXTEND_TIMEOUT_USEC=120000000\nSTATUS=waiting for 1 of 2 tokens: late is missing"
	s.start(t)
	m.wants(t, waitingAtFirst, waiting)
	_, err := s.client().Reload(t.Context()) // which would end with READY=1
	check(t, err)
	m.wants(t, waiting, waiting)
	s.mkdir(t, "later", unix.Geteuid(), 0o700)
	for {
		text := m.next(t)
		if text == "READY=1" {
			break
		}
		if text != waiting {
			t.Fatalf("the service manager is told %q before the agent is ready", text)
		}
	}
	if _, err := look(s.path("later/late")); err != nil {
		t.Errorf("the agent is ready, and of the token there is %v", err)
	}
	m.until(t, `STATUS=2 tokens valid; next renewal [0-9: -]+`)
}

// A shelf is a sink that takes everything.
type shelf struct{}

func (shelf) Put(context.Context, agent.Token) (agent.Written, error) {
	return agent.Written{Changed: true}, nil
}

func TestTheWatchdogIsFedWhileTheLoopGoesRound(t *testing.T) {
	t.Parallel()
	const watchdog = 20 * time.Second
	s := newSite(t, oneToken)
	m := listenAsManager(t, s.path("notify"))
	s.start(t, "env", "NOTIFY_SOCKET="+s.path("notify"), fmt.Sprint("WATCHDOG_USEC=", watchdog.Microseconds()))
	m.until(t, oneValid)
	for last, beats := time.Now(), 0; beats < 2; { // the loop itself would sleep for 30 s
		text, err := m.message(time.Until(last.Add(watchdog)))
		if err != nil {
			t.Fatalf("the watchdog is not fed in time: %v", err)
		}
		if text == "WATCHDOG=1" {
			last, beats = time.Now(), beats+1
		}
	}
}

// A jam is a cron schedule in whose Next the loop gets stuck when it is closed.
type jam struct {
	mu     sync.Mutex
	closed chan struct{} // nil: open
}

func (j *jam) Next(t time.Time) time.Time {
	j.mu.Lock()
	closed := j.closed
	j.mu.Unlock()
	if closed != nil {
		<-closed
	}
	return t.Add(24 * time.Hour)
}

// An instant source issues at once.
type instant struct{}

func (instant) Issue(context.Context, agent.Request) (agent.Token, error) {
	return agent.Token{Secret: agent.NewSecret("token"), Issued: time.Now(), Expires: time.Now().Add(time.Hour)}, nil
}

func TestALoopThatHangsFeedsNoWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "200000")
	m := newServiceManager(t, filepath.Join(t.TempDir(), "notify"))
	log := logrus.New()
	log.SetOutput(io.Discard)
	d, hindrance := &daemon{log: log, manager: systemd.NewNotifier(newManager(log))}, &jam{}
	d.agent = agent.New(agent.ClockOf(t.Context()), log, []agent.Renewer{{Name: "one", Source: instant{}, Sinks: []agent.Target{{Sink: shelf{}}}, Schedule: agent.Schedule{Cron: hindrance}}})
	d.agent.EachRound(d.manager.Beat)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.agent.Run(ctx) })
	running.Go(func() { d.manager.Run(ctx, d.forManager()) })
	defer running.Wait()
	defer cancel()
	m.wants(t, waitingAtFirst, "READY=1", oneValid)

	released := make(chan struct{})
	hindrance.mu.Lock()
	hindrance.closed = released
	hindrance.mu.Unlock()
	running.Go(func() { d.agent.Refresh(ctx, "one") })
	eventually(t, "the watchdog's hunger", func() bool {
		_, err := m.message(300 * time.Millisecond)
		return err != nil
	})
	close(released)
	eventually(t, "a beat of the loop that goes on", func() bool {
		text, _ := m.message(longest)
		return text == "WATCHDOG=1"
	})
}

func TestStatusLine(t *testing.T) {
	now := time.Date(2026, 11, 22, 13, 0, 0, 0, time.Local)
	token := func(state agent.State, renew time.Duration, failing bool) agent.Status {
		s := agent.Status{Name: "x", State: state, Renew: now.Add(renew)}
		if failing {
			s.Failing = &agent.Failing{}
		}
		return s
	}
	valid := token(agent.Valid, 65*time.Minute, false)
	hooked := valid
	hooked.Hooks = []agent.HookStatus{{}}
	for want, tokens := range map[string][]agent.Status{
		"0 tokens valid":                                {},
		"1 token valid; next renewal 14:05":             {valid},
		"2 tokens valid, 1 failing; next renewal 13:30": {valid, token(agent.Valid, 30*time.Minute, true)},
		"1 token valid, 1 expired, 2 missing, 3 failing; next renewal now": {
			valid, token(agent.Expired, time.Minute, true), token(agent.Missing, 0, true), token(agent.Missing, time.Minute, true)},
		"1 token valid; next renewal 2026-11-23 01:00":      {token(agent.Valid, 12*time.Hour, false)},
		"1 token valid, 1 hook failing; next renewal 14:05": {hooked},
	} {
		if diff := cmp.Diff(want, statusLine(tokens, "", now)); diff != "" {
			t.Error(diff)
		}
	}
	want := "1 token valid; next renewal 14:05; refused"
	if diff := cmp.Diff(want, statusLine([]agent.Status{valid}, "refused", now)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsWaitedForIsNamed(t *testing.T) {
	token := func(name string, state agent.State, required bool) agent.Status {
		return agent.Status{Name: name, State: state, Required: required}
	}
	tokens := []agent.Status{
		token("a", agent.Missing, true), token("b", agent.Valid, true), token("c", agent.Missing, false),
		token("d", agent.Expired, true), token("e", agent.Missing, true), token("f", agent.Missing, true), token("g", agent.Missing, true),
	}
	want := "waiting for 5 of 7 tokens: a is missing, d is expired, e is missing, and 2 more"
	if diff := cmp.Diff(want, waitingFor(tokens)); diff != "" {
		t.Error(diff)
	}
	if got := waitingFor(tokens[1:3]); got != "" {
		t.Errorf("a token that is not required is waited for: %s", got)
	}
}
