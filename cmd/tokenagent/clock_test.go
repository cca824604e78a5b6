package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

func TestClockBeforeTheProgramIsWarnedAbout(t *testing.T) {
	was := built
	t.Cleanup(func() { built = was })
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for at, want := range map[string]bool{"": false, "1700000000": false, "1900000000": true} {
		var out bytes.Buffer
		built = at
		sayClock(newLogger(&out, config.Settings{LogLevel: "info"}), now)
		if got := strings.Contains(out.String(), "the clock is before"); got != want {
			t.Errorf("built %q: %s", at, out.String())
		}
	}
}

const shortToken = `
token "robot" {
  source   = source.local_key.site
  subject  = "robot"
  lifetime = "60s"
  sink "file" {
    path = "${path.config}/robot"
  }
}
`

// The whole program lives by one clock, wherever that is set while it runs: the source
// that signs, the file, status and exec. The agent looks at it at least every 30 s.
func TestTheWholeProgramFollowsTheClock(t *testing.T) {
	t.Parallel()
	born := time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC)
	for name, begin := range map[string]time.Time{"from now on": time.Now(), "from 1970 on": born} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shortToken)
			s.clock = newClock(t)
			s.clock.set(begin)
			s.start(t)
			s.fresh(t, "after the start")
			for _, step := range []struct {
				name string
				do   func()
			}{
				{"an hour back", func() { s.clock.step(-time.Hour) }},
				{"ten days on", func() { s.clock.step(10 * 24 * time.Hour) }},
				{"to now", func() { s.clock.set(time.Now()) }},
				{"back to 1970", func() { s.clock.set(born) }},
				{"standing still in the future", func() { s.clock.set(time.Now().Add(time.Hour)); s.clock.stand() }},
			} {
				step.do()
				s.fresh(t, step.name)
			}
			s.stop(t)
		})
	}
}

// fresh waits until the one token of the site, its status and what exec gets are right
// by the site's clock, after what was done to that.
func (s *site) fresh(t *testing.T, after string) {
	t.Helper()
	var why error
	eventuallyWithin(t, 30*time.Second+longest, "a fresh token after the clock was set "+after, func() bool {
		why = s.isFresh(t)
		return why == nil
	})
	c := s.command(nil, "exec", "robot")
	c.Args = append(c.Args, "--", "sh", "-c", `cat "$BEARER_TOKEN_FILE"`)
	if out, err := c.CombinedOutput(); err != nil || s.faultOf(string(out)) != nil {
		t.Errorf("exec after %s: %v, %v\n%s", after, err, s.faultOf(string(out)), out)
	}
}

func (s *site) isFresh(t *testing.T) error {
	f, err := look(s.path("robot"))
	if err == nil {
		err = s.faultOf(f.Text)
	}
	if err != nil {
		return err
	}
	tokens, err := s.client().Status(t.Context())
	if err != nil {
		return err
	}
	one, now := tokens[0], s.now()
	const life = time.Minute
	if one.State != agent.Valid || one.Expires.Sub(now) > life+time.Second || !one.Renew.After(now) || one.Renew.Sub(now) > life {
		return fmt.Errorf("at %v the status is %+v", now, one)
	}
	if beat, err := s.client().Heartbeat(t.Context()); err != nil || now.Sub(beat).Abs() > 31*time.Second {
		return fmt.Errorf("at %v the heartbeat is of %v: %v", now, beat, err)
	}
	return nil
}

// A host whose clock says 1970 takes the certificate of every issuer for not valid yet.
// That goes away by itself, so it is tried again as an outage is, and at once when the
// clock is set.
func TestAnIssuerIsAskedAgainWhenTheClockIsSet(t *testing.T) {
	t.Parallel()
	i := issuertest.Start(t)
	s := newSite(t, strings.NewReplacer("ISSUER", i.URL, "CA", i.CAFile).Replace(`
source "client_credentials" "it" {
  issuer      = "ISSUER"
  ca_file     = "CA"
  client_id   = "robot"
  client_auth = "none"
}
token "robot" {
  source = source.client_credentials.it
  sink "file" { path = "${path.config}/robot" }
}
`))
	s.clock = newClock(t)
	s.clock.set(time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC))
	s.start(t)
	eventually(t, "a failure that may go away by itself", func() bool {
		tokens, err := s.client().Status(t.Context())
		return err == nil && tokens[0].Failing != nil && tokens[0].Failing.Kind == agent.Transient.String() &&
			strings.Contains(tokens[0].Failing.Error, "is not valid before") && tokens[0].Failing.Since.Year() == 1970
	})
	s.clock.set(time.Now())
	eventuallyWithin(t, 30*time.Second+longest, "the token", func() bool { _, err := os.Stat(s.path("robot")); return err == nil })
	s.stop(t)
}
