package host

import (
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Alone is for a program that the agent starts: it leads a session of its own,
// and so a process group of its own, and has no controlling terminal. A program
// that shared ours could type into the terminal of whoever started the agent
// (TIOCSTI), even as another user.
func Alone() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Launch calls start, which starts a program, so that the program inherits as
// little as possible: no descriptor but those that start hands over, no blocked
// signal, and no umask that lets others write its files. It returns the error of
// start. The thread that start runs on ends with it: start may change that thread.
func Launch(start func() error) (err error) {
	keepDescriptors("/proc/self/fd", unix.CloseRange)
	OnThread(func() {
		narrowUmask()
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, new(unix.Sigset_t), nil)
		err = start()
		_ = Undumpable() // the program shared our memory until it was executed; it cannot fail, as it did not before
	})
	return err
}

// keepDescriptors has no program inherit a descriptor that the agent itself has
// inherited. All others are closed on exec already. A kernel older than 5.11 knows
// no such close_range: there each descriptor that the folder names is marked.
func keepDescriptors(folder string, closeRange func(first, last, flags uint) error) {
	if closeRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, _ := os.ReadDir(folder) // none: there is no /proc, and nothing else to try
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// narrowUmask takes the permission to write from others in what a program makes,
// whatever umask the agent was started with. The umask is the whole process's,
// so the thread parts with it first; where a sandbox forbids that, it stays.
func narrowUmask() {
	const othersWrite = 0o022
	if unix.Unshare(unix.CLONE_FS) == nil {
		unix.Umask(unix.Umask(othersWrite) | othersWrite)
	}
}

// Undumpable has the kernel write no core file of this process, and lets no other
// process of its user read its memory. Linux takes that back when any thread, or a
// child that has not executed its program yet, takes on another identity: then
// fs.suid_dumpable decides, which systemd-coredump sets to 2, "dump for root"
// (prctl(2), proc(5)). So it is called after each change of identity.
func Undumpable() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// OnThread calls do on a thread that ends with it, whatever do changes of the
// thread. Only the main thread would stay, so it is passed over.
func OnThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			OnThread(do) // on another thread, as this one is taken
			runtime.UnlockOSThread()
			return
		}
		do()
	}()
	<-done
}
