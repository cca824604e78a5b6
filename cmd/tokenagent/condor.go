package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
	"github.com/tokenagent/tokenagent/sources/keys"
)

const (
	askPatience = 10 * time.Second
	askMost     = 1 << 20 // bytes of an answer
)

// condorKnob asks HTCondor's configuration for a value; nil where HTCondor is
// not installed.
func condorKnob() func(name string) (string, error) { return knobOf(tokendir.Systems()[0]) }

// ceKnob is condorKnob of HTCondor-CE.
func ceKnob() func(name string) (string, error) { return knobOf(tokendir.Systems()[1]) }

func knobOf(s tokendir.System) func(name string) (string, error) {
	program, err := exec.LookPath(s.Tool)
	if err != nil {
		return nil
	}
	asked := newCondorConfig(context.Background())
	return func(name string) (string, error) { return asked.ask(program, name) }
}

// A condorConfig asks the programs that tell HTCondor's and HTCondor-CE's
// configuration, each once for all that anybody here wants to know: a question
// takes tens of milliseconds.
type condorConfig struct {
	ctx      context.Context
	patience time.Duration // with each question
	told     map[string]condorAnswer
	faults   []string // why the configuration could not be asked, each once
}

// A condorAnswer is what a program tells of all knobs.
type condorAnswer struct {
	values map[string]string
	err    error
}

func newCondorConfig(ctx context.Context) *condorConfig {
	return &condorConfig{ctx: ctx, patience: askPatience, told: map[string]condorAnswer{}}
}

// condorKnobs are all that are asked for.
var condorKnobs = []string{
	"DAEMON_LIST", "FULL_HOSTNAME", "LOCAL_CONFIG_DIR_EXCLUDE_REGEXP", "SEC_PASSWORD_DIRECTORY", "SEC_TOKEN_DIRECTORY", "SEC_TOKEN_MAX_AGE",
	"SEC_TOKEN_POOL_SIGNING_KEY_FILE", "SEC_TOKEN_SYSTEM_DIRECTORY", "TRUST_DOMAIN", "UID_DOMAIN",
	"CERTIFICATE_MAPFILE", "CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS", "SCITOKENS_FILE",
}

// numericKnobs are those of them that HTCondor computes, as 1 * $(HOUR).
var numericKnobs = []string{"SEC_TOKEN_MAX_AGE"}

// The errors of questions that have no answer.
var (
	errNotDefined = errors.New("it is not set")
	errNoAnswer   = errors.New("no answer")
)

// lookup is a tokendir.Lookup. What keeps it from asking a system that is there is
// one of the faults. An empty value counts as none, as it does in HTCondor, but
// for the names to pass over: they have a default, so somebody has emptied them.
func (c *condorConfig) lookup(s tokendir.System, knob string) (string, bool) {
	value, err := c.ask(s.Tool, knob)
	if err != nil && !errors.Is(err, errNotDefined) && !errors.Is(err, exec.ErrNotFound) {
		fault := fmt.Sprintf("the configuration of %s could not be asked, so its defaults were taken: %v", s.Name, err)
		if !slices.Contains(c.faults, fault) {
			c.faults = append(c.faults, fault)
		}
	}
	emptied := knob == tokendir.ExcludeKnob && errors.Is(err, errNotDefined)
	return value, err == nil || emptied
}

// ask is what the program tells of one of condorKnobs.
func (c *condorConfig) ask(program, knob string) (string, error) {
	told, asked := c.told[program]
	if !asked {
		told = c.answer(program)
		c.told[program] = told
	}
	switch value, known := told.values[knob]; {
	case told.err != nil:
		return "", told.err
	case !known:
		return "", fmt.Errorf("%s was not asked for %s, which is a defect of tokenagent", program, knob)
	case value == "":
		return "", errNotDefined
	default:
		return value, nil
	}
}

// answer is what the program tells of all knobs, one a line behind its name.
func (c *condorConfig) answer(program string) condorAnswer {
	args := []string{"-macro"}
	for _, knob := range condorKnobs {
		args = append(args, fmt.Sprintf("%s=$(%[1]s)", knob))
	}
	text, err := output(c.ctx, c.patience, program, args...)
	if err != nil {
		return condorAnswer{err: err}
	}
	a := condorAnswer{values: map[string]string{}}
	for line := range strings.Lines(text) {
		knob, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, twice := a.values[knob]; !found || twice || !slices.Contains(condorKnobs, knob) {
			return condorAnswer{err: fmt.Errorf("%s: unexpected answer (%.200q)", program, line)}
		}
		a.values[knob] = strings.TrimSpace(value)
	}
	for _, knob := range numericKnobs {
		a.values[knob] = c.number(program, knob, a.values[knob])
	}
	return a
}

// number is the value of the knob as HTCondor computes it, or as it is written where
// HTCondor cannot. A product, as most are, needs no second question.
func (c *condorConfig) number(program, knob, value string) string {
	if n, ok := product(value); ok || value == "" {
		return n
	}
	if told, err := output(c.ctx, c.patience, program, "-macro", "$INT("+knob+")"); err == nil {
		return told
	}
	return value
}

// product is that of the numbers in the text, as in 24 * 3600; false where it is
// something else, or no int of HTCondor's.
func product(text string) (string, bool) {
	all := int64(1)
	for factor := range strings.SplitSeq(text, "*") {
		n, err := strconv.ParseUint(strings.TrimSpace(factor), 10, 31)
		if all *= int64(n); err != nil || all > math.MaxInt32 {
			return "", false
		}
	}
	return strconv.FormatInt(all, 10), true
}

// output is what the program prints to its standard output, without the blanks
// around it. Its error says what the program complained of.
func output(ctx context.Context, patience time.Duration, name string, args ...string) (string, error) {
	told, err := command{name: name, args: args, patience: patience}.run(ctx)
	switch {
	case err == nil:
		return strings.TrimSpace(told.answer), nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, errNoAnswer):
		return "", err
	}
	return "", refusal(name, err, told.complaint+"\n"+told.answer)
}

// A command is a program of somebody else's to run and to listen to. (It is not run by
// agent/program, as HTCondor's programs want the environment of who asks.)
type command struct {
	name     string // as PATH finds it
	args     []string
	env      []string // NAME=value; nil: that of this process
	user     *program.User
	patience time.Duration
}

// printed is what a program has printed.
type printed struct{ answer, complaint string }

// run runs the program, and returns what it printed also where it fails.
func (c command) run(ctx context.Context) (printed, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	var answer, complaint shortText
	p := exec.CommandContext(ctx, c.name, c.args...)
	p.Env, p.Stdout, p.Stderr = c.env, &answer, &complaint
	p.SysProcAttr = host.Alone() // a group of its own too, so that nothing it has started is left
	if u := c.user; u != nil {
		p.Dir, p.SysProcAttr.Credential = "/", &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	p.Cancel = func() error { return syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }
	p.WaitDelay = time.Second
	err := host.Launch(func() error {
		if c.user != nil {
			_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // as agent/program does
		}
		return p.Start()
	})
	if err == nil {
		err = p.Wait()
	}
	switch {
	case err == nil || errors.Is(err, exec.ErrNotFound):
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: %w within %s", c.name, errNoAnswer, c.patience)
	case errors.Is(err, exec.ErrWaitDelay):
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) // whoever still holds its output
	}
	return printed{answer.String(), complaint.String()}, err
}

// refusal is the error of a program that ended with err, and the first line of what
// it said.
func refusal(name string, err error, said string) error {
	first, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	return fmt.Errorf("%s: %w (%.200q)", name, err, first)
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
