package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
)

const (
	firstPass   = time.Minute      // after which the daemon is ready whatever has become of it
	extension   = 2 * time.Minute  // that systemd is asked for again and again until the daemon is ready
	lookAgain   = time.Second      // between two looks at what is about to change
	statusEvery = 30 * time.Second // at most, between two looks at what the status line tells
)

// A notifier tells the service manager how the daemon is: the protocol of
// sd_notify(3). Without a service manager that listens it tells nobody.
type notifier struct {
	log      logrus.FieldLogger
	watchdog time.Duration // within which the manager wants to hear of the loop; 0: it does not
	beats    chan struct{} // the loop goes round
	changed  chan struct{} // the status line may be another
	fed      time.Time     // when the last beat was; the loop's own

	mu    sync.Mutex
	ready bool   // the manager has been told so
	said  string // the last status line
	deaf  bool   // it could not be told, which is logged
}

func newNotifier(log logrus.FieldLogger) *notifier {
	n := &notifier{log: log, beats: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	var err error
	if n.watchdog, err = systemd.SdWatchdogEnabled(false); err != nil {
		log.WithError(err).Warn("there is no watchdog")
	}
	return n
}

// listened reports whether there is a service manager to tell.
func (n *notifier) listened() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// tell sends the assignments in one message. The caller holds mu.
func (n *notifier) tell(assignments ...string) {
	_, err := systemd.SdNotify(false, strings.Join(assignments, "\n"))
	if err != nil && !n.deaf {
		n.log.WithError(err).Warn("the service manager cannot be told how the agent is, and may end it for that")
	}
	n.deaf = err != nil
}

// beat is called by the loop whenever it goes round. It hands over to feed, as
// the loop must not wait for a socket, and seldom enough for a loop that is busy.
func (n *notifier) beat() {
	if n.watchdog == 0 || time.Since(n.fed) < n.watchdog/8 {
		return
	}
	select {
	case n.beats <- struct{}{}:
		n.fed = time.Now()
	default: // the last one has not been told yet
	}
}

// feed passes the loop's beats on to the watchdog.
func (n *notifier) feed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.beats:
			n.mu.Lock()
			if n.ready { // from the first one on the manager would count, and the first pass may last
				n.tell(systemd.SdNotifyWatchdog)
			}
			n.mu.Unlock()
		}
	}
}

// between is how long to wait between two looks at the tokens. Each has the loop
// go round, also where the watchdog is in more of a hurry than the loop.
func (n *notifier) between() time.Duration {
	if n.watchdog == 0 {
		return statusEvery
	}
	return min(statusEvery, n.watchdog/4)
}

// reloading tells that the configuration is read anew, until what it returns is
// called. A service that has not been ready is not made so by that.
func (n *notifier) reloading() (done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		return func() {}
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // which every kernel has
	n.tell(systemd.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.tell(systemd.SdNotifyReady)
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
}

// becomeReady tells that the daemon is ready.
func (n *notifier) becomeReady() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = true
	n.tell(systemd.SdNotifyReady)
}

// wait tells that the daemon is not ready yet, and why; it must not be given up.
func (n *notifier) wait(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extension.Microseconds()), "STATUS="+why)
}

// status tells the status line if it is another than the last one.
func (n *notifier) status(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if line != n.said {
		n.said = line
		n.tell("STATUS=" + line)
	}
}

func (n *notifier) stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(systemd.SdNotifyStopping, "STATUS=stopping")
}

// notify keeps the service manager informed until ctx is done.
func (d *daemon) notify(ctx context.Context) {
	if !d.manager.listened() {
		return
	}
	defer d.manager.stopping()
	if d.untilReady(ctx) != nil {
		return
	}
	d.manager.becomeReady()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.manager.changed:
		case <-time.After(d.tellStatus(ctx)):
		}
	}
}

// tellStatus tells the status line, and how long it is good for: not for long
// while a token is due, as what comes of that is not known yet.
func (d *daemon) tellStatus(ctx context.Context) time.Duration {
	tokens, err := d.agent.Status(ctx)
	if err != nil {
		return d.manager.between()
	}
	now := wall()
	d.manager.status(statusLine(tokens, !d.refusedSince().IsZero(), now))
	if next := nextRenewal(tokens); !next.IsZero() && !next.After(now) {
		return min(lookAgain, d.manager.between())
	}
	return d.manager.between()
}

// untilReady returns when who starts after the agent finds its tokens: after the
// first pass, or a minute; with require_all not before all of them are valid.
// Its error is that of ctx.
func (d *daemon) untilReady(ctx context.Context) error {
	d.manager.wait("the first tokens are on their way")
	pass, cancel := context.WithTimeout(ctx, firstPass)
	defer cancel()
	_ = d.agent.Settled(pass) // what takes longer is not waited for
	for d.requireAll() {
		tokens, err := d.agent.Status(ctx)
		if err != nil {
			return err
		}
		why := waitingFor(tokens)
		if why == "" {
			break
		}
		d.manager.wait(why)
		select {
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
	}
	return ctx.Err()
}

// statusLine says how the tokens are: "12 tokens valid, 1 failing; next renewal 14:05".
func statusLine(tokens []agent.Status, refused bool, now time.Time) string {
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
	line := plural(valid, "token") + " valid"
	for _, part := range []struct {
		n    int
		what string
	}{{expired, "expired"}, {missing, "missing"}, {failing, "failing"}} {
		if part.n > 0 {
			line += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if hooks > 0 {
		line += ", " + plural(hooks, "hook") + " failing"
	}
	if next := nextRenewal(tokens); !next.IsZero() {
		line += "; next renewal " + clockTime(next, now)
	}
	if refused {
		line += "; the configuration on disk is refused, tokenagent check says why"
	}
	return line
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

// clockTime is a time of today as 14:05, any other with its day, and "now" for
// one that is over.
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

const mostAwaited = 3 // tokens that are named while the agent waits for them

// waitingFor says which required tokens are not valid; "" when all are.
func waitingFor(tokens []agent.Status) string {
	var names []string
	awaited := 0
	for _, t := range tokens {
		if !t.Required || t.State == agent.Valid {
			continue
		}
		if awaited++; awaited <= mostAwaited {
			names = append(names, fmt.Sprintf("%s is %s", t.Name, t.State))
		}
	}
	if awaited == 0 {
		return ""
	}
	if awaited > mostAwaited {
		names = append(names, fmt.Sprintf("and %d more", awaited-mostAwaited))
	}
	return fmt.Sprintf("waiting for %d of %s: %s", awaited, plural(len(tokens), "token"), strings.Join(names, ", "))
}
