package main

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts types what a person types, at the real command.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Defer(func() { watchFolder("a script", env.WorkDir) })
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir+"/run")   // where a user's agent answers
			env.Setenv("STATE_DIRECTORY", env.WorkDir+"/state") // and remembers, root's too
			env.Setenv("GORACE", "atexit_sleep_ms=0")           // a second at the end of each command, with the race detector
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "mount":
				return exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt").Run() == nil, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":        exits,
			"retry":        retry,
			"wait-for":     waitFor,
			"wait-other":   waitOther,
			"signal":       sendSignal,
			"never-showed": neverShowed,
			"mkfifo":       makeFIFO,
		},
	})
}

// exits CODE COMMAND…: runs the command, which must end with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// longest is more than anything takes that does not hang, however busy the machine is.
const longest = 2 * time.Minute

// eventually waits until done reports true; the test is a *testing.T or a script.
func eventually(ts interface{ Fatalf(string, ...any) }, what string, done func() bool) {
	eventuallyWithin(ts, longest, what, done)
}

func eventuallyWithin(ts interface{ Fatalf(string, ...any) }, long time.Duration, what string, done func() bool) {
	for end := time.Now().Add(long); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s did not come within %v", what, long)
		}
	}
}

// retry COMMAND…: runs the command until it succeeds.
func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: retry COMMAND…")
	}
	eventually(ts, "the success of "+strings.Join(args, " "), func() bool {
		return ts.Exec(args[0], args[1:]...) == nil
	})
}

// wait-for FILE [PATTERN [COUNT]]: waits until the file is there, and the
// pattern is found in it (COUNT times at least).
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 3 {
		ts.Fatalf("usage: wait-for FILE [PATTERN [COUNT]]")
	}
	file, pattern, count := ts.MkAbs(args[0]), (*regexp.Regexp)(nil), 1
	if len(args) > 1 {
		pattern = regexp.MustCompile("(?m)" + args[1])
	}
	if len(args) > 2 {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		count = n
	}
	eventually(ts, strings.Join(args, " "), func() bool {
		if pattern == nil {
			_, err := os.Lstat(file)
			return err == nil
		}
		text, err := os.ReadFile(file)
		return err == nil && len(pattern.FindAllIndex(text, count)) == count
	})
}

// wait-other FILE COPY: waits until the file is there and holds something else
// than the copy.
func waitOther(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: wait-other FILE COPY")
	}
	file, copied := ts.MkAbs(args[0]), ts.ReadFile(args[1])
	eventually(ts, "another content of "+args[0], func() bool {
		text, err := os.ReadFile(file)
		return err == nil && string(text) != copied
	})
}

// signal NAME PIDFILE: sends HUP or TERM to the process.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal HUP|TERM PIDFILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, signals[args[0]]))
}

// never-showed LOG TOKENFILE…: the log holds none of these tokens, no part of
// them, and nothing that looks like any other.
func neverShowed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: never-showed LOG TOKENFILE…")
	}
	log := ts.ReadFile(args[0])
	if log == "" {
		ts.Fatalf("%s is empty; that it shows no token says nothing", args[0])
	}
	if strings.Contains(log, "eyJ") {
		ts.Fatalf("%s shows what looks like a token", args[0])
	}
	for _, file := range args[1:] {
		parts := strings.Split(strings.TrimSpace(ts.ReadFile(file)), ".")
		if len(parts) != 3 {
			ts.Fatalf("%s holds no token", file)
		}
		for _, part := range parts {
			if strings.Contains(log, part) {
				ts.Fatalf("%s shows a part of the token in %s", args[0], file)
			}
		}
	}
}

// mkfifo PATH: makes a FIFO.
func makeFIFO(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mkfifo PATH")
	}
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o600))
}
