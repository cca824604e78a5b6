package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
	"github.com/tokenagent/tokenagent/sources/keys"
)

const (
	askPatience = 10 * time.Second
	askMost     = 64 << 10 // bytes of an answer
)

// condorKnob asks HTCondor's configuration for a value; nil where HTCondor is
// not installed.
func condorKnob() func(name string) (string, error) {
	program, err := exec.LookPath(tokendir.Systems()[0].Tool)
	if err != nil {
		return nil
	}
	asked := newCondorConfig(context.Background())
	return func(name string) (string, error) { return asked.ask(program, name) }
}

// A condorConfig asks the programs that tell HTCondor's and HTCondor-CE's
// configuration: each for a knob once, and not again after it gave no answer.
type condorConfig struct {
	ctx      context.Context
	patience time.Duration // with each question
	known    map[condorQuestion]condorAnswer
	silent   map[string]error // programs that gave no answer
	faults   []string         // why the configuration could not be asked, each once
}

type condorQuestion struct{ program, knob string }

type condorAnswer struct {
	value string
	err   error
}

func newCondorConfig(ctx context.Context) *condorConfig {
	return &condorConfig{ctx: ctx, patience: askPatience, known: map[condorQuestion]condorAnswer{}, silent: map[string]error{}}
}

// The errors of questions that have no answer.
var (
	errNotDefined = errors.New("the knob is not set")
	errNoAnswer   = errors.New("no answer")
)

// lookup is a tokendir.Lookup. What keeps it from asking a system that is there is
// one of the faults. An empty value counts as none, as it does in HTCondor.
func (c *condorConfig) lookup(s tokendir.System, knob string) (string, bool) {
	value, err := c.ask(s.Tool, knob)
	if err != nil && !errors.Is(err, errNotDefined) && !errors.Is(err, exec.ErrNotFound) {
		fault := fmt.Sprintf("the configuration of %s could not be asked, so its defaults were taken: %v", s.Name, err)
		if !slices.Contains(c.faults, fault) {
			c.faults = append(c.faults, fault)
		}
	}
	return value, err == nil && value != ""
}

// ask is the one line that the program prints for the knob.
func (c *condorConfig) ask(program, knob string) (string, error) {
	if err := c.silent[program]; err != nil {
		return "", err
	}
	q := condorQuestion{program, knob}
	a, asked := c.known[q]
	if !asked {
		a.value, a.err = c.answer(program, knob)
		c.known[q] = a
	}
	if errors.Is(a.err, errNoAnswer) {
		c.silent[program] = a.err
	}
	return a.value, a.err
}

func (c *condorConfig) answer(program, knob string) (string, error) {
	value, err := output(c.ctx, c.patience, program, knob)
	if err == nil && strings.Contains(value, "\n") {
		return "", fmt.Errorf("%s gave more than one line for %s", program, knob)
	}
	return value, err
}

// output is what the program prints to its standard output, without the blanks
// around it. Its error says what the program complained of. (It is not run by
// agent/program, as HTCondor's programs want the environment of who asks.)
func output(ctx context.Context, patience time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var answer, complaint shortText
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = &answer, &complaint
	c.SysProcAttr = host.Alone() // a group of its own too, so that nothing it has started is left
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	err := host.Launch(c.Start)
	if err == nil {
		err = c.Wait()
	}
	switch {
	case err == nil:
		return strings.TrimSpace(answer.String()), nil
	case errors.Is(err, exec.ErrNotFound):
		return "", err
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w within %s", name, errNoAnswer, patience)
	case errors.Is(err, exec.ErrWaitDelay):
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // whoever still holds its output
	}
	return "", refusal(name, err, complaint.String()+"\n"+answer.String())
}

// refusal is the error of a program that ended with err, and of what it said the
// line that tells most.
func refusal(name string, err error, said string) error {
	const notDefined = "Not defined"
	lines := strings.Split(strings.TrimSpace(said), "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, notDefined) })
	if at < 0 {
		return fmt.Errorf("%s: %w (%.200q)", name, err, lines[0])
	}
	return fmt.Errorf("%w: %s: %w (%.200q)", errNotDefined, name, err, lines[at])
}

// A shortText is what a program prints, as far as anybody would read it; what
// prints more is ended.
type shortText struct{ strings.Builder }

func (t *shortText) Write(p []byte) (int, error) {
	if t.Len()+len(p) > askMost {
		return 0, errors.New("it prints without end")
	}
	return t.Builder.Write(p)
}

// genuine reports whether the token is signed with the key that this host's
// HTCondor has under that name, and whether that can be known: of a token of its
// own trust domain, where the key may be read.
func (c *condorConfig) genuine(token, issuer, keyID string) (known, ok bool) {
	const macSize = 43 // characters of base64url, of HS256
	here := tokendir.Systems()[0]
	if domain, set := c.lookup(here, "TRUST_DOMAIN"); !set || domain != issuer || strings.ContainsAny(keyID, "/\x00") || strings.HasPrefix(keyID, ".") {
		return false, false
	}
	if len(token)-strings.LastIndexByte(token, '.')-1 != macSize {
		return false, false
	}
	path, set := c.lookup(here, "SEC_TOKEN_POOL_SIGNING_KEY_FILE")
	if keyID != keys.PoolKey {
		path, set = c.lookup(here, "SEC_PASSWORD_DIRECTORY")
		path = filepath.Join(path, keyID)
	}
	if !set {
		return false, false
	}
	key, err := keys.ReadCondor(path, keyID)
	return err == nil, err == nil && key.Signed(token)
}
