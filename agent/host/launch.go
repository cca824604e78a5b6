package host

import (
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Alone is for a program that the agent starts: it gets a session and a process group of its
// own, and no terminal. With ours, it could type into the terminal that the agent was started
// from (TIOCSTI), even as another user.
func Alone() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Launch calls start, which starts a program. The program inherits as little as possible: only
// the descriptors that start hands over, no blocked signal, and no umask that lets others
// write its files. The error is that of start. Start may change its thread, which ends with it.
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

// keepDescriptors keeps programs from inheriting the descriptors that the agent has inherited.
// All others are closed on exec already. Kernels before 5.11 cannot do that with
// close_range: there each descriptor in the folder is marked.
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

// narrowUmask denies others to write what a program makes, whatever umask the agent was started
// with. The umask is the whole process's, so the thread unshares it first; where a sandbox
// forbids that, the umask stays.
func narrowUmask() {
	const othersWrite = 0o022
	if unix.Unshare(unix.CLONE_FS) == nil {
		unix.Umask(unix.Umask(othersWrite) | othersWrite)
	}
}

// Undumpable keeps the kernel from writing a core file of this process, and other processes of
// its user from reading its memory. Linux takes that back when a thread, or a child before
// its exec, takes on another identity: then fs.suid_dumpable decides, which
// systemd-coredump sets to 2, "dump for root" (prctl(2), proc(5)). So call it after each
// change of identity.
func Undumpable() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// OnThread calls do on a thread that ends with it, so do may change the thread. The main thread
// would not end, so it is not used.
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
