package sources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/program"
)

// A command source has a program print the token, without a shell and run as
// hooks are. It prints one line of at most 16 KiB, and blanks around it:
//
//	source "command" "pool" {
//	  command         = ["/usr/bin/condor_token_fetch", "-type", "COLLECTOR", "-lifetime", "86400"]
//	  timeout         = "30s"
//	  user            = "condor" # default: the agent's user; HOME is that user's
//	  token_format    = "jwt"    # or "opaque"; default: found out
//	  on_widened      = "warn"   # of a token that allows more than the token block says; default: "refuse"
//	  assume_lifetime = "1d"     # of a token that does not say itself when it expires
//	}
type command struct {
	program program.Program
	env     []string
	taking
}

const (
	commandTimeout = 30 * time.Second
	leastTimeout   = time.Second
	mostTimeout    = 100 * time.Second // the Agent gives up a source after two minutes
)

func decodeCommand(b *config.Block) config.Source {
	set := struct {
		Command []string      `hcl:"command"`
		Timeout time.Duration `hcl:"timeout,optional"`
		User    string        `hcl:"user,optional"`
		taking
	}{Timeout: commandTimeout, taking: takingDefaults()}
	b.Decode(&set)
	set.taking.validate(b)
	if set.Timeout < leastTimeout || set.Timeout > mostTimeout {
		b.Fault("timeout", "the timeout is out of range", `it is at least "1s" and at most "100s"; run what takes longer by itself, and copy what it writes with source "file"`)
		set.Timeout = commandTimeout
	}
	p, ok := program.New(b, set.Command, set.Timeout, set.User)
	s := &command{program: p, taking: set.taking}
	if ok && !b.DefinitionsOnly() {
		s.env = homeOf(p.User)
	}
	return s.facts(config.Source{Source: s, Program: true, RunsAs: set.User})
}

// homeOf names the home of the user, for the programs that look there for what
// they have stored; nil: the agent's own.
func homeOf(u *program.User) []string {
	if u == nil {
		own, err := program.LookupUser(strconv.Itoa(os.Geteuid()))
		if err != nil {
			return nil // a pod may run as a user whom nobody knows
		}
		u = own
	}
	return []string{"HOME=" + u.Home, "USER=" + u.Name}
}

// Issue runs the program, once.
func (s *command) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	sent := agent.Now(ctx)
	printed, err := s.program.Output(ctx, program.Input{Env: s.env})
	if err != nil {
		return agent.Token{}, err
	}
	text, err := s.printedToken(printed.Reveal())
	if err != nil {
		return agent.Token{}, transientFault(s.about(err))
	}
	expires, err := s.expiryIn(text, agent.Now(ctx))
	switch {
	case err != nil:
		return agent.Token{}, about(s.printed(), err)
	case expires.IsZero() && s.AssumeLifetime == 0:
		return agent.Token{}, configurationFault(s.about(errors.New("nothing says when the token expires; write assume_lifetime in the source")))
	case expires.IsZero():
		expires = sent.Add(s.AssumeLifetime)
	}
	t := agent.Token{Secret: text, Issued: sent, Expires: expires}
	if err := s.compareCopied(&t, req); err != nil {
		return agent.Token{}, configurationFault(s.about(err))
	}
	return t, nil
}

func (s *command) about(err error) error { return fmt.Errorf("%s: %w", s.printed(), err) }

func (s *command) printed() string { return fmt.Sprintf("what %s printed", s.program.Args[0]) }

// printedToken is the one line that a program printed.
func (w taking) printedToken(printed string) (agent.Secret, error) {
	text := strings.TrimSpace(printed)
	if lines := 1 + strings.Count(text, "\n"); lines > 1 {
		return agent.Secret{}, fmt.Errorf("it has %d lines; a token is one, so have the program print nothing else to its standard output", lines)
	}
	return w.oneToken(text)
}
