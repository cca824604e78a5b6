package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

// fault is the error, behind which program and user it is about. The arguments
// are left out: nobody knows what they hold.
func (p Program) fault(kind agent.Kind, err error) *agent.Fault {
	name := "program"
	if len(p.Args) > 0 {
		name = p.Args[0]
	}
	if p.User != nil {
		name += " as " + p.User.Name
	}
	return &agent.Fault{Kind: kind, Err: fmt.Errorf("%s: %w", name, err)}
}

// verdict is nil for a success. The words are the program's last.
func (p Program) verdict(r result, words string) error {
	err := p.failure(r)
	switch {
	case err == nil:
		return nil
	case words != "":
		err = fmt.Errorf("%w; it said: %s%s", err, words, adviceOn(words))
	case r.why == nil:
		err = fmt.Errorf("%w; it said nothing, so run it by hand to see why", err)
	}
	f := p.fault(agent.Transient, err)
	f.Expected = p.tooEarly(words)
	return f
}

// notRunning finds what condor_reconfig says while the daemon that it is for does not
// run (23.9.6).
var notRunning = regexp.MustCompile(`Can't (find address for|connect to) local `)

// tooEarly reports whether the program only has nobody to talk to yet: HTCondor
// starts behind the agent.
func (p Program) tooEarly(words string) bool {
	return slices.Contains([]string{"condor_reconfig", "condor_ce_reconfig"}, filepath.Base(p.Args[0])) && notRunning.MatchString(words)
}

// wantsTerminal finds what programs say that want to ask a person, and those that
// they use for it: sh, ssh, sudo, gpg, pinentry, stty and the C library.
var wantsTerminal = regexp.MustCompile(`(?i)/dev/tty|\b(not a|no|without a) (tty|terminal)\b|terminal is required|inappropriate ioctl for device`)

// adviceOn is what to do about the words of a program; "" when nobody can know.
func adviceOn(words string) string {
	if wantsTerminal.MatchString(words) {
		return "; it has no terminal here and nobody to ask: give it what it needs in a file, or use source \"refresh_token\", to which a person logs in once"
	}
	return ""
}

// failure is what went wrong; nil when nothing did.
func (p Program) failure(r result) error {
	switch {
	case r.end == nil:
		return errors.New("it does not end, not even by SIGKILL: it waits for a disk or a server that does not answer, or runs as a user whom the agent may not end")
	case r.why == errTimeout:
		return fmt.Errorf("ended as it took longer than %s; see why it hangs, or give it a longer timeout", p.Timeout)
	case r.why != nil:
		return fmt.Errorf("ended: %w", r.why)
	case r.end.Success():
		return nil
	}
	status, _ := r.end.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return fmt.Errorf("killed by %s", unix.SignalName(status.Signal()))
	}
	return fmt.Errorf("exit status %d", status.ExitStatus())
}

// startFault says why the program could not be started.
func (p Program) startFault(err error) *agent.Fault {
	errno, _ := errors.AsType[syscall.Errno](err)
	because := func(advice string) *agent.Fault {
		return p.fault(agent.Configuration, fmt.Errorf("%w; %s", errno, advice))
	}
	switch errno {
	case unix.ENOENT:
		if _, err := os.Stat(p.Args[0]); err == nil {
			return because("the program is there, but what is to interpret it (the first line of a script, the loader of a binary) is not")
		}
		return because("install the program, or correct its path")
	case unix.EACCES:
		return because("the user it runs as needs the permission to execute it and to pass through its folders, and its file system must not be mounted with noexec")
	case unix.ENOEXEC:
		return because("it is no program for this machine, or a script without #! in its first line")
	case unix.EPERM:
		if p.User != nil {
			return because("to run it as another user the agent needs the capabilities CAP_SETUID and CAP_SETGID")
		}
		return because("the agent's sandbox does not let it run")
	case unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG:
		return because("correct the path of the program")
	case unix.EINVAL:
		return because("its arguments hold a NUL byte, or its user is not known in this user namespace")
	case unix.E2BIG:
		return because("its arguments are too long")
	}
	return p.fault(agent.Transient, fmt.Errorf("not started: %w", host.WithoutPath(err)))
}
