// Command tokenagent keeps tokens fresh: it issues those that its configuration
// defines, writes them where their readers look, and renews them in time.
//
// This package is the process: one file for each command, and the flags, the
// environment, the signals and the exit codes. It is the only package that knows all
// others.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	_ "time/tzdata" // for CRON_TZ where there are no time zones: in a container

	"github.com/tokenagent/tokenagent/agent/host"
)

// The main goroutine keeps the main thread for itself. A thread that takes on a
// user's identity for a write ends with its goroutine. The main thread cannot end:
// the runtime would park it, and /proc would show that identity from then on.
func init() { runtime.LockOSThread() }

func main() {
	if os.Getpid() == firstProcess {
		os.Exit(report(asErrors(os.Stderr), asInit(os.Args)))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := host.Undumpable(); err != nil { // keys and tokens are in memory
		return report(asErrors(stderr), err)
	}
	silenceLibraries()
	return report(asErrors(stderr), execute(args, stdin, stdout, stderr))
}

// untilSignal returns a context that is done when a person or systemd wants the
// process to end, or when the terminal is closed. A second signal ends the process at
// once.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) { // by nohup
		return until(parent, os.Interrupt, syscall.SIGTERM)
	}
	return until(parent, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

func until(parent context.Context, signals ...os.Signal) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
