// Package systemd tells a service manager how the agent is, as sd_notify(3) and
// systemd.service(5), Type=notify-reload, describe it.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPass   = time.Minute      // after it the daemon is ready, even without its first tokens
	extension   = 2 * time.Minute  // of the start, asked for until the daemon is ready
	lookAgain   = time.Second      // between looks at what changes soon
	statusEvery = 30 * time.Second // between looks at the status line
)

// A Manager is the service manager that started this process.
type Manager struct {
	Tell     func(message string) error // sends one message: assignments, one a line; nil: nobody listens
	Watchdog time.Duration              // the longest silence before the manager ends the daemon; 0: it never does
	Deaf     func(error)                // called when Tell begins to fail
}

// A Daemon is what a Notifier tells about.
type Daemon struct {
	Settled    func(context.Context) error                     // returns when each token was tried once
	WaitingFor func(context.Context) (string, error)           // why the daemon is not ready; "": it is
	Status     func(context.Context) (line string, known bool) // the status line; not known while a token is due
}

// A Notifier tells a Manager when the daemon is ready, reloads and stops, what its
// status line is, and that its loop goes round.
type Notifier struct {
	manager Manager
	beats   chan struct{} // the loop goes round
	changed chan struct{} // the status line may have changed
	fed     time.Time     // when the last beat was passed on; only the loop uses it

	mu    sync.Mutex
	ready bool   // the manager knows that the daemon is ready
	said  string // the last status line
	deaf  bool   // the last Tell failed
}

// NewNotifier returns a Notifier that has told nothing yet.
func NewNotifier(m Manager) *Notifier {
	return &Notifier{manager: m, beats: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// Run keeps the manager informed until ctx is done.
func (n *Notifier) Run(ctx context.Context, d Daemon) {
	if n.manager.Tell == nil {
		return
	}
	var feeding sync.WaitGroup
	defer feeding.Wait()
	feeding.Go(func() { n.feed(ctx) })
	defer n.stopping()
	if n.untilReady(ctx, d) != nil {
		return
	}
	n.becomeReady()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.changed:
		case <-time.After(n.updateStatus(ctx, d)):
		}
	}
}

// Beat says that the loop went round. The loop calls it each time, so Beat does not wait for the
// manager, and does not send more often than the watchdog needs.
func (n *Notifier) Beat() {
	if n.manager.Watchdog == 0 || time.Since(n.fed) < n.manager.Watchdog/8 {
		return
	}
	select {
	case n.beats <- struct{}{}:
		n.fed = time.Now()
	default: // the last beat has not been sent yet
	}
}

// Reloading says that the configuration is read, until done is called. Before the daemon is
// ready it says nothing, since the end of a reload would make it ready.
func (n *Notifier) Reloading() (done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		return func() {}
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // which every kernel has
	n.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	return func() {
		n.becomeReady()
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
}

// untilReady waits until programs that start after the daemon find their tokens: for the first
// pass, but not longer than a minute, and then for what the daemon requires. Its error is
// that of ctx.
func (n *Notifier) untilReady(ctx context.Context, d Daemon) error {
	n.wait("the first tokens are on their way")
	pass, cancel := context.WithTimeout(ctx, firstPass)
	defer cancel()
	_ = d.Settled(pass) // a longer pass is not waited for
	for {
		why, err := d.WaitingFor(ctx)
		if why == "" || err != nil {
			return errors.Join(err, ctx.Err())
		}
		n.wait(why)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// updateStatus tells the status line. It returns when to look again.
func (n *Notifier) updateStatus(ctx context.Context, d Daemon) time.Duration {
	line, known := d.Status(ctx)
	n.status(line)
	every := statusEvery
	if n.manager.Watchdog > 0 { // a look makes the loop go round, which feeds the watchdog
		every = min(every, n.manager.Watchdog/4)
	}
	if !known {
		return min(lookAgain, every)
	}
	return every
}

// feed passes the beats of the loop on to the watchdog. The watchdog starts at the first one, so
// none is sent before the daemon is ready.
func (n *Notifier) feed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.beats:
			n.mu.Lock()
			if n.ready {
				n.tell("WATCHDOG=1")
			}
			n.mu.Unlock()
		}
	}
}

func (n *Notifier) becomeReady() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = true
	n.tell("READY=1")
}

// wait says why the daemon is not ready yet, and asks for more time.
func (n *Notifier) wait(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extension.Microseconds()), "STATUS="+why)
}

// status tells the status line if it has changed.
func (n *Notifier) status(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if line != "" && line != n.said {
		n.said = line
		n.tell("STATUS=" + line)
	}
}

func (n *Notifier) stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell("STOPPING=1", "STATUS=stopping")
}

// tell sends the assignments in one message. The caller holds mu.
func (n *Notifier) tell(assignments ...string) {
	err := n.manager.Tell(strings.Join(assignments, "\n"))
	if err != nil && !n.deaf {
		n.manager.Deaf(err)
	}
	n.deaf = err != nil
}
