package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tokenagent/tokenagent/agent/control"
)

// The exit codes, which scripts and systemd use. 0 is success.
const (
	exitFailed        = 1  // it was tried and failed
	exitUsage         = 2  // the command line makes no sense
	exitNotValid      = 4  // a required token is not valid
	exitNoAgent       = 5  // no agent answers
	exitConfiguration = 78 // the configuration has faults; EX_CONFIG of sysexits.h
)

// An exitError ends the process with a code other than 1.
type exitError struct {
	code int
	err  error // nil: there is nothing more to print
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }
func (e *exitError) Unwrap() error { return e.err }

// usage is the error of a command line that makes no sense.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// A faulted error is the text of a configuration's faults, printed as it is.
type faulted string

func (f faulted) Error() string { return string(f) }

// report prints the error, if any, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	code := codeOf(err)
	if e, ok := errors.AsType[*exitError](err); ok && e.err == nil {
		return code
	}
	if f, ok := errors.AsType[faulted](err); ok {
		fmt.Fprintln(stderr, strings.TrimRight(string(f), "\n"))
		return code
	}
	fmt.Fprintf(stderr, "tokenagent: %v\n", err)
	return code
}

func codeOf(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if r, ok := errors.AsType[*control.Refusal](err); ok && r.Reason == control.UnknownToken {
		return exitUsage
	}
	switch {
	case errors.Is(err, control.ErrNoAgent):
		return exitNoAgent
	case errors.As(err, new(faulted)):
		return exitConfiguration
	}
	return exitFailed
}
