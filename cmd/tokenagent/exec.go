package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/history"
)

// The exit codes of a command that cannot be started, as in shells. Others are the
// command's own, or those of exit.go if it was not started.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignalled     = 128 // plus the number of the signal
)

func newExec() *cobra.Command {
	from := place{runs: true, sinkless: true}
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "exec [flags] [NAME] -- COMMAND [ARGUMENT…]",
		Short: "Run a command with a token that is kept fresh while it runs",
		Long: `Run a command with BEARER_TOKEN_FILE, and keep the token in that file fresh while
the command runs. NAME is the token's; with only one token it may be left out.

The file is for this command alone: 0600, in a new folder under $XDG_RUNTIME_DIR
(or $TMPDIR, or /tmp) that is removed when the command has ended. The command starts
when the token is there; what fails for a reason that may go away by itself is tried
again until the timeout. No sink is written, no hook runs, and no running agent is
needed or disturbed.

Everything else is as without tokenagent: standard input and output, terminal, limits
and umask. Only BEARER_TOKEN is removed, which readers prefer to the file. Signals
are passed on; the command gets SIGTERM when tokenagent is killed. Only warnings and
errors are logged.

Exit codes: that of the command; 128 plus the signal's number when a signal ended
it; 127 there is no such command; 126 it cannot be executed. If the command was not
started: 4 there was no token, 2 no token or an unknown one is named, 78 the
configuration has faults.`,
		Example: `  tokenagent exec -- pelican object get osdf:///data/file .
  tokenagent exec pilot/ce1.example.org -- condor_ce_trace ce1.example.org`,
		RunE: func(c *cobra.Command, args []string) error {
			names, argv, err := atDash(args, c.ArgsLenAtDash())
			if err != nil {
				return err
			}
			return from.exec(c.Context(), names, argv, timeout, c.ErrOrStderr())
		},
	}
	from.configFlag(c)
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to try to get the token before the command starts")
	return c
}

// atDash splits the arguments into the token's name, if there is one, and the command
// after "--".
func atDash(args []string, dash int) (names, argv []string, err error) {
	switch {
	case dash < 0:
		return nil, nil, usage("put the command after --, as in: tokenagent exec [NAME] -- COMMAND…")
	case dash > 1:
		return nil, nil, usage("exec runs a command with one token, but got %s", strings.Join(args[:dash], ", "))
	case dash == len(args):
		return nil, nil, usage("there is no command after --")
	}
	return args[:dash], args[dash:], nil
}

// exec runs the command with the token of that name.
func (p *place) exec(ctx context.Context, names, argv []string, timeout time.Duration, stderr io.Writer) error {
	files := inherited()
	program, err := lookUp(argv[0])
	if err != nil {
		return err
	}
	renewer, journal, log, err := p.theOne(ctx, names, stderr)
	if err != nil {
		return err
	}
	heard := hear()
	own, err := keepOwn(renewer, journal, log)
	if err != nil {
		return err
	}
	defer own.close()
	if err := own.first(ctx, timeout, heard); err != nil {
		return err
	}
	child, err := start(program, argv, own.environment(os.Environ()), files)
	if err != nil {
		return notStarted(argv[0], err)
	}
	return child.end(heard)
}

// lookUp finds the program as a shell does, also where PATH names the folder
// that one is in.
func lookUp(command string) (string, error) {
	program, err := exec.LookPath(command)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", notStarted(command, err)
	}
	return program, nil
}

// notStarted is the error of a command that cannot be started.
func notStarted(command string, err error) error {
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	why := err
	for inner := errors.Unwrap(why); inner != nil; inner = errors.Unwrap(why) { // the others repeat the command
		why = inner
	}
	return &exitError{code, fmt.Errorf("%s: %w", command, why)}
}

// theOne is the token of that name, or the only one, the journal of its configuration and the
// log for it. The journal is nil where there is no state folder yet.
func (p *place) theOne(ctx context.Context, names []string, stderr io.Writer) (agent.Renewer, *history.Journal, *logrus.Logger, error) {
	cfg, err := p.load(ctx, false)
	if err != nil {
		return agent.Renewer{}, nil, nil, err
	}
	chosen, err := choose(cfg.Renewers, names)
	if err == nil && len(chosen) != 1 {
		err = usage("name one of the tokens, before --; there are: %s", namesOf(chosen))
	}
	if err != nil {
		return agent.Renewer{}, nil, nil, err
	}
	log := newLogger(stderr, cfg.Settings)
	logLibraries(log)
	setLevel(log, min(levelOf(cfg.Settings), logrus.WarnLevel)) // the rest of the output is the command's
	var journal *history.Journal
	if dir := p.home(cfg.Settings).Dir(); isOwn(dir) {
		journal = history.New(dir, wall)
	}
	return chosen[0], journal, log, nil
}

// environment is that of the command: with the file, and without BEARER_TOKEN, which
// readers prefer (step 1 of the WLCG Bearer Token Discovery 1.0).
func (o *ownToken) environment(ours []string) []string {
	env := slices.DeleteFunc(slices.Clone(ours), func(variable string) bool {
		return strings.HasPrefix(variable, "BEARER_TOKEN=") || strings.HasPrefix(variable, "BEARER_TOKEN_FILE=")
	})
	return append(env, "BEARER_TOKEN_FILE="+o.file)
}
