package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/host"
)

const oneTrusted = `
token "t" {
  source  = source.local_key.site
  subject = "t"
  sink "file" { path = "${path.config}/t" }
}
`

// output is what the command of the site prints, in an environment with these variables too.
func (s *site) output(t *testing.T, environment []string, args ...string) (text string, code int) {
	t.Helper()
	config := []string{"--config", s.path("site.hcl")}
	c := exec.Command("tokenagent", append(append(args[:1:1], config...), args[1:]...)...)
	if args[0] == "token" {
		c = exec.Command("tokenagent", append(args, config...)...)
	}
	c.Env = append(os.Environ(), environment...)
	out, err := c.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	check(t, err)
	return string(out), 0
}

var runningCommands = [][]string{{"once"}, {"run"}, {"exec", "t", "--", "true"}, {"token", "create", "t"}, {"check", "--online", "--issue"}, {"login", "t"}, {"logout", "t"}}

func TestRootRunsNoConfigurationThatOthersCanChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("others than root run what they like")
	}
	s := newSite(t, oneTrusted)
	check(t, os.Chmod(s.path("site.hcl"), 0o666))
	const told = "others than root can change the configuration, and so what root runs"
	mend := s.path("site.hcl") + " (owner root, mode 0666): everybody can change it; chmod go-w " + s.path("site.hcl")
	for _, args := range runningCommands {
		out, code := s.output(t, nil, args...)
		if code != exitConfiguration || !strings.Contains(out, "error: "+told) || !strings.Contains(strings.Join(strings.Fields(out), " "), mend) {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
	for _, path := range []string{"state", "control.sock", "t"} {
		if _, err := os.Lstat(s.path(path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made for it: %v", path, err)
		}
	}
	if out, code := s.output(t, nil, "check"); code != 0 || !strings.Contains(out, "warning: "+told) {
		t.Errorf("check: exit code %d\n%s", code, out)
	}
	if out, code := s.output(t, nil, "check", "--definitions", "--strict"); code != 0 {
		t.Errorf("check of the text alone: exit code %d\n%s", code, out)
	}
	if out, code := s.output(t, nil, "status"); code != exitNotValid || !strings.Contains(out, "tokenagent: warning: "+s.path("site.hcl")+": "+told) {
		t.Errorf("status: exit code %d\n%s", code, out)
	}
}

func TestTheUserWhoCalledSudoIsOnlyWarnedOf(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root is called by sudo")
	}
	s := newSite(t, oneTrusted)
	check(t, os.Chown(s.path("site.hcl"), somebody, somebody))
	for user, want := range map[string]int{"54321": 0, "54322": exitConfiguration, "": exitConfiguration} {
		for _, args := range [][]string{{"once"}, {"exec", "t", "--", "true"}, {"token", "create", "t"}} {
			if out, code := s.output(t, []string{"SUDO_UID=" + user, "SUDO_GID=" + user}, args...); code != want {
				t.Errorf("%v, called by %q: exit code %d, want %d\n%s", args, user, code, want, out)
			}
		}
	}
	check(t, os.Chown(s.path("site.hcl"), somebody, 100))
	check(t, os.Chmod(s.path("site.hcl"), 0o660))
	if out, code := s.output(t, []string{"SUDO_UID=54321", "SUDO_GID=100", "SUDO_USER=alice"}, "once"); code != exitConfiguration {
		t.Errorf("where a group of many can write: exit code %d\n%s", code, out)
	}
	check(t, os.Chmod(s.path("site.hcl"), 0o600))
	out, _ := s.output(t, []string{"SUDO_UID=54321", "SUDO_GID=54321"}, "check")
	if !strings.Contains(strings.Join(strings.Fields(out), " "), "only a warning, as that is the user who called sudo") {
		t.Errorf("check says\n%s", out)
	}
}

func TestAReloadOfAConfigurationThatOthersCanChangeIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("others than root run what they like")
	}
	s := newSite(t, oneTrusted)
	s.start(t)
	s.settled(t)
	check(t, os.Chmod(s.path("site.hcl"), 0o666))
	out, code := s.output(t, nil, "reload")
	if code != exitConfiguration || !strings.Contains(out, "others than root can change the configuration") {
		t.Errorf("reload: exit code %d\n%s", code, out)
	}
	s.settled(t) // the old set goes on
	check(t, os.Chmod(s.path("site.hcl"), 0o600))
	if out, code := s.output(t, nil, "reload"); code != 0 {
		t.Errorf("reload of what root alone can change: exit code %d\n%s", code, out)
	}
	s.stop(t)
}

func TestRootMakesNoFolderForItsSocketWhereAnotherUserLeads(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("others than root make folders only where they may")
	}
	s := newSite(t, oneTrusted)
	s.mkdir(t, "victim", 0, 0o755)
	s.mkdir(t, "theirs", somebody, 0o755)
	check(t, os.Symlink(s.path("victim"), s.path("theirs/link")))
	path := s.path("theirs/link/new/control.sock")
	exposed := func() error { _, err := control.Exposed(path, host.TrustOfRoot(os.Getenv)); return err }
	if err := exposed(); err == nil || !strings.Contains(err.Error(), "root makes none there: "+s.path("theirs")) {
		t.Errorf("the error is %v", err)
	}
	t.Setenv("SUDO_UID", "54321")
	if err := exposed(); err != nil {
		t.Errorf("for the user who called sudo: %v", err)
	}
	t.Setenv("SUDO_UID", "")
	s.mkdir(t, "victim/new", 0, 0o755)
	if err := exposed(); err != nil {
		t.Errorf("where the folder is there: %v", err)
	}
}
