package main

import (
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// passedOn are the signals that a child gets: those that people, service managers and
// batch systems send, except those that stop and continue a process. Ctrl-Z stops the
// whole job, this process too.
var passedOn = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}

// hear starts to listen for the signals to pass on. Signals that were ignored at our
// start stay ignored, for the child too, as nohup wants it.
func hear() <-chan os.Signal {
	heard := make(chan os.Signal, 16)
	signal.Notify(heard, slices.DeleteFunc(slices.Clone(passedOn), signal.Ignored)...)
	return heard
}

// A child is a process that runs in place of this one: with the same standard input,
// output and error, and the same process group, so the same terminal.
type child struct{ *os.Process }

// inherited are the descriptors for a child: those that this process was given at its
// start, each under its own number, and closed for the numbers between. Call it before
// any program is started: after that they look like descriptors that we opened.
func inherited() (files []uintptr) {
	files = []uintptr{0, 1, 2}
	entries, _ := os.ReadDir("/proc/self/fd") // without /proc a child has these three
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 || closesOnExec(fd) { // we opened it ourselves
			continue
		}
		for len(files) <= fd {
			files = append(files, closed)
		}
		files[fd] = uintptr(fd)
	}
	return files
}

func closesOnExec(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err != nil || flags&unix.FD_CLOEXEC != 0
}

// closed stands for a descriptor that a child does not get.
const closed = ^uintptr(0)

// start starts the child with these descriptors; see inherited. The child gets SIGTERM
// if this process is killed. The kernel goes by the death of the thread that started
// the child, so that must be the main thread (see init in main.go).
func start(program string, argv, env []string, files []uintptr) (child, error) {
	pid, _, err := syscall.StartProcess(program, argv, &syscall.ProcAttr{
		Env:   env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM},
	})
	if err != nil {
		return child{}, err
	}
	p, err := os.FindProcess(pid)
	return child{p}, err
}

// end passes signals on until the child ends, and returns its exit code as an error.
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
				_ = c.Signal(s) // the child may just have ended
			}
		case <-ended:
			return
		}
	}
}

// fromKeys reports whether the child has already got the signal: a terminal sends
// those of its keys and of its size to the whole process group in its foreground.
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
