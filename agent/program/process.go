package program

import (
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	grace     = 2 * time.Second        // from SIGTERM until SIGKILL
	patience  = time.Second            // until a process that got SIGKILL is gone
	lastWords = 200 * time.Millisecond // until the output of processes that are gone is read
)

// A process is a Program that runs, with the pipes to it. Nobody but finish
// reaps it: until then its number, which is that of its group as well, is given
// to no other process, and a signal can reach none but its own group.
type process struct {
	*os.Process
	user           *User
	pipes          [3]*os.File   // our ends
	exited         chan struct{} // closed when it has ended
	silent         chan struct{} // closed when all pipes are through
	stdout, stderr *tail
}

// An end is how a process ended; nil: it did not, not even by SIGKILL.
type end = *os.ProcessState

// start starts the program. Its error is that of the system call.
func (p Program) start(in Input) (*process, error) {
	ours, theirs, err := pipes()
	if err != nil {
		return nil, err
	}
	started, err := p.fork(theirs, slices.Concat(environment, in.Env))
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	proc := &process{
		Process: started, user: p.User, pipes: ours,
		exited: make(chan struct{}), silent: make(chan struct{}), stdout: &tail{hide: in.Hide}, stderr: &tail{hide: in.Hide},
	}
	go proc.watch()
	go proc.talk(in.Stdin)
	return proc, nil
}

// pipes are those for standard input, output and error: our ends and theirs.
func pipes() (ours, theirs [3]*os.File, err error) {
	for i := range ours {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ours)
			closeAll(theirs)
			return ours, theirs, err
		}
		ours[i], theirs[i] = r, w
		if i == 0 {
			ours[i], theirs[i] = w, r
		}
	}
	return ours, theirs, nil
}

func closeAll(files [3]*os.File) {
	for _, f := range files {
		f.Close() // of one that is nil as well
	}
}

// fork starts the process, in a session of its own. A capability that the agent
// holds as an ambient one, as a unit with User= and AmbientCapabilities= gives it,
// would pass to another user: the thread that starts the process drops it first.
func (p Program) fork(files [3]*os.File, env []string) (started *os.Process, err error) {
	attr := &os.ProcAttr{Dir: "/", Env: env, Files: files[:], Sys: host.Alone()}
	if p.User != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID, Groups: p.User.Groups}
		give(files, p.User)
	}
	err = host.Launch(func() (err error) {
		if p.User != nil {
			// A kernel without ambient capabilities has none to drop.
			_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		}
		started, err = os.StartProcess(p.Args[0], p.Args, attr)
		return err
	})
	return started, err
}

// give makes the pipes the user's, so that a program can open /dev/stdout by that
// name too, as some want to be told where to write. Without CAP_CHOWN it cannot.
func give(files [3]*os.File, u *User) {
	for _, f := range files {
		_ = f.Chown(int(u.UID), int(u.GID))
	}
}

// watch waits for the end of the process, and does not reap it.
func (p *process) watch() {
	defer close(p.exited)
	for unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// talk writes to the process and reads what it says, until all pipes are closed.
// A program that does not read its input is none the worse for it.
func (p *process) talk(stdin []byte) {
	defer close(p.silent)
	var all sync.WaitGroup
	all.Go(func() {
		_, _ = p.pipes[0].Write(stdin)
		p.pipes[0].Close()
	})
	all.Go(func() { _, _ = io.Copy(p.stdout, p.pipes[1]) })
	all.Go(func() { _, _ = io.Copy(p.stderr, p.pipes[2]) })
	all.Wait()
}

// finish ends all of the group that is still there, and reaps the process. Who
// holds our pipes and is not of the group is waited for no longer than for the
// group itself.
func (p *process) finish() end {
	p.signal(unix.SIGTERM)
	within(grace, p.exited, p.silent)
	p.signal(unix.SIGKILL)
	gone := within(patience, p.exited)
	if !within(lastWords, p.silent) {
		now := time.Now()
		for _, f := range p.pipes {
			_ = f.SetDeadline(now)
		}
		<-p.silent
	}
	closeAll(p.pipes)
	if !gone {
		go p.Wait() // whenever it ends, it is reaped
		return nil
	}
	state, err := p.Wait()
	if err != nil {
		return nil
	}
	return state
}

// within waits for so long until all are closed, and reports whether they are.
func within(d time.Duration, all ...<-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, done := range all {
		select {
		case <-done:
		case <-timer.C:
			return false
		}
	}
	return true
}

// signal reaches whoever of the group is there. Processes of another user are
// signalled as that user too, which takes no capability beyond the one that
// they were started with.
func (p *process) signal(s unix.Signal) {
	_ = unix.Kill(-p.Pid, s)
	if p.user == nil {
		return
	}
	host.OnThread(func() {
		// The effective user alone: with the real one the thread itself could be signalled by that user.
		const same = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(p.user.UID), same); errno == 0 {
			_ = host.Undumpable()
			_ = unix.Kill(-p.Pid, s)
		}
	})
}
