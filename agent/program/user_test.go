package program

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

// The test binary runs itself as an agent with another identity or fewer
// capabilities: it runs the Program that the variable holds as JSON.
const childProgram = "PROGRAM_TEST_CHILD"

func TestMain(m *testing.M) {
	text := os.Getenv(childProgram)
	if text == "" {
		os.Exit(m.Run())
	}
	var p Program
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	out, err := p.Output(context.Background(), Input{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Print(out.Reveal())
}

// asAgent has another process run the program, whose capabilities are what
// limit leaves of ours, and returns what it has to say.
func asAgent(t *testing.T, p Program, attr *syscall.SysProcAttr, limit func() error) string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(copyOf(t, "/proc/self/exe"))
	c.Env, c.Dir, c.SysProcAttr = []string{childProgram + "=" + string(text)}, "/", attr
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	host.OnThread(func() {
		if err = limit(); err == nil {
			err = c.Start()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // its end is in what it says
	return out.String()
}

// copyOf is a copy of a program that everybody can execute.
func copyOf(t *testing.T, program string) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "program")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "copy")
	syscall.ForkLock.RLock() // a child that had it open for writing would keep others from executing it
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func without(capability uintptr) func() error {
	return func() error { return unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0) }
}

var (
	robot    = &User{Name: "robot", UID: 54301, GID: 54302, Groups: []uint32{54302, 54303}}
	identity = `grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb)' /proc/self/status | tr -s '\t ' '  '`
	asRobot  = "Uid: 54301 54301 54301 54301\nGid: 54302 54302 54302 54302\nGroups: 54302 54303 \n" +
		"CapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapAmb: 0000000000000000\n"
)

func TestProgramsTakeOnTheirUserWholly(t *testing.T) {
	needRoot(t)
	p := shell(identity)
	p.User = robot
	if diff := cmp.Diff(asRobot, output(t, p, Input{})); diff != "" {
		t.Error(diff)
	}
	p = shell(`exit 1`)
	p.User = robot
	wantFault(t, p.Run(t.Context(), Input{}), agent.Transient, "/bin/sh as robot: exit status 1")
}

// The pipes belong to whoever made them, and their names can be opened by nobody
// else: a program that is told to write to /dev/stdout could not.
func TestProgramsOpenTheirOutputByName(t *testing.T) {
	needRoot(t)
	p := shell(`echo named >/dev/stdout; echo said >/dev/stderr; cat /dev/stdin`)
	p.User = robot
	if got := output(t, p, Input{Stdin: []byte("read")}); got != "named\nread" {
		t.Errorf("got %q", got)
	}
}

// A unit may give an ordinary user these capabilities; who is served by its
// agent must not get them.
func TestCapabilitiesOfTheAgentStayWithIt(t *testing.T) {
	needRoot(t)
	ordinary := &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 54311, Gid: 54311},
		AmbientCaps: []uintptr{unix.CAP_SETUID, unix.CAP_SETGID},
	}
	p := shell(identity)
	p.User = robot
	if diff := cmp.Diff(asRobot, asAgent(t, p, ordinary, func() error { return nil })); diff != "" {
		t.Error(diff)
	}
}

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	needRoot(t)
	p := shell(`true`)
	p.User = robot
	for _, capability := range []uintptr{unix.CAP_SETUID, unix.CAP_SETGID} {
		if got := asAgent(t, p, nil, without(capability)); !strings.Contains(got, "the agent needs the capabilities CAP_SETUID and CAP_SETGID") {
			t.Errorf("got %q", got)
		}
	}
}

// Root may not signal another user's process without CAP_KILL, which no unit
// needs to give.
func TestProgramsOfAnotherUserAreEndedWithoutCapKill(t *testing.T) {
	t.Parallel()
	needRoot(t)
	giveTime(t, func(d time.Duration) error {
		p := shell(`trap "" TERM; echo $$ >&2; while :; do sleep 1000; done`)
		p.User, p.Timeout = robot, d
		got := asAgent(t, p, nil, without(unix.CAP_KILL))
		_, pid, said := strings.Cut(strings.TrimSpace(got), "it said: ")
		if !strings.Contains(got, "/bin/sh as robot: ended as it took longer than") || !said {
			return fmt.Errorf("after %s: %q", d, got)
		}
		gone(t, pid)
		return nil
	})
}

// A program that takes on an identity which the agent may not signal holds up
// nobody for ever.
func TestProgramsThatCannotBeEndedAreLeft(t *testing.T) {
	t.Parallel()
	needRoot(t)
	giveTime(t, func(d time.Duration) error {
		p := Program{
			Args:    []string{"/usr/bin/setpriv", "--reuid=54399", "--clear-groups", "/bin/sh", "-c", "echo $$ >&2; exec sleep 1000"},
			Timeout: d,
		}
		got := asAgent(t, p, nil, without(unix.CAP_KILL))
		_, said, _ := strings.Cut(strings.TrimSpace(got), "it said: ")
		pid, err := strconv.Atoi(said)
		if err != nil || !strings.Contains(got, "it does not end, not even by SIGKILL") {
			return fmt.Errorf("after %s: %q", d, got)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Errorf("it was waited for: %v", err)
		}
		return nil
	})
}

func TestUsersAreLookedUpWithAllTheirGroups(t *testing.T) {
	known := &host.Database{Getent: script(t, `#!/bin/sh
case "$2 $3" in
"passwd frontend" | "passwd 70001") echo "frontend:*:70001:70002::/home/frontend:/bin/sh" ;;
"initgroups frontend") echo "frontend  70004 70003 70002" ;;
*) exit 2 ;;
esac
`, 0o755)}
	want := &User{Name: "frontend", UID: 70001, GID: 70002, Groups: []uint32{70002, 70003, 70004}, Home: "/home/frontend"}
	for _, name := range []string{"frontend", "70001"} {
		u, err := lookup(known, name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, u); diff != "" {
			t.Errorf("user %s:\n%s", name, diff)
		}
	}
}

func TestANumberWithoutAnEntryIsNoUserToRunAs(t *testing.T) {
	none := &host.Database{Getent: "/no/getent"}
	for name, known := range map[string]*host.Database{"nobody-of-that-name": none, "70008": none, "70009": {}} {
		want := "there is no user " + name + " in /etc/passwd, and getent knows none"
		if _, err := lookup(known, name); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
