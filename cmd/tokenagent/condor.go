package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
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
	answers := condorAnswers{}
	return func(name string) (string, error) { return answers.ask(context.Background(), program, name) }
}

// knobs asks HTCondor's and HTCondor-CE's configuration.
func knobs(ctx context.Context) tokendir.Lookup {
	answers := condorAnswers{}
	return func(s tokendir.System, knob string) (string, bool) {
		value, err := answers.ask(ctx, s.Tool, knob)
		return value, err == nil && value != ""
	}
}

// condorAnswers are what programs have printed for the names of knobs, each of
// which is asked once.
type condorAnswers map[condorQuestion]condorAnswer

type condorQuestion struct{ program, knob string }

type condorAnswer struct {
	value string
	err   error
}

// ask is the one line that the program prints for the knob.
func (known condorAnswers) ask(ctx context.Context, program, knob string) (string, error) {
	q := condorQuestion{program, knob}
	a, asked := known[q]
	if !asked {
		a.value, a.err = output(ctx, program, knob)
		if a.err == nil && strings.Contains(a.value, "\n") {
			a = condorAnswer{err: fmt.Errorf("%s gave more than one line", program)}
		}
		known[q] = a
	}
	return a.value, a.err
}

// output is what the program prints, without the blanks around it. What it
// prints to either of its outputs when it fails is part of the error.
func output(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	var text shortText
	c := exec.CommandContext(ctx, program, args...)
	c.Stdout, c.Stderr = &text, &text
	c.WaitDelay = time.Second
	err := c.Run()
	answer := strings.TrimSpace(text.String())
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s gave no answer within %s", program, askPatience)
	case err != nil:
		first, _, _ := strings.Cut(answer, "\n")
		return "", fmt.Errorf("%s: %w (%.200q)", program, err, first)
	}
	return answer, nil
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
