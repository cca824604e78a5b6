package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// shell is a Program that runs a script; $1 … are the arguments.
func shell(script string, args ...string) Program {
	return Program{Args: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Timeout: aMinute}
}

// script writes a file with that mode, and gives its path.
func script(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	syscall.ForkLock.RLock() // a child that had it open for writing would keep others from executing it
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// aMinute is more than anything here takes that does not hang.
const aMinute = time.Minute

// giveTime calls once with more and more time, until it returns no error. On a
// busy machine a program has not even begun in a time that is plenty elsewhere.
func giveTime(t *testing.T, once func(time.Duration) error) {
	t.Helper()
	for d := 200 * time.Millisecond; ; d *= 2 {
		err := once(d)
		if err == nil {
			return
		}
		if d > aMinute {
			t.Fatal(err)
		}
	}
}

// output is what the program prints.
func output(t *testing.T, p Program, in Input) string {
	t.Helper()
	text, err := p.Output(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return text.Reveal()
}

// wantFault checks kind and text of an error.
func wantFault(t *testing.T, err error, kind agent.Kind, texts ...string) {
	t.Helper()
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok {
		t.Fatalf("got %v, want a fault", err)
	}
	if f.Kind != kind {
		t.Errorf("the kind of %q is %s, want %s", f, f.Kind, kind)
	}
	for _, text := range texts {
		if !strings.Contains(f.Error(), text) {
			t.Errorf("got %q, want it to have %q", f, text)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can take on another identity")
	}
}

// gone waits until the process of that number has ended. One that waits to be
// reaped by its parent has.
func gone(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(aMinute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
	}
	t.Errorf("process %s is still there", pid)
}

func number(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestProgramsFindNothingButWhatTheyAreGiven(t *testing.T) {
	inherited, err := unix.Dup(0) // as whoever started the agent may have left one open
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	for what, test := range map[string]struct{ script, want string }{
		"folder":      {`pwd`, "/\n"},
		"descriptors": {`ls /proc/$$/fd`, "0\n1\n2\n"},
		"input":       {`cat`, "one\ntwo"},
		"arguments":   {`printf '%s|' "$@"`, "a b|$HOME|;|"},
	} {
		t.Run(what, func(t *testing.T) {
			got := output(t, shell(test.script, "a b", "$HOME", ";"), Input{Env: []string{"X=y"}, Stdin: []byte("one\ntwo")})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnvironmentIsExact(t *testing.T) {
	t.Setenv("SECRET_OF_THE_AGENT", "x")
	got := output(t, Program{Args: []string{"/usr/bin/env"}}, Input{Env: []string{"X=y"}})
	if want := strings.Join(append(slices.Clone(environment), "X=y\n"), "\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgramsLeadTheirOwnGroup(t *testing.T) {
	f := strings.Fields(output(t, shell(`echo $$; cut -d' ' -f5 /proc/$$/stat`), Input{}))
	if len(f) != 2 || f[0] != f[1] {
		t.Errorf("process and group are %q", f)
	}
}

func TestProgramsThatCannotBeStartedAreFaultsOfConfiguration(t *testing.T) {
	folder := t.TempDir()
	plainFile := script(t, "#!/bin/sh\n", 0o644)
	for what, test := range map[string]struct {
		args []string
		want string
	}{
		"none":           {nil, "program: it is not the absolute path"},
		"not absolute":   {[]string{"sh"}, "sh: it is not the absolute path"},
		"missing":        {[]string{folder + "/none"}, "/none: no such file or directory; install the program"},
		"a folder":       {[]string{folder}, "permission to execute"},
		"not executable": {[]string{plainFile}, "permission denied; the user it runs as needs the permission"},
		"no interpreter": {[]string{script(t, "#!/no/interpreter\n", 0o755)}, "what is to interpret it"},
		"no program":     {[]string{script(t, "not a program", 0o755)}, "without #!"},
		"below a file":   {[]string{plainFile + "/x"}, "not a directory; correct the path"},
		"NUL":            {[]string{"/bin/true", "a\x00b"}, "NUL"},
		"long arguments": {[]string{"/bin/true", strings.Repeat("x", 1<<20)}, "too long"},
	} {
		t.Run(what, func(t *testing.T) {
			wantFault(t, Program{Args: test.args}.Run(t.Context(), Input{}), agent.Configuration, test.want)
		})
	}
}

func TestFailuresAreTransientAndSayWhatHappened(t *testing.T) {
	for what, test := range map[string]struct{ script, want string }{
		"exit status":        {`exit 3`, "/bin/sh: exit status 3; it said nothing, so run it by hand to see why"},
		"words":              {`echo fine; echo one >&2; echo "cannot find the collector" >&2; exit 1`, "/bin/sh: exit status 1; it said: one / cannot find the collector"},
		"words on stdout":    {`printf 'a\nb\n\nc\nd'; exit 1`, "exit status 1; it said: b / c / d"},
		"signal":             {`kill -SEGV $$`, "killed by SIGSEGV; it said nothing"},
		"megabytes":          {`yes word | head -c 5000000; exit 4`, "exit status 4; it said: word / word / word"},
		"binary garbage":     {`printf '\377\000\033[31m\001\n' >&2; exit 1`, "it said: ???[31m?"},
		"one endless line":   {`yes 'some words' | head -c 5000000 | tr -d '\n'; exit 1`, "it said: …"},
		"no error at all":    {`exit 0`, ""},
		"megabytes, success": {`yes word | head -c 5000000`, ""},
	} {
		t.Run(what, func(t *testing.T) {
			err := shell(test.script).Run(t.Context(), Input{})
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantFault(t, err, agent.Transient, test.want)
			if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Errorf("%q is no line that can be shown", err)
			}
		})
	}
}

func TestArgumentsAreNotQuoted(t *testing.T) {
	if err := shell(`exit 1`, "--password=hunter2").Run(t.Context(), Input{}); strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestInputNeedNotBeRead(t *testing.T) {
	if err := shell(`exit 0`).Run(t.Context(), Input{Stdin: make([]byte, 1<<20)}); err != nil {
		t.Error(err)
	}
	if err := shell(`exec <&-; exec sleep 0.05`).Run(t.Context(), Input{Stdin: make([]byte, 1<<20)}); err != nil {
		t.Error(err)
	}
	if got := output(t, shell(`wc -c`), Input{Stdin: make([]byte, 1<<20)}); strings.TrimSpace(got) != "1048576" {
		t.Errorf("it read %s", got)
	}
}

func TestOutputIsWholeOrAnError(t *testing.T) {
	if got := output(t, shell(`yes "" | tr "\n" x | head -c 16384; echo noise >&2`), Input{}); got != strings.Repeat("x", MaxOutput) {
		t.Errorf("it has %d bytes", len(got))
	}
	_, err := shell(`yes | head -c 16385`).Output(t.Context(), Input{})
	wantFault(t, err, agent.Transient, "more than 16384 bytes")
	_, err = shell(`echo very secret; exit 1`).Output(t.Context(), Input{})
	wantFault(t, err, agent.Transient, "exit status 1; it said nothing")
	if strings.Contains(err.Error(), "very secret") {
		t.Errorf("%q quotes the output", err)
	}
}

// Each of these would hold up hooks for ever.
func TestProgramsThatHangAreEnded(t *testing.T) {
	for what, test := range map[string]struct {
		script string
		end    string // of the shell
	}{
		"hangs":               {`echo waiting >&2; exec sleep 1000`, "signal: terminated"},
		"hangs in a child":    {`echo waiting >&2; sleep 1000; true`, "signal: terminated"},
		"ignores SIGTERM":     {`trap "" TERM; echo waiting >&2; while :; do sleep 1000; done`, "signal: killed"},
		"is stopped":          {`echo waiting >&2; kill -STOP $$`, "signal: killed"},
		"closes its output":   {`echo waiting >&2; exec >&- 2>&-; exec sleep 1000`, "signal: terminated"},
		"succeeds on SIGTERM": {`trap "exit 0" TERM; echo waiting >&2; sleep 1000 & wait`, "exit status 0"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			giveTime(t, func(d time.Duration) error {
				p := shell(test.script)
				p.Timeout = d
				r, err := p.run(t.Context(), Input{})
				if err != nil {
					t.Fatal(err)
				}
				if said := r.stderr.words(); said != "waiting" || r.end.String() != test.end {
					return fmt.Errorf("after %s and the words %q it ends with %v; want %s", d, said, r.end, test.end)
				}
				wantFault(t, p.verdict(r, "waiting"), agent.Transient, "/bin/sh: ended as it took longer than "+d.String(), "; it said: waiting")
				return nil
			})
		})
	}
}

func TestProgramsAreEndedWithTheirContext(t *testing.T) {
	reason := errors.New("the agent stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	started := filepath.Join(t.TempDir(), "started")
	go func() {
		for _, err := os.Stat(started); err != nil; _, err = os.Stat(started) {
			time.Sleep(time.Millisecond)
		}
		cancel(reason)
	}()
	err := shell(`: >"$1"; exec sleep 100`, started).Run(ctx, Input{})
	wantFault(t, err, agent.Transient, "/bin/sh: ended: the agent stops")
	if !errors.Is(err, reason) {
		t.Errorf("%v does not wrap why", err)
	}
	os.Remove(started)
	wantFault(t, shell(`: >"$1"`, started).Run(ctx, Input{}), agent.Transient, "not started: the agent stops")
	if _, err := os.Stat(started); err == nil {
		t.Error("it was started nevertheless")
	}
}

// What a program leaves behind is ended with it, and does not keep us waiting.
func TestNothingOfTheGroupStays(t *testing.T) {
	for what, script := range map[string]string{
		"a child that holds the output":                      `sleep 1000 & echo $! >"$1"`,
		"a child that holds the output, and ignores SIGTERM": `(trap "" TERM; : >"$1.ready"; while :; do sleep 1000; done) & echo $! >"$1"; until test -e "$1.ready"; do :; done`,
		"a child without output":                             `sleep 1000 >/dev/null 2>&1 & echo $! >"$1"`,
		"a daemon of the group":                              `(sleep 1000 <&- >&- 2>&- & echo $! >"$1"); true`,
		"one that holds the input":                           `sleep 1000 >&- 2>&- <&0 & echo $! >"$1"`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			p := shell(script, file)
			p.Timeout = aMinute
			if err := p.Run(t.Context(), Input{Stdin: make([]byte, 1<<20)}); err != nil {
				t.Error(err)
			}
			gone(t, number(t, file))
		})
	}
}

// A daemon that has left the group holds the output for ever, and may.
func TestDaemonsDoNotKeepUsWaiting(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	p := shell(`setsid sh -c 'echo $$ >"$1"; exec sleep 1000' sh "$1" & while ! test -s "$1"; do :; done; echo said`, file)
	p.Timeout = aMinute
	text, err := p.Output(t.Context(), Input{})
	if err != nil || text.Reveal() != "said\n" {
		t.Errorf("got %q, %v", text.Reveal(), err)
	}
	pid, err := strconv.Atoi(number(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
}

func TestRunsLeaveNoDescriptorOrGoroutine(t *testing.T) {
	count := func() (files, goroutines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), runtime.NumGoroutine()
	}
	run := func() {
		for _, p := range []Program{shell(`exit 0`), shell(`exit 1`), {Args: []string{"/none"}}} {
			_ = p.Run(t.Context(), Input{Stdin: []byte("x")})
		}
	}
	run()
	files, goroutines := count()
	for range 20 {
		run()
	}
	f, g := count()
	for deadline := time.Now().Add(aMinute); g > goroutines && time.Now().Before(deadline); f, g = count() {
		time.Sleep(time.Millisecond) // one that is through may not be gone yet
	}
	if f > files || g > goroutines {
		t.Errorf("%d descriptors and %d goroutines, before %d and %d", f, g, files, goroutines)
	}
}

func TestManyRunsAtOnce(t *testing.T) {
	p := shell(`cat; echo "$1"`, "end")
	errs := make(chan error)
	for i := range 40 {
		go func() {
			text, err := p.Output(t.Context(), Input{Stdin: []byte(fmt.Sprint(i, " "))})
			if err == nil && text.Reveal() != fmt.Sprint(i, " end\n") {
				err = fmt.Errorf("run %d got %q", i, text.Reveal())
			}
			errs <- err
		}()
	}
	for range 40 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Who shares a terminal with root can type into it. (That is not tried here: a
// kernel may forbid it, and the terminal need not be shared at all.)
func TestProgramsHaveNoTerminal(t *testing.T) {
	if !hosttest.InTerminal(t) {
		return
	}
	users := []*User{nil}
	if os.Geteuid() == 0 {
		users = append(users, robot)
	}
	for _, user := range users {
		p := shell(`(: </dev/tty) 2>/dev/null && echo opens || echo none`)
		p.User = user
		if got := output(t, p, Input{}); got != "none\n" {
			t.Errorf("as %v /dev/tty %s", user, got)
		}
	}
}

func TestProgramsThatWantATerminalAreToldOfLogin(t *testing.T) {
	const advice = "it has no terminal here and nobody to ask"
	wantFault(t, shell(`read -r password </dev/tty`).Run(t.Context(), Input{}), agent.Transient, advice, "a person logs in once")
	for words, advised := range map[string]bool{
		"stty: 'standard input': Inappropriate ioctl for device":       true,
		"sudo: a terminal is required to read the password":            true,
		"sudo: no tty present and no askpass program specified":        true,
		"the input device is not a TTY":                                true,
		"kinit: cannot read password: not a terminal":                  true,
		"open /dev/tty: no such device or address":                     true,
		"cannot find the collector":                                    false,
		"the terminal server of the site refuses":                      false,
		"no terminals are configured in /etc/ttys, which is all right": false,
	} {
		err := shell(`echo "$1" >&2; exit 1`, words).Run(t.Context(), Input{})
		if strings.Contains(err.Error(), advice) != advised {
			t.Errorf("of %q it says %v", words, err)
		}
	}
}
