package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Root trusts no configuration that another user can change, and reads no key of its
// own below another user's folder. In a checkout of that user, `sudo make run` and
// `make run` in a container need no root either.
func TestMakeRunAsRootWorksInTheCheckoutOfAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	requirePart(t, "make", "--version")
	requirePart(t, "setpriv", "--version")
	s := newSite(t, "")
	checkout := s.mkdir(t, "checkout", somebody, 0o755)
	put(t, filepath.Join(checkout, "Makefile"), readFile(t, "../../Makefile"))
	program, err := exec.LookPath("tokenagent")
	check(t, err)
	bin := s.mkdir(t, "bin", 0, 0o755)
	check(t, os.Link(program, filepath.Join(bin, "tokenagent"))) // which that user may run
	_, err = makeRuns(s.folder)
	check(t, err)

	c := exec.Command("make", "--old-file=build", "run", "BIN="+bin)
	c.Dir = checkout
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(s.path("log"))
	check(t, err)
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	check(t, launch(c))
	t.Cleanup(func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	eventually(t, "a token", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("make run has ended: %v", err)
		default:
		}
		f, err := look(filepath.Join(checkout, ".quickstart/token"))
		return err == nil && f.UID == somebody && f.Mode == 0o600
	})
	check(t, syscall.Kill(-c.Process.Pid, syscall.SIGTERM))
	<-ended
}
