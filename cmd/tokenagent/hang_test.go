package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/watch"
)

// hangingFolder is one of a file system whose server never answers, as NFS
// without its server is: a process that goes there waits until the test ends.
func hangingFolder(t *testing.T, s *site, name string) string {
	t.Helper()
	needRoot(t)
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil && os.Getenv("TOKENAGENT_REQUIRE_REAL") != "1" {
		t.Skip("no folder can hang here without FUSE:", err)
	}
	check(t, err)
	dir := s.mkdir(t, name, 0, 0o700)
	check(t, unix.Mount("tokenagent", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40700,user_id=0,group_id=0", server)))
	t.Cleanup(func() {
		s.kill()
		check(t, unix.Close(server)) // now all that wait get an error
		check(t, unix.Unmount(dir, unix.MNT_DETACH))
	})
	return dir
}

const (
	goodToken = `
token "good" {
  source  = source.local_key.site
  subject = "robot"
  sink "file" {
    path = "${path.config}/good"
  }
}
`
	hangingToken = `
token "hanging" {
  source   = source.local_key.site
  subject  = "robot"
  required = false
  sink "file" {
    path = "${path.config}/hanging/deep/token"
  }
}
`
)

func TestWatcherWaitsForNoFolderThatHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodToken)
	hanging := hangingFolder(t, s, "hanging")
	sinks := []string{s.path("good")}
	for n := range 1000 {
		sinks = append(sinks, fmt.Sprintf("%s/%d/token", hanging, n))
	}
	touched := make(chan string, 100)
	began := time.Now()
	w := watch.New(watch.Reports{Touched: func(path string) { touched <- path }})
	w.Watch(watch.List{Sinks: sinks, Followed: []string{hanging + "/followed/a", hanging + "/followed/b", hanging + "/too/c"}}, began)
	if took := time.Since(began); took > time.Minute { // it waits a second for each of three, not of a thousand
		t.Errorf("to begin took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	put(t, s.path("good"), "touched")
	if path := <-touched; path != s.path("good") {
		t.Errorf("%s was touched", path)
	}
	cancel()
	running.Wait()
}

func TestAFolderThatHangsAtTheStartDelaysNoOtherToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodToken+hangingToken)
	hangingFolder(t, s, "hanging")
	s.start(t)
	eventually(t, "the token of the good folder", func() bool { _, err := os.Stat(s.path("good")); return err == nil })
	stopInTime(t, s)
}

func TestAFolderThatHangsAtAReloadDelaysNoOtherToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodToken)
	hangingFolder(t, s, "hanging")
	s.start(t)
	s.settled(t)
	s.configure(t, goodToken+hangingToken)
	eventually(t, "the configuration with the hanging folder", func() bool {
		tokens, err := s.client().Status(t.Context())
		return err == nil && len(tokens) == 2
	})
	check(t, os.Remove(s.path("good")))
	eventually(t, "the token of the good folder", func() bool { _, err := os.Stat(s.path("good")); return err == nil })
	stopInTime(t, s)
}

// stopInTime demands that the agent ends, though the folder hangs on.
func stopInTime(t *testing.T, s *site) {
	t.Helper()
	late := time.AfterFunc(longest, func() { _ = s.agent.Process.Kill() })
	defer late.Stop()
	s.stop(t)
}

func TestCheckOnlineWaitsForAFolderThatHangsOnce(t *testing.T) {
	t.Parallel()
	var names []string
	for n := range 300 {
		names = append(names, fmt.Sprint(n))
	}
	s := newSite(t, goodToken+`
token "hanging" {
  for_each = toset(["`+strings.Join(names, `", "`)+`"])
  source   = source.local_key.site
  subject  = each.key
  sink "file" {
    path = "${path.config}/hanging/deep/${each.key}"
  }
}
`)
	hangingFolder(t, s, "hanging")
	begun := time.Now()
	out, err := s.command(nil, "check", "--online").Output()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != exitFailed {
		t.Errorf("%v, want exit %d", err, exitFailed)
	}
	wantLines(t, string(out), `^  ok       .*/good +nothing lies there yet$`, `^  fault    .*/hanging/deep/299 +the folder does not answer; is the server behind it gone\?$`)
	if took := time.Since(begun); took > 300*sinkPatience/2 {
		t.Errorf("it took %v", took)
	}
}

// A write that hangs must not be silent: the log and the status tell it, soon after the
// minute that a write may take.
func TestAWriteThatHangsIsToldByLogAndStatus(t *testing.T) {
	requireLong(t)
	t.Parallel()
	s := newSite(t, goodToken+hangingToken)
	hangingFolder(t, s, "hanging")
	s.start(t)
	eventuallyWithin(t, time.Minute+longest, "the failure of the token that hangs", func() bool {
		tokens, err := s.client().Status(t.Context(), "hanging")
		return err == nil && tokens[0].Failing != nil && strings.Contains(tokens[0].Failing.Error, "does not answer")
	})
	wantLines(t, s.log(t), `level=error msg="token not written" error="its folder does not answer since .*hanging/deep/token`)
	out, _ := s.command(nil, "status").Output()
	wantLines(t, string(out), `hanging .*missing`, `its folder does not answer`)
	stopInTime(t, s)
}

// hungToken is signed with a key in a folder that hangs, which a load waits for.
const hungToken = `
source "local_key" "hung" {
  key_file = "${path.config}/hanging/deep/key.pem"
}
token "hung" {
  source  = source.local_key.hung
  subject = "robot"
  sink "file" { path = "${path.config}/hung" }
}
`

// untilHung waits until the process waits for the folder that hangs.
func untilHung(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "a process that hangs", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
		return slices.ContainsFunc(tasks, func(task string) bool {
			where, _ := os.ReadFile(task)
			return strings.Contains(string(where), "fuse") || strings.Contains(string(where), "request_wait")
		})
	})
}

// A load may hang forever, and systemd kills what does not end in 20 s.
func TestASignalEndsALoadThatHangs(t *testing.T) {
	t.Parallel()
	for command, code := range map[string]int{"run": 0, "once": exitFailed, "check": exitFailed} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, hungToken)
			hangingFolder(t, s, "hanging")
			c := s.command(nil, command)
			var out strings.Builder
			c.Stderr = &out
			check(t, launch(c))
			untilHung(t, c.Process.Pid)
			wantEnd(t, c, code, &out)
		})
	}
}

func TestASignalEndsAReloadThatHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodToken)
	hangingFolder(t, s, "hanging")
	s.start(t)
	s.settled(t)
	before := readFile(t, s.path("good"))
	s.configure(t, goodToken+hungToken)
	untilHung(t, s.agent.Process.Pid)
	stopInTime(t, s)
	if readFile(t, s.path("good")) != before {
		t.Error("the token was touched")
	}
}

// wantEnd has SIGTERM end the command, with that code.
func wantEnd(t *testing.T, c *exec.Cmd, code int, out fmt.Stringer) {
	t.Helper()
	check(t, c.Process.Signal(unix.SIGTERM))
	late := time.AfterFunc(longest, func() { _ = c.Process.Kill() })
	defer late.Stop()
	_ = c.Wait() // the code says it
	if got := c.ProcessState.ExitCode(); got != code {
		t.Errorf("it ended with %d, want %d\n%s", got, code, out)
	}
}
