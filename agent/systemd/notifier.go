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
	firstPass   = time.Minute      // after which the daemon is ready, whatever became of its first tokens
	extension   = 2 * time.Minute  // asked for again and again until the daemon is ready
	lookAgain   = time.Second      // between two looks at what is about to change
	statusEvery = 30 * time.Second // at most, between two looks at the status line
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
	WaitingFor func(context.Context) (string, error)           // what is missing before the daemon is ready; "": nothing
	Status     func(context.Context) (line string, known bool) // the status line; not known while a token is due
}

// A Notifier tells a Manager when the daemon is ready, reloads and stops, what its
// status line is, and that its loop goes round.
type Notifier struct {
	manager Manager
	beats   chan struct{} // the loop goes round
	changed chan struct{} // the status line may have changed
	fed     time.Time     // when the last beat was taken; only the loop uses it

	mu    sync.Mutex
	ready bool   // the manager has been told so
	said  string // the last status line
	deaf  bool   // Tell failed the last time
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

// Beat says that the loop went round. The loop calls it each time: it neither waits
// for the manager nor sends more often than the watchdog needs.
func (n *Notifier) Beat() {
	if n.manager.Watchdog == 0 || time.Since(n.fed) < n.manager.Watchdog/8 {
		return
	}
	select {
	case n.beats <- struct{}{}:
		n.fed = time.Now()
	default: // the last one has not been sent yet
	}
}

// Reloading says that the configuration is being read, until done is called. A
// daemon that is not ready yet says nothing: the end of a reload would make it so.
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

// untilReady returns when programs that start after the daemon find their tokens:
// after the first pass or a minute, and not while the daemon waits for a token. Its
// error is that of ctx.
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

// updateStatus tells the status line and returns how long it holds.
func (n *Notifier) updateStatus(ctx context.Context, d Daemon) time.Duration {
	line, known := d.Status(ctx)
	n.status(line)
	every := statusEvery
	if n.manager.Watchdog > 0 { // each look makes the loop go round, and its beat feeds the watchdog
		every = min(every, n.manager.Watchdog/4)
	}
	if !known {
		return min(lookAgain, every)
	}
	return every
}

// feed passes the beats of the loop on to the watchdog. The watchdog begins to
// count at the first one, so there is none before the daemon is ready.
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
