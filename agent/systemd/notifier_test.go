package systemd

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A hearer is a manager that keeps what it is told.
type hearer struct{ told []string }

func (h *hearer) manager() Manager {
	return Manager{Tell: func(message string) error { h.told = append(h.told, message); return nil }}
}

// systemd 253 and newer compare it with their own clock.
func TestAReloadSaysWhenItBegan(t *testing.T) {
	var h hearer
	n := NewNotifier(h.manager())
	n.becomeReady()
	before := monotonic()
	done := n.Reloading()
	after := monotonic()
	done()
	if len(h.told) != 3 || h.told[0] != "READY=1" || h.told[2] != "READY=1" {
		t.Fatalf("the manager is told %q", h.told)
	}
	said, found := strings.CutPrefix(h.told[1], "RELOADING=1\nMONOTONIC_USEC=")
	at, err := strconv.ParseInt(said, 10, 64)
	if !found || err != nil || at < before || at > after {
		t.Errorf("the manager is told %q of a reload between %d and %d", h.told[1], before, after)
	}
}

// monotonic is CLOCK_MONOTONIC in µs.
func monotonic() int64 {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano() / 1000
}

func TestAReloadDoesNotMakeADaemonReady(t *testing.T) {
	var h hearer
	NewNotifier(h.manager()).Reloading()()
	if len(h.told) > 0 {
		t.Errorf("the manager is told %q", h.told)
	}
}

// endless is a daemon whose first pass never ends.
var endless = Daemon{
	Settled:    func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	WaitingFor: func(context.Context) (string, error) { return "", nil },
	Status:     func(context.Context) (string, bool) { return "0 tokens valid", true },
}

func TestAFirstPassThatDoesNotEndIsNotWaitedForLongerThanAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hearer
		began := time.Now()
		if err := NewNotifier(h.manager()).untilReady(t.Context(), endless); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("it is ready after %v", waited)
		}
	})
}

func TestADaemonThatStopsBeforeItsFirstPassIsNotCalledReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hearer
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		NewNotifier(h.manager()).Run(ctx, endless)
		want := []string{"EXTEND_TIMEOUT_USEC=120000000\nSTATUS=the first tokens are on their way", "STOPPING=1\nSTATUS=stopping"}
		if d := cmp.Diff(want, h.told); d != "" {
			t.Error(d)
		}
	})
}

func TestTheLoopDoesNotWaitForTheManager(t *testing.T) {
	n := NewNotifier(Manager{Watchdog: time.Nanosecond})
	for range 3 { // nobody takes the beats
		n.Beat()
	}
}

func TestADeafManagerIsReportedOnce(t *testing.T) {
	reported := 0
	n := NewNotifier(Manager{
		Tell: func(string) error { return errors.New("gone") },
		Deaf: func(error) { reported++ },
	})
	n.becomeReady()
	n.status("1 token valid")
	n.status("2 tokens valid")
	if reported != 1 {
		t.Errorf("it is reported %d times", reported)
	}
}

func TestWithoutAManagerNothingIsTold(t *testing.T) {
	n := NewNotifier(Manager{})
	n.Run(t.Context(), Daemon{})
	n.Beat()
	n.Reloading()()
}
