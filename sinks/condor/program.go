package condor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// mostOutput is how many bytes a program may print.
const mostOutput = 1 << 20

// ErrNoAnswer is the error of a program that did not end in time.
var ErrNoAnswer = errors.New("no answer")

// A Program is one of HTCondor's to run and to read. Package program of the agent
// does not run it, as HTCondor's programs need the environment of the user.
type Program struct {
	Name     string              // as PATH finds it
	Args     []string            // without the program itself
	Env      []string            // NAME=value; nil: that of this process
	As       *syscall.Credential // the user that it runs as; nil: that of this process
	Patience time.Duration       // after which it is ended, with all that it has started
}

// Output is what the program printed to standard output, without the blanks around
// it. The error of a program that failed has the first line that it printed.
func (p Program) Output(ctx context.Context) (string, error) {
	printed, err := p.Run(ctx)
	switch {
	case err == nil:
		return strings.TrimSpace(printed.Answer), nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, ErrNoAnswer):
		return "", err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(printed.Complaint+"\n"+printed.Answer), "\n")
	return "", fmt.Errorf("%s: %w (%.200q)", p.Name, err, first)
}

// Printed is what a program printed: to standard output, and to standard error.
type Printed struct{ Answer, Complaint string }

// Run runs the program. It returns what was printed also where the program failed.
func (p Program) Run(ctx context.Context) (Printed, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Patience)
	defer cancel()
	var answer, complaint limited
	c := exec.CommandContext(ctx, p.Name, p.Args...)
	c.Env, c.Stdout, c.Stderr = p.Env, &answer, &complaint
	c.SysProcAttr = host.Alone() // with a process group of its own, so that nothing it has started is left
	if p.As != nil {
		c.Dir, c.SysProcAttr.Credential = "/", p.As
	}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	err := host.Launch(func() error {
		if p.As != nil {
			_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // as agent/program does
		}
		return c.Start()
	})
	if err == nil {
		err = c.Wait()
	}
	switch {
	case err == nil || errors.Is(err, exec.ErrNotFound):
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: %w within %s", p.Name, ErrNoAnswer, p.Patience)
	case errors.Is(err, exec.ErrWaitDelay):
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // processes that still hold its output
	}
	return Printed{answer.String(), complaint.String()}, err
}

// A limited text refuses what is longer than anybody would read.
type limited struct{ strings.Builder }

func (t *limited) Write(p []byte) (int, error) {
	if t.Len()+len(p) > mostOutput {
		return 0, errors.New("it prints without end")
	}
	return t.Builder.Write(p)
}
