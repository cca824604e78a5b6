// Package program runs other people's programs safely: without a shell, with
// nothing inherited but what they are given, for a limited time, and so that
// nothing of them is left and no secret of theirs is repeated.
//
// A program runs in the folder /, in a session of its own without a terminal, and
// so in a process group of its own. The group is ended (SIGTERM, after two seconds
// SIGKILL) when its time is over, and also when the program has ended by itself:
// what it leaves behind in the background does not stay. Only what makes itself a
// group or a session of its own escapes, as every daemon does, and the jobs of a
// shell with job control; what is to last belongs to the service manager anyway. All
// of it is inside the sandbox of the agent: a program can write nowhere and see
// nothing that the agent's unit keeps from the agent.
package program

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// MaxOutput is how many bytes of its output a program is listened to: Output
// returns so many, and errors quote from the last ones.
const MaxOutput = 16 << 10

// environment is what every program finds, beside what its Input adds.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}

// A Program is what to run and how. It can be run several times at once.
type Program struct {
	Args    []string      // the absolute path of the program, and its arguments as they are
	Timeout time.Duration // it is ended after so long; zero: when the context is done
	User    *User         // whose identity it takes on; nil: that of the agent
}

// An Input is what one run of a Program is given.
type Input struct {
	Env   []string // NAME=value, beside PATH and LANG
	Stdin []byte   // the program need not read it

	Hide agent.Secret // what errors never quote, even where it looks like a word
}

// Run runs the program and returns nil when it has exited with status 0. Any
// error is a [*agent.Fault]: of kind Configuration when the program cannot be
// started as it is, and Transient when it fails, takes too long or is ended
// because ctx is done. It quotes the last words of the program, with all that may be
// a secret covered.
func (p Program) Run(ctx context.Context, in Input) error {
	r, err := p.run(ctx, in)
	if err != nil {
		return err
	}
	words := r.stderr.words()
	if words == "" {
		words = r.stdout.words()
	}
	return p.verdict(r, words)
}

// Output is Run for a program that prints a secret, and returns that: the whole
// of its standard output, at most MaxOutput bytes. Errors quote standard error alone.
func (p Program) Output(ctx context.Context, in Input) (agent.Secret, error) {
	r, err := p.run(ctx, in)
	if err != nil {
		return agent.Secret{}, err
	}
	if err := p.verdict(r, r.stderr.words()); err != nil {
		return agent.Secret{}, err
	}
	if r.stdout.cut {
		return agent.Secret{}, p.fault(agent.Transient, fmt.Errorf("it printed more than %d bytes; a token is one line", MaxOutput))
	}
	return agent.NewSecret(string(r.stdout.kept)), nil
}

// errTimeout is why the context of a run that takes too long is done.
var errTimeout = errors.New("the time is over")

// A result is what came of a process that could be started.
type result struct {
	end            end
	why            error // why it was ended; nil: it ended by itself
	stdout, stderr *tail
}

func (p Program) run(ctx context.Context, in Input) (result, error) {
	if len(p.Args) == 0 || !filepath.IsAbs(p.Args[0]) {
		return result{}, p.fault(agent.Configuration, errors.New("it is not the absolute path of a program, which begins with /"))
	}
	if err := context.Cause(ctx); err != nil {
		return result{}, p.fault(agent.Transient, fmt.Errorf("not started: %w", err))
	}
	if p.Timeout > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, p.Timeout, errTimeout)
		defer cancel()
		ctx = limited
	}
	proc, err := p.start(in)
	if err != nil {
		return result{}, p.startFault(err)
	}
	r := result{stdout: proc.stdout, stderr: proc.stderr}
	select {
	case <-proc.exited:
	case <-ctx.Done():
		r.why = context.Cause(ctx)
	}
	r.end = proc.finish()
	return r, nil
}
