package main

import (
	"context"
	"fmt"
	"os"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/systemd"
)

// newManager is the service manager that the environment names.
func newManager(log logrus.FieldLogger) systemd.Manager {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return systemd.Manager{}
	}
	watchdog, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil {
		log.WithError(err).Warn("there is no watchdog")
	}
	return systemd.Manager{
		Tell: func(message string) error {
			_, err := sdnotify.SdNotify(false, message)
			return err
		},
		Watchdog: watchdog,
		Deaf: func(err error) {
			log.WithError(err).Warn("the service manager cannot be told how the agent is, and may end it for that")
		},
	}
}

// forManager is what the service manager is told about the daemon.
func (d *daemon) forManager() systemd.Daemon {
	return systemd.Daemon{Settled: d.agent.Settled, WaitingFor: d.waitingFor, Status: d.statusLine}
}

// waitingFor says which required tokens are not valid, where require_all makes the
// daemon wait for them.
func (d *daemon) waitingFor(ctx context.Context) (string, error) {
	if !d.requireAll() {
		return "", nil
	}
	tokens, err := d.agent.Status(ctx)
	return waitingFor(tokens), err
}

// statusLine is the one of systemctl status; it is not known while a token is due.
func (d *daemon) statusLine(ctx context.Context) (line string, known bool) {
	tokens, err := d.agent.Status(ctx)
	if err != nil { // the agent stops
		return "", true
	}
	now := wall()
	next := nextRenewal(tokens)
	return statusLine(tokens, d.refusal(), now), next.IsZero() || next.After(now)
}

// statusLine says how the tokens are: "12 tokens valid, 1 failing; next renewal 14:05".
// The refusal is that of the configuration on disk; "" for none.
func statusLine(tokens []agent.Status, refusal string, now time.Time) string {
	var valid, expired, missing, failing, hooks int
	for _, t := range tokens {
		switch t.State {
		case agent.Valid:
			valid++
		case agent.Expired:
			expired++
		default:
			missing++
		}
		if t.Failing != nil {
			failing++
		}
		hooks += len(t.Hooks)
	}
	line := host.Plural(valid, "token") + " valid"
	for _, part := range []struct {
		n    int
		what string
	}{{expired, "expired"}, {missing, "missing"}, {failing, "failing"}} {
		if part.n > 0 {
			line += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if hooks > 0 {
		line += ", " + host.Plural(hooks, "hook") + " failing"
	}
	if next := nextRenewal(tokens); !next.IsZero() {
		line += "; next renewal " + clockTime(next, now)
	}
	if refusal != "" {
		line += "; " + refusal
	}
	return line
}

// refusal says that the configuration on disk is refused; "" where it is in use.
func (d *daemon) refusal() string {
	if d.refusedSince().IsZero() {
		return ""
	}
	return "the configuration on disk is refused, " + d.from.command(d.began, "check") + " says why"
}

// nextRenewal is when the first of the tokens is due; zero for none.
func nextRenewal(tokens []agent.Status) (next time.Time) {
	for _, t := range tokens {
		if !t.Renew.IsZero() && (next.IsZero() || t.Renew.Before(next)) {
			next = t.Renew
		}
	}
	return next
}

// clockTime is "14:05" for a time of today, has the date for a later one, and is
// "now" for a past one.
func clockTime(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	switch {
	case !t.After(now):
		return "now"
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// waitingFor says which required tokens are not valid; "" when all are.
func waitingFor(tokens []agent.Status) string {
	names := invalid(tokens)
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("waiting for %d of %s: %s", len(names), host.Plural(len(tokens), "token"), host.Few(names, 3))
}

// invalid are the required tokens that are not valid, each with its state.
func invalid(tokens []agent.Status) (names []string) {
	for _, t := range tokens {
		if t.Required && t.State != agent.Valid {
			names = append(names, fmt.Sprintf("%s is %s", t.Name, t.State))
		}
	}
	return names
}
