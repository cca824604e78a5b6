package host

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// launched is what a shell that was launched prints.
func launched(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	c := exec.Command("/bin/sh", "-c", script)
	c.SysProcAttr, c.Stdout, c.Stderr = Alone(), &out, &out
	if err := Launch(c.Start); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // its end is in what it says
	return out.String()
}

func TestLaunchedProgramsLeadASession(t *testing.T) {
	f := strings.Fields(launched(t, `echo $$; cut -d' ' -f5,6,7 /proc/$$/stat`)) // group, session, terminal
	if len(f) != 4 || f[1] != f[0] || f[2] != f[0] || f[3] != "0" {
		t.Errorf("process, group, session and terminal are %q", f)
	}
}

func TestGetentHasNoTerminal(t *testing.T) {
	if !hosttest.InTerminal(t) {
		return
	}
	d, _ := getentThat(t, `(: </dev/tty) 2>/dev/null && echo has:*:70001:70002::/:/ || echo hasnot:*:70001:70002::/:/`)
	if u, err := d.User("somebody-unknown"); err != nil || u.Name != "hasnot" {
		t.Errorf("getent opens /dev/tty: %+v, %v", u, err)
	}
}

func TestLaunchedProgramsInheritNoDescriptor(t *testing.T) {
	const want = "0\n1\n2\n"
	inherited, err := syscall.Dup(0) // as whoever started the agent may have left one open
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	if got := launched(t, `ls /proc/$$/fd`); got != want {
		t.Errorf("they are %q", got)
	}
}

func TestDescriptorsAreKeptWithoutCloseRange(t *testing.T) {
	inherited, err := syscall.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inherited)
	keepDescriptors("/proc/self/fd", func(uint, uint, uint) error { return unix.ENOSYS })
	flags, err := unix.FcntlInt(uintptr(inherited), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("its flags are %#x, %v", flags, err)
	}
}

func TestLaunchedProgramsBlockNoSignal(t *testing.T) {
	const role = "HOST_TEST_BLOCKED"
	if os.Getenv(role) == "" {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		c.Env = append(os.Environ(), role+"=1")
		var err error
		OnThread(func() { // which blocks SIGTERM, as whoever started the agent may have
			blocked := unix.Sigset_t{}
			blocked.Val[0] = 1 << (unix.SIGTERM - 1)
			if err = unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, nil); err == nil {
				var out []byte
				if out, err = c.CombinedOutput(); err != nil {
					t.Errorf("%s", out)
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
		return
	}
	if got := launched(t, `grep SigBlk /proc/self/status`); got != "SigBlk:\t0000000000000000\n" {
		t.Errorf("got %q", got)
	}
}

func TestOthersCannotWriteWhatLaunchedProgramsMake(t *testing.T) {
	var denied error
	if OnThread(func() { denied = syscall.Unshare(syscall.CLONE_FS) }); denied != nil {
		t.Skip("a thread cannot have a umask of its own here")
	}
	for umask, want := range map[int]string{0: "0022\n", 0o002: "0022\n", 0o027: "0027\n", 0o077: "0077\n"} {
		before := syscall.Umask(umask)
		got := launched(t, "umask")
		if after := syscall.Umask(before); got != want || after != umask {
			t.Errorf("with %#o the umask of a program is %q, and ours then %#o", umask, got, after)
		}
	}
}
