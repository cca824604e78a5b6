package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	condorTimeout = 5 * time.Second
	condorMost    = 64 << 10 // bytes of an answer
)

// condorKnob asks HTCondor's configuration for a value, once for each name; nil
// where HTCondor is not installed.
func condorKnob() func(name string) (string, error) {
	program, err := exec.LookPath("condor_config_val")
	if err != nil {
		return nil
	}
	type answer struct {
		value string
		err   error
	}
	known := map[string]answer{}
	return func(name string) (string, error) {
		a, asked := known[name]
		if !asked {
			a.value, a.err = askCondor(program, name)
			known[name] = a
		}
		return a.value, a.err
	}
}

// askCondor is the one line that the program prints for the name.
func askCondor(program, name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), condorTimeout)
	defer cancel()
	var text shortText
	c := exec.CommandContext(ctx, program, name)
	c.Stdout, c.Stderr = &text, &text // it says on either why there is no value
	c.WaitDelay = time.Second
	err := c.Run()
	value, more, _ := strings.Cut(strings.TrimSpace(text.String()), "\n")
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s gave no answer within %s", program, condorTimeout)
	case err != nil:
		return "", fmt.Errorf("%s: %w (%.200q)", program, err, value)
	case more != "":
		return "", fmt.Errorf("%s gave more than one line", program)
	}
	return value, nil
}

// A shortText is what a program prints, as far as anybody would read it; what
// prints more is ended.
type shortText struct{ strings.Builder }

func (t *shortText) Write(p []byte) (int, error) {
	if t.Len()+len(p) > condorMost {
		return 0, errors.New("it prints without end")
	}
	return t.Builder.Write(p)
}
