package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
)

const briefToken = `
token "t" {
  source   = source.local_key.site
  subject  = "t"
  lifetime = "3m"

  renew {
    min_remaining = "170s" # so it is renewed after 10 s, which is the least
  }
}
`

// execSite is a site without a running agent, with a folder for the files of exec.
func execSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, briefToken)
	s.mkdir(t, "run", os.Geteuid(), 0o700)
	return s
}

// execute starts exec with a shell that runs the script, which finds the site's
// folder in $1, run by the program that before names, if any.
func (s *site) execute(t *testing.T, script string, before ...string) *exec.Cmd {
	t.Helper()
	argv := append(before, "tokenagent", "exec", "--config", s.path("site.hcl"), "--", "/bin/sh", "-c", script, "sh", s.folder)
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "XDG_RUNTIME_DIR="+s.path("run"))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// ended waits for the end of c, which must have this exit code and leave nothing behind.
func (s *site) ended(t *testing.T, c *exec.Cmd, code int) {
	t.Helper()
	err := c.Wait() // or it was waited for already
	if got := c.ProcessState.ExitCode(); got != code {
		t.Errorf("it ends with %v, want exit code %d", err, code)
	}
	left, err := os.ReadDir(s.path("run"))
	check(t, err)
	for _, entry := range left {
		t.Errorf("left behind: %s", entry.Name())
	}
}

// written waits until the file of the site is there, and returns what is in it.
func (s *site) written(t *testing.T, name string) (text string) {
	t.Helper()
	eventually(t, name, func() bool {
		content, err := os.ReadFile(s.path(name))
		text = string(content)
		return err == nil && strings.HasSuffix(text, "\n")
	})
	return text
}

func TestTokenIsRenewedUnderTheRunningCommand(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	c := s.execute(t, `cp "$BEARER_TOKEN_FILE" "$1/first"
while cmp -s "$BEARER_TOKEN_FILE" "$1/first"; do sleep 0.1; done
cp "$BEARER_TOKEN_FILE" "$1/second"`)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	check(t, launch(c))
	s.ended(t, c, 0)
	if s.mustLook(t, "first").Text == s.mustLook(t, "second").Text {
		t.Error("the second token is the first")
	}
	if out.Len() > 0 {
		t.Errorf("it says %q, where only the command should", &out)
	}
}

func TestSignalsReachTheCommandWhichDecides(t *testing.T) {
	t.Parallel()
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT) // or under nohup(1), or in the background, the command would ignore them too
	t.Cleanup(func() { signal.Stop(heard) })
	for name, signal := range map[string]syscall.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT,
		"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := execSite(t)
			c := s.execute(t, `trap 'echo got >>"$1/got"; exit 9' `+name+`; echo ready >"$1/ready"; while [ -d "$1" ]; do sleep 0.02; done`)
			c.SysProcAttr.Setsid = true // away from the terminal of the person who runs the tests
			check(t, launch(c))
			s.written(t, "ready")
			check(t, c.Process.Signal(signal))
			s.ended(t, c, 9)
			if got := s.written(t, "got"); got != "got\n" {
				t.Errorf("it got the signal %d times", strings.Count(got, "got"))
			}
		})
	}
}

func TestCommandThatIsKilledIsTold(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	c := s.execute(t, `echo $$ >"$1/pid"; exec sleep 1000`)
	check(t, launch(c))
	pid, err := strconv.Atoi(strings.TrimSpace(s.written(t, "pid")))
	check(t, err)
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	s.ended(t, c, 137)
}

// Nobody renews the token of a command whose exec was killed, and whoever
// started exec thinks it has ended.
func TestCommandIsEndedWhenExecIsKilled(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	c := s.execute(t, `trap 'echo told >"$1/told"; exit' TERM; echo ready >"$1/ready"; while [ -d "$1" ]; do sleep 0.02; done`)
	check(t, launch(c))
	s.written(t, "ready")
	check(t, c.Process.Kill())
	_ = c.Wait() // it was killed
	s.written(t, "told")
}

// The terminal gives Ctrl-C to the whole job: passed on, it would come twice.
func TestKeysOfATerminalComeOnce(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	keyboard, terminal := openTerminal(t)
	c := s.execute(t, `trap 'echo got >>"$1/got"' INT; trap 'echo resized >"$1/resized"' WINCH; echo ready >"$1/ready"
until [ -e "$1/enough" ]; do sleep 0.5 & wait; done; exit 3`)
	c.Stdin, c.Stdout, c.Stderr = terminal, terminal, terminal
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	check(t, launch(c))
	terminal.Close()
	s.written(t, "ready")
	const times = 30 // two signals may reach the shell as one, but not each time
	for i := range times {
		_, err := keyboard.Write([]byte{'C' - '@'})
		check(t, err)
		eventually(t, "what Ctrl-C does", func() bool { return strings.Count(s.written(t, "got"), "got") > i })
	}
	check(t, unix.IoctlSetWinsize(int(keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 20}))
	s.written(t, "resized")
	put(t, s.path("enough"), "")
	s.ended(t, c, 3)
	if got := strings.Count(s.written(t, "got"), "got"); got != times {
		t.Errorf("Ctrl-C was typed %d times and came %d times", times, got)
	}
}

// Ctrl-Z stops the whole job for its shell, and fg lets all of it go on.
func TestJobControlOfTheShellWorks(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	keyboard, terminal := openTerminal(t)
	job := s.execute(t, `echo ready >"$1/ready"; until [ -e "$1/enough" ]; do sleep 0.05; done; exit 3`,
		"bash", "-c", `set -m; "${@:2}"; echo $? >"$1/stopped"; fg; echo $? >"$1/ended"`, "bash", s.folder)
	job.Stdin, job.Stdout, job.Stderr = terminal, terminal, terminal
	job.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	check(t, launch(job))
	terminal.Close()
	s.written(t, "ready")
	_, err := keyboard.Write([]byte{'Z' - '@'})
	check(t, err)
	if code := s.written(t, "stopped"); code != fmt.Sprintf("%d\n", 128+syscall.SIGTSTP) {
		t.Errorf("to its shell the job ends with %s", code)
	}
	put(t, s.path("enough"), "")
	if code := s.written(t, "ended"); code != "3\n" {
		t.Errorf("after fg the job ends with %s", code)
	}
	s.ended(t, job, 0)
}

// openTerminal makes a terminal, and the keyboard before it.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	t.Cleanup(func() { keyboard.Close() })
	check(t, unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	check(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	go io.Copy(io.Discard, keyboard) // what the terminal echoes; it ends with the keyboard
	return keyboard, terminal
}

// fails is a source that gives no token.
type fails struct{ kind agent.Kind }

func (f fails) Issue(context.Context, agent.Request) (agent.Token, error) {
	return agent.Token{}, &agent.Fault{Kind: f.kind, Err: errors.New("the issuer says no")}
}

func TestCommandIsNotStartedWithoutAToken(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", folder)
	for _, c := range []struct {
		kind    agent.Kind
		timeout time.Duration
		signals []os.Signal
		code    int
		says    string
	}{
		{agent.Transient, 50 * time.Millisecond, nil, 4, "token t: the issuer says no; the command was not started"},
		{agent.Configuration, time.Hour, nil, 4, "token t: the issuer says no; the command was not started"},
		{agent.Transient, time.Hour, []os.Signal{syscall.SIGWINCH, syscall.SIGTERM}, 143, "terminated, before there was a token; the command was not started"},
	} {
		heard := make(chan os.Signal, len(c.signals))
		for _, s := range c.signals {
			heard <- s
		}
		own, err := keepOwn(agent.Renewer{Name: "t", Source: fails{c.kind}}, nil, unheard())
		check(t, err)
		err = own.first(t.Context(), c.timeout, heard)
		own.close()
		if e, ok := errors.AsType[*exitError](err); !ok || e.code != c.code || e.Error() != c.says {
			t.Errorf("%v %v: %v", c.kind, c.signals, err)
		}
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// As root, below a folder of somebody else, who could put another in its place.
func TestFolderThatCannotBeTrustedIsSaidSoon(t *testing.T) {
	t.Parallel()
	needRoot(t)
	s := execSite(t)
	others := s.mkdir(t, "others", somebody, 0o700)
	c := s.execute(t, "exit 9")
	c.Env = append(c.Env, "XDG_RUNTIME_DIR=", "TMPDIR="+others)
	said, _ := c.CombinedOutput()
	s.ended(t, c, 4)
	if want := "others belongs to uid 54321, not to root; the command was not started\n"; !strings.HasSuffix(string(said), want) {
		t.Errorf("it says %s", said)
	}
}

func unheard() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func TestFolderOfTheTokenIsMadeWhereNobodyElseCanEnter(t *testing.T) {
	mine, temporary := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temporary)
	wants := map[string]string{mine: mine, "": temporary, "run": temporary, filepath.Join(mine, "none"): temporary}
	if os.Geteuid() == 0 { // as after sudo
		others := t.TempDir()
		check(t, os.Chown(others, somebody, somebody))
		wants[others] = temporary
	} else {
		wants["/"] = temporary
	}
	for variable, want := range wants {
		t.Setenv("XDG_RUNTIME_DIR", variable)
		if got := ownFolders(); got != want {
			t.Errorf("XDG_RUNTIME_DIR=%q: %s, want %s", variable, got, want)
		}
	}
}

func TestFileOfTheTokenIsFoundFromEveryFolder(t *testing.T) {
	s := execSite(t)
	c := s.execute(t, `cd / && cp "$BEARER_TOKEN_FILE" "$1/seen"`)
	c.Dir = s.folder
	c.Env = append(c.Env, "XDG_RUNTIME_DIR=", "TMPDIR=run")
	check(t, launch(c))
	s.ended(t, c, 0)
	s.written(t, "seen")
}

// countZombies leaves processes without a parent, which end at once, and counts
// those that are there until none is, at most for 20 s.
const countZombies = `
for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'echo $$ >>"$1/orphans"' sh "$1" &); done
until test "$(cat "$1/orphans" 2>/dev/null | wc -l)" = 8; do sleep 0.02; done
zombies=8 tries=0
while [ $zombies -gt 0 ] && [ $tries -lt 1000 ]; do
  sleep 0.02
  tries=$((tries + 1)) zombies=$(ls -d $(sed 's|^|/proc/|' "$1/orphans") 2>/dev/null | wc -l)
done
echo $zombies >"$1/zombies"
`

// asFirst is the way to run a program as the first process of a container.
func asFirst(t *testing.T) []string {
	t.Helper()
	needRoot(t)
	unshare := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	requirePart(t, unshare[0], append(unshare[1:], "true")...)
	return unshare
}

func TestFirstProcessOfAContainerReapsWhatHasLostItsParent(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	c := s.execute(t, countZombies+"exit 5", asFirst(t)...)
	check(t, launch(c))
	s.ended(t, c, 5)
	if n := s.written(t, "zombies"); n != "0\n" {
		t.Errorf("%s zombies are left", strings.TrimSpace(n))
	}
}

func TestFirstProcessOfAContainerPassesSignalsOn(t *testing.T) {
	t.Parallel()
	s := execSite(t)
	c := s.execute(t, `trap 'exit 9' TERM; echo ready; while [ -d "$1" ]; do sleep 0.02; done`, asFirst(t)...)
	out, err := c.StdoutPipe()
	check(t, err)
	check(t, launch(c))
	_, err = bufio.NewReader(out).ReadString('\n')
	check(t, err)
	check(t, syscall.Kill(childOf(t, c.Process.Pid), syscall.SIGTERM))
	s.ended(t, c, 9)
}

// childOf is the number of the only child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	text := readFile(t, fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	child, err := strconv.Atoi(strings.TrimSpace(text))
	check(t, err)
	return child
}

// What a hook leaves behind is reaped, and what becomes of the hook itself is
// still told to whoever started it.
func TestAgentThatIsTheFirstProcessReapsWhatHooksLeave(t *testing.T) {
	t.Parallel()
	s := newSite(t, fmt.Sprintf(`
token "t" {
  source  = source.local_key.site
  subject = "t"
  sink "file" {
    path = "${path.config}/token"
  }
  hook "on_first" {
    command = ["/bin/sh", "-c", %q, "sh", path.config]
  }
}
`, countZombies+"exit 3"))
	s.start(t, asFirst(t)...)
	eventually(t, "a hook that is known to fail", func() bool {
		return strings.Contains(s.log(t), "exit status 3")
	})
	if n := s.written(t, "zombies"); n != "0\n" {
		t.Errorf("%s zombies are left", strings.TrimSpace(n))
	}
	check(t, syscall.Kill(childOf(t, s.agent.Process.Pid), syscall.SIGTERM))
	check(t, s.agent.Wait())
	s.agent = nil
	if log := s.log(t); !strings.Contains(log, "stopped; the tokens stay where they are") {
		t.Error(log)
	}
}
