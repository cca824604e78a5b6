package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// firstProcess is the number of the first process of a container.
const firstProcess = 1

// asInit acts as the first process of a container: it starts this program again with
// the same arguments, passes signals on to it, reaps every process that has lost its
// parent, and ends as the program does. The second process reaps the hooks and
// programs that it starts itself.
func asInit(arguments []string) error {
	heard := hear()
	main, err := startAgain(arguments)
	if err != nil {
		return fmt.Errorf("as the first process of a container it starts itself again: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go main.passOn(heard, ended)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case pid == main.Pid:
			return ending(syscall.WaitStatus(status))
		}
	}
}

// startAgain starts this program, by its own name, which ps shows.
func startAgain(arguments []string) (child, error) {
	program, err := os.Executable()
	if err != nil {
		return child{}, err
	}
	return start(program, arguments, os.Environ(), inherited())
}
