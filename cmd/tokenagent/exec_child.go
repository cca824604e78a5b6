package main

import (
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// passedOn are the signals that a child is told of: all that people, service
// managers and batch systems send to a process that they know, but those that
// stop and continue it. Ctrl-Z stops the whole job, us included, as it should.
var passedOn = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}

// hear begins to listen for the signals to be passed on. What was ignored at our
// start stays so, for the child too: nohup is not undone.
func hear() <-chan os.Signal {
	heard := make(chan os.Signal, 16)
	signal.Notify(heard, slices.DeleteFunc(slices.Clone(passedOn), signal.Ignored)...)
	return heard
}

// A child is a process that stands for this one: it has the same standard input,
// output and error, the same process group and so the same terminal.
type child struct{ *os.Process }

// start starts the child. It gets SIGTERM when this process dies without having
// passed one on, as by SIGKILL: that is known by the death of the thread that
// started it, so that must be the main thread (see init in main.go).
func start(program string, argv, env []string) (child, error) {
	p, err := os.StartProcess(program, argv, &os.ProcAttr{
		Env:   env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM},
	})
	return child{p}, err
}

// end waits for the end of the child, passes signals on meanwhile, and returns
// the exit code as an error.
func (c child) end(heard <-chan os.Signal) error {
	ended := make(chan struct{})
	defer close(ended)
	go c.passOn(heard, ended)
	state, err := c.Wait()
	if err != nil {
		return err
	}
	return ending(state.Sys().(syscall.WaitStatus))
}

// ending is how a child ended, as an exit code of ours.
func ending(status syscall.WaitStatus) error {
	switch {
	case status.Signaled():
		return &exitError{exitSignalled + int(status.Signal()), nil}
	case status.ExitStatus() != 0:
		return &exitError{status.ExitStatus(), nil}
	}
	return nil
}

// passOn passes signals on until the child has ended.
func (c child) passOn(heard <-chan os.Signal, ended <-chan struct{}) {
	for {
		select {
		case s := <-heard:
			if !fromKeys(s) {
				_ = c.Signal(s) // to one that has just ended it does not matter
			}
		case <-ended:
			return
		}
	}
}

// fromKeys reports whether the child has got the signal already: a terminal gives
// those of its keys and its size to the whole process group in its foreground.
func fromKeys(s os.Signal) bool {
	return (s == syscall.SIGINT || s == syscall.SIGQUIT || s == syscall.SIGWINCH) && inForeground()
}

// inForeground reports whether the keys of a terminal act on this process group.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
