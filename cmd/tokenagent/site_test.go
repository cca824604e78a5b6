package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/host/hosttest"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A site is a folder with a key, a configuration and the agent that follows it:
// the real program, as a process of its own. At most one runs at a time.
type site struct {
	folder string // others may pass through it
	key    keys.Key
	agent  *exec.Cmd     // nil: none runs
	clock  *steppedClock // of all its programs; nil: that of the host
}

// agentBlock keeps the state and the control socket beside the configuration.
const agentBlock = `
agent {
  state_dir = "${path.config}/state"
  control   = "${path.config}/control.sock"
}
`

// siteHead is the configuration of a site without its tokens.
const siteHead = agentBlock + `source "local_key" "site" {
  key_file = "${path.config}/key.pem"
}
`

// somebody is a user without an account, who is not the one that runs the tests.
const somebody = 54321

// newSite lays out a site with these token blocks, whose source is
// source.local_key.site. Its path is short enough for a socket.
func newSite(t *testing.T, tokens string) *site {
	t.Helper()
	return newSiteIn(t, "", tokens)
}

// newSiteIn is newSite in a folder of that parent; "": where temporary files are.
func newSiteIn(t *testing.T, parent, tokens string) *site {
	t.Helper()
	folder, err := os.MkdirTemp(parent, "tokenagent-")
	check(t, err)
	s := &site{folder: folder}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the last log:\n%s", s.log(t))
		}
		watchFolder(t.Name(), folder)
		check(t, os.RemoveAll(folder))
	})
	check(t, os.Chmod(folder, 0o711))
	s.newKey(t)
	s.configure(t, tokens)
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.folder, name) }

// state is a path in the state folder of the site's configuration.
func (s *site) state(name string) string {
	from := place{configs: []string{s.path("site.hcl")}}
	return filepath.Join(from.home(config.Settings{StateDir: s.path("state")}).Dir(), name)
}

// newKey makes the key of which all tokens are to be from now on.
func (s *site) newKey(t *testing.T) {
	t.Helper()
	key, err := keys.Generate("ES256")
	check(t, err)
	s.key = key
	s.putKey(t, "key.pem", key)
}

func (s *site) putKey(t *testing.T, name string, k keys.Key) {
	t.Helper()
	text, err := k.MarshalPEM()
	check(t, err)
	put(t, s.path(name), string(text))
}

// configure replaces the token blocks.
func (s *site) configure(t *testing.T, tokens string) {
	t.Helper()
	put(t, s.path("site.hcl"), siteHead+tokens)
}

// mkdir makes a folder of that owner in the site.
func (s *site) mkdir(t *testing.T, name string, owner int, mode os.FileMode) string {
	t.Helper()
	path := s.path(name)
	check(t, os.Mkdir(path, mode))
	check(t, os.Chown(path, owner, owner))
	return path
}

// command is the program with the arguments and the site's configuration, run
// by the program that before names, if any.
func (s *site) command(before []string, args ...string) *exec.Cmd {
	argv := slices.Concat(before, []string{"tokenagent"}, args, []string{"--config", s.path("site.hcl")})
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if s.clock != nil {
		c.Env = append(c.Env, s.clock.environment(), goroutineFile+"="+s.path("goroutines"))
	}
	return c
}

// start begins an agent, with a new log.
func (s *site) start(t *testing.T, before ...string) {
	t.Helper()
	log, err := os.Create(s.path("log"))
	check(t, err)
	defer log.Close()
	c := s.command(before, "run")
	c.Stderr = log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // of tests that were killed none goes on
	check(t, launch(c))
	s.agent = c
}

// launches are programs to start, one after the other, on a thread that never ends.
var launches = sync.OnceValue(func() chan<- func() {
	all := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range all {
			start()
		}
	}()
	return all
})

// launch starts the program. Pdeathsig ends it with the thread that has started it, and a
// thread that took on another identity ends: so every program is started on one that stays.
func launch(c *exec.Cmd) error {
	done := make(chan error, 1)
	launches() <- func() { done <- c.Start() }
	return <-done
}

// stop ends the agent as systemd does, and demands that it ends well.
func (s *site) stop(t *testing.T) {
	t.Helper()
	check(t, s.agent.Process.Signal(syscall.SIGTERM))
	err := s.agent.Wait()
	s.agent = nil
	if err != nil {
		t.Fatalf("the agent ends with %v:\n%s", err, s.log(t))
	}
}

// kill ends the agent, if one runs, at once and in the middle of whatever it does.
func (s *site) kill() {
	if s.agent != nil {
		_ = s.agent.Process.Kill()
		_ = s.agent.Wait() // it was killed
		s.agent = nil
	}
}

func (s *site) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(s.path("log"))
	if !errors.Is(err, os.ErrNotExist) {
		check(t, err)
	}
	return string(text)
}

// now is the time of day by the site's clock.
func (s *site) now() time.Time {
	if s.clock != nil {
		return s.clock.now()
	}
	return time.Now()
}

func (s *site) client() *control.Client { return control.NewClient(s.path("control.sock")) }

// settled waits until the agent calls every token valid and not due.
func (s *site) settled(t *testing.T) (tokens []agent.Status) {
	t.Helper()
	eventually(t, "an agent with valid tokens", func() bool {
		var err error
		tokens, err = s.client().Status(t.Context())
		now := s.now()
		return err == nil && len(tokens) > 0 && !slices.ContainsFunc(tokens, func(s agent.Status) bool {
			return s.State != agent.Valid || !s.Renew.After(now)
		})
	})
	return tokens
}

// once runs one pass, which must have every token valid in the end.
func (s *site) once(t *testing.T) {
	t.Helper()
	if out, err := s.command(nil, "once").CombinedOutput(); err != nil {
		t.Fatalf("once: %v\n%s", err, out)
	}
}

// seen is a file as its readers find it, for comparing.
type seen struct {
	Text       string
	UID, Inode uint64
	Mode       os.FileMode
	Modified   time.Time
}

// look reads a file once, as its readers do.
func look(path string) (f seen, err error) {
	file, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		return f, err
	}
	info, err := file.Stat()
	if err != nil {
		return f, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return seen{string(text), uint64(st.Uid), st.Ino, info.Mode(), info.ModTime()}, nil
}

// mustLook is look at a file of the site that must hold a whole and valid token.
func (s *site) mustLook(t *testing.T, name string) seen {
	t.Helper()
	f, err := look(s.path(name))
	if err == nil {
		err = s.faultOf(f.Text)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	known.find(f.Text)
	return f
}

// faultOf says why the text is not a line with a token that the site's key has
// signed and that is valid now.
func (s *site) faultOf(text string) error {
	line, ended := strings.CutSuffix(text, "\n")
	if !ended {
		return fmt.Errorf("%d bytes without an end of line", len(text))
	}
	signed, err := jose.ParseSignedCompact(line, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("%d bytes that are no token: %w", len(text), err)
	}
	content, err := signed.Verify(s.key.Public())
	if err != nil {
		return err
	}
	var claims struct{ Exp int64 }
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(&claims); err != nil {
		return err
	}
	if left := time.Unix(claims.Exp, 0).Sub(s.now()); left <= 0 {
		return fmt.Errorf("it has expired %v ago", -left)
	}
	return nil
}

// needRoot skips the test with a word where an ordinary user runs it.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
}

// often is how often something is done, which the environment may change; a tenth
// of what is usual where no long tests run.
func often(t *testing.T, variable string, usual int) int {
	t.Helper()
	if !isLong() {
		usual = max(usual/10, 1)
	}
	return count(t, variable, usual)
}

// count is a number that the environment may change.
func count(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	check(t, err)
	return n
}

var check, put, move = hosttest.Check, hosttest.Put, hosttest.Move
