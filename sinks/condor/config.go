// Package condor runs HTCondor's programs and asks them for its configuration.
package condor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// Patience is how long a program that only reads this host's files may take.
const Patience = 10 * time.Second

// A Config is the configuration of HTCondor and HTCondor-CE on this host. It asks
// their programs once for all knobs: a question takes tens of milliseconds.
type Config struct {
	ctx      context.Context
	patience time.Duration // with each question
	answers  map[string]answer
	faults   []string
}

// An answer is what one program says of all knobs.
type answer struct {
	values map[string]string
	err    error
}

// New returns a Config that has asked nothing yet. Its programs end with ctx.
func New(ctx context.Context) *Config {
	return &Config{ctx: ctx, patience: Patience, answers: map[string]answer{}}
}

// Knob returns a function that asks for the knobs of the system; nil where the
// system is not installed.
func Knob(s tokendir.System) func(name string) (string, error) {
	program, err := exec.LookPath(s.Tool)
	if err != nil {
		return nil
	}
	c := New(context.Background())
	return func(name string) (string, error) { return c.ask(program, name) }
}

// daemonList is the knob of which people write the value over several lines.
const daemonList = "DAEMON_LIST"

// knobs are all that are asked for.
var knobs = []string{
	daemonList, "FULL_HOSTNAME", "LOCAL_CONFIG_DIR_EXCLUDE_REGEXP", "SEC_PASSWORD_DIRECTORY", "SEC_TOKEN_DIRECTORY", "SEC_TOKEN_MAX_AGE",
	"SEC_TOKEN_POOL_SIGNING_KEY_FILE", "SEC_TOKEN_SYSTEM_DIRECTORY", "TRUST_DOMAIN", "UID_DOMAIN",
	"CERTIFICATE_MAPFILE", "CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS", "CONDOR_IDS", "SCITOKENS_FILE",
}

// numericKnobs are those of them that HTCondor computes, as 1 * $(HOUR).
var numericKnobs = []string{"SEC_TOKEN_MAX_AGE"}

var errNotSet = errors.New("it is not set")

// Lookup is a [tokendir.Lookup]. An empty value counts as not set, as it does in
// HTCondor. The exception is the expression of names to pass over: it has a default,
// so an empty value was written by somebody.
func (c *Config) Lookup(s tokendir.System, knob string) (string, bool) {
	value, err := c.ask(s.Tool, knob)
	if err != nil && !errors.Is(err, errNotSet) && !errors.Is(err, exec.ErrNotFound) {
		fault := fmt.Sprintf("the configuration of %s could not be asked, so its defaults were taken: %v", s.Name, err)
		if !slices.Contains(c.faults, fault) {
			c.faults = append(c.faults, fault)
		}
	}
	emptied := knob == tokendir.ExcludeKnob && errors.Is(err, errNotSet)
	return value, err == nil || emptied
}

// Faults say why Lookup could not ask a system that is installed.
func (c *Config) Faults() []string { return c.faults }

// ask returns what the program says of one of the knobs.
func (c *Config) ask(program, knob string) (string, error) {
	a, asked := c.answers[program]
	if !asked {
		a = c.askAll(program)
		c.answers[program] = a
	}
	switch value, known := a.values[knob]; {
	case a.err != nil:
		return "", a.err
	case !known:
		return "", fmt.Errorf("%s was not asked for %s, which is a defect of tokenagent", program, knob)
	case value == "":
		return "", errNotSet
	default:
		return value, nil
	}
}

// askAll asks the program for all knobs. It prints one a line, behind its name.
func (c *Config) askAll(program string) answer {
	args := []string{"-macro"}
	for _, knob := range knobs {
		args = append(args, fmt.Sprintf("%s=$(%[1]s)", knob))
	}
	text, err := c.output(program, args...)
	if err != nil {
		return answer{err: err}
	}
	a := answer{values: map[string]string{}}
	last := ""
	for line := range strings.Lines(text) {
		knob, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		_, twice := a.values[knob]
		switch {
		case found && !twice && slices.Contains(knobs, knob):
			a.values[knob] = strings.TrimSpace(strings.ReplaceAll(value, "$(DOLLAR)", "$")) // which -macro leaves as it is written
			last = knob
		case last == daemonList && !found: // written over several lines, as DAEMON_LIST @=end
			a.values[last] += " " + strings.TrimSpace(line)
		default:
			return answer{err: fmt.Errorf("%s: unexpected answer (%.200q)", program, line)}
		}
	}
	for _, knob := range numericKnobs {
		a.values[knob] = c.number(program, knob, a.values[knob])
	}
	return a
}

// number is the value of the knob as HTCondor computes it, or as it is written where
// HTCondor cannot. A product, as most are, needs no second question.
func (c *Config) number(program, knob, value string) string {
	if n, ok := product(value); ok || value == "" {
		return n
	}
	if told, err := c.output(program, "-macro", "$INT("+knob+")"); err == nil {
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

func (c *Config) output(program string, args ...string) (string, error) {
	return Program{Name: program, Args: args, Patience: c.patience}.Output(c.ctx)
}
