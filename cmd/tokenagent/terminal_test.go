package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// tryTerminal is a script that says whether it can open a terminal.
const tryTerminal = `(: </dev/tty) 2>/dev/null && echo opens || echo none`

// A program that shares a terminal with the agent could type into it, and the
// shell behind it would obey.
func TestNoProgramOfAnAgentHasItsTerminal(t *testing.T) {
	if !hosttest.InTerminal(t) {
		return
	}
	user, uid := "", os.Geteuid()
	if uid == 0 {
		user, uid = `user = "nobody"`, 65534
	}
	s := newSite(t, fmt.Sprintf(`
source "command" "c" {
  command         = ["/bin/sh", "-c", %q]
  assume_lifetime = "1h"
  %s
}
token "t" {
  source = source.command.c
  sink "file" {
    path = "${path.config}/t"
  }
  hook "on_change" {
    command = ["/bin/sh", "-c", "(%s) >\"$1/said\"", "sh", "${path.config}/hook"]
    %[2]s
  }
}`, `printf 'terminal-'; `+tryTerminal, user, tryTerminal))
	s.mkdir(t, "hook", uid, 0o700)
	s.start(t)
	if got := s.written(t, "t"); got != "terminal-none\n" {
		t.Errorf("of a source: %s", got)
	}
	if got := s.written(t, "hook/said"); got != "none\n" {
		t.Errorf("of a hook: %s", got)
	}
	s.stop(t)
}

// The command of exec is another thing: a person asked for it.
func TestTheCommandOfExecHasTheTerminal(t *testing.T) {
	if !hosttest.InTerminal(t) {
		return
	}
	s := execSite(t)
	out, err := s.execute(t, tryTerminal).CombinedOutput()
	if err != nil || string(out) != "opens\n" {
		t.Errorf("its terminal: %s, %v", out, err)
	}
}

// The command of exec has what it would have without tokenagent, descriptors as
// well; but the program of a source, which runs before it, has not.
func TestTheCommandOfExecInheritsDescriptors(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	s.configure(t, `
source "command" "c" {
  command         = ["/bin/sh", "-c", "list=$(ls /proc/self/fd); echo $list >\"$1/source\"; echo token", "sh", path.config]
  assume_lifetime = "1h"
}
token "t" {
  source = source.command.c
}`)
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	defer w.Close()
	c := s.execute(t, `echo said >&5 && ! (: <&3) 2>/dev/null`)
	c.ExtraFiles = []*os.File{nil, nil, w} // 3 and 4 are closed
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("the command has not what it would have without us: %v, %s", err, out)
	}
	check(t, w.Close())
	text := make([]byte, 16)
	if n, err := r.Read(text); string(text[:n]) != "said\n" {
		t.Errorf("it says %q, %v", text[:n], err)
	}
	if got := s.written(t, "source"); got != "0 1 2 3\n" { // 3 is of ls itself
		t.Errorf("the source has %q", got)
	}
}
