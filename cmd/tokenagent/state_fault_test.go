package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/state"
	"github.com/tokenagent/tokenagent/sinks"
)

// keptTokens have a hook that tells the log said of each file that changed.
const keptTokens = `
token "t" {
  for_each = toset(["a", "b", "c"])
  source   = source.local_key.site
  subject  = each.key
  lifetime = "12h"
  sink "file" {
    path = "${path.config}/tokens/${each.key}"
  }
  hook "on_change" {
    command = ["/bin/sh", "-c", "sed 's/^/on_change /' >> ${path.config}/said"]
  }
}
`

var keptNames = []string{"a", "b", "c"}

// newKeptSite runs an agent that keeps these tokens.
func newKeptSite(t *testing.T, prepare func(*site)) *site {
	t.Helper()
	s := newSite(t, keptTokens)
	s.mkdir(t, "tokens", os.Geteuid(), 0o700)
	prepare(s)
	s.once(t)
	s.wantKept(t)
	s.start(t)
	s.settled(t)
	return s
}

func (s *site) texts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range keptNames {
		all[name] = s.mustLook(t, "tokens/"+name).Text
	}
	return all
}

// renewed has all tokens renewed.
func (s *site) renewed(t *testing.T) {
	t.Helper()
	before := s.texts(t)
	tokens, err := s.client().Refresh(t.Context())
	check(t, err)
	if late := notValid(tokens); late != nil {
		t.Fatalf("not valid: %v", late)
	}
	for name, text := range s.texts(t) {
		if text == before[name] {
			t.Errorf("%s is the old one", name)
		}
	}
}

// wantKept waits until the state folder knows the tokens as they are now, and no
// hook is pending.
func (s *site) wantKept(t *testing.T) {
	t.Helper()
	eventuallyWithin(t, time.Minute, "records of all tokens, and no pending hooks", func() bool {
		found := state.Read(s.state(""))
		known := sinks.RecordsOf(found.Recall())
		for _, name := range keptNames {
			info, err := os.Stat(s.path("tokens/" + name))
			record, is := known[s.path("tokens/"+name)]
			if err != nil || !is || !strings.Contains(string(record.Mark), info.ModTime().UTC().Format(time.RFC3339Nano)) {
				return false
			}
		}
		return !slices.ContainsFunc(found.Recall(), func(r agent.Record) bool { return len(r.Hooks.Due()) > 0 })
	})
}

// wantLogged waits until the log has the words, and demands that it has them once.
func (s *site) wantLogged(t *testing.T, words string) {
	t.Helper()
	eventuallyWithin(t, time.Minute, "in the log: "+words, func() bool { return strings.Contains(s.log(t), words) })
	if n := strings.Count(s.log(t), words); n != 1 {
		t.Errorf("said %d times: %s", n, words)
	}
}

const (
	notKept   = "records and pending hooks cannot be kept"
	keptAgain = "records and pending hooks are kept again"
)

// Each error is put into the system calls on the two journals while an agent runs,
// and taken out again.
func TestErrorsOfTheDiskUnderTheStateStopNoToken(t *testing.T) {
	t.Parallel()
	requireLong(t)
	requireRoot(t, "trace an agent")
	requirePart(t, "strace", "-o", "/dev/null", "true")
	for name, calls := range map[string]string{
		"no space":            "write,pwrite64:error=ENOSPC",
		"no inodes":           "openat:error=ENOSPC",
		"the quota":           "write,pwrite64,fsync,fdatasync:error=EDQUOT",
		"a read-only disk":    "openat,write,pwrite64,ftruncate,/^rename:error=EROFS",
		"an error at writing": "write,pwrite64,ftruncate:error=EIO",
		"an error at syncing": "fsync,fdatasync:error=EIO",
		"too many open files": "openat:error=EMFILE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newKeptSite(t, func(*site) {})
			if strings.HasPrefix(calls, "openat") { // what is open needs no new file or descriptor
				check(t, os.Remove(s.state("records.jsonl")))
				check(t, os.Remove(s.state("begun.jsonl")))
			}
			heal := s.harm(t, calls)
			eventually(t, "the first error", func() bool {
				s.renewed(t)
				return strings.Contains(s.log(t), notKept)
			})
			s.renewed(t)
			said := len(s.saidHere())
			s.renewed(t)
			eventually(t, "the hooks", func() bool { return len(s.saidHere()) > said })
			s.wantLogged(t, notKept)
			if n := heal(); n == 0 || n > 200 {
				t.Errorf("%d calls failed", n)
			}
			s.wantLogged(t, keptAgain)
			s.wantKept(t)
			last := s.texts(t)
			s.kill()
			s.start(t)
			s.settled(t)
			s.stop(t)
			if now := s.texts(t); !maps.Equal(now, last) {
				t.Error("tokens were asked for again")
			}
		})
	}
}

// saidHere are the lines of the hooks.
func (s *site) saidHere() []string {
	text, _ := os.ReadFile(s.path("said")) // not there before the first
	return slices.Collect(strings.Lines(string(text)))
}

// harm has these system calls of the agent on its journals fail until heal is
// called, which tells how many have.
func (s *site) harm(t *testing.T, calls string) (heal func() int) {
	t.Helper()
	trace := s.path("trace")
	args := []string{"-f", "-q", "-o", trace, "-p", fmt.Sprint(s.agent.Process.Pid), "-e", "inject=" + calls}
	for _, name := range []string{"records.jsonl", "begun.jsonl"} {
		args = append(args, "-P", s.state(name), "-P", s.state(name+".tmp"))
	}
	c := exec.Command("strace", args...)
	check(t, launch(c))
	stop := func() {
		_ = c.Process.Signal(unix.SIGTERM) // it lets go of the agent
		_ = c.Wait()
	}
	t.Cleanup(stop)
	return func() int {
		stop()
		return strings.Count(readFile(t, trace), "(INJECTED)")
	}
}

func TestAStateFolderThatIsDeletedUnderTheAgentIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := newKeptSite(t, func(*site) {})
	key := readFile(t, s.state("digest.key"))
	check(t, os.RemoveAll(s.path("state")))
	s.renewed(t)
	s.wantLogged(t, s.state("")+" was deleted or replaced while this agent runs; it is made again")
	s.wantKept(t)
	if readFile(t, s.state("digest.key")) != key {
		t.Error("the key is another")
	}
	if _, err := state.Open(s.state("")); err == nil || !strings.Contains(err.Error(), fmt.Sprint(s.agent.Process.Pid)) {
		t.Errorf("a second agent may have the folder: %v", err)
	}
	last := s.texts(t)
	s.kill()
	s.start(t)
	s.settled(t)
	s.stop(t)
	if now := s.texts(t); !maps.Equal(now, last) {
		t.Error("tokens were asked for again")
	}
}

// A file system that is frozen hangs as one does whose server is gone.
func TestAStateFolderThatHangsStopsNoToken(t *testing.T) {
	requireLong(t)
	t.Parallel()
	var d *disk
	s := newKeptSite(t, func(s *site) { d = newDisk(t, s, "state", fileSystems["ext4"]) })
	d.freeze(t)
	thaw := func() { d.thaw(t) }
	defer func() { thaw() }()
	for range 3 {
		began := time.Now()
		s.renewed(t)
		if took := time.Since(began); took > longest/2 {
			t.Errorf("to renew the tokens took %v", took)
		}
	}
	said := len(s.saidHere())
	eventually(t, "the hooks", func() bool { return len(s.saidHere()) > said })
	s.wantLogged(t, notKept)
	d.thaw(t)
	s.wantLogged(t, keptAgain)
	s.wantKept(t)

	d.freeze(t)
	s.renewed(t)
	began := time.Now()
	check(t, s.agent.Process.Signal(unix.SIGTERM))
	eventually(t, "the end of the agent", func() bool { return strings.Contains(s.log(t), "stopped; the tokens stay") })
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	d.thaw(t) // a thread in the kernel keeps the process until then
	thaw = func() {}
	check(t, s.agent.Wait())
	s.agent = nil
}

func TestAStateFolderThatHangsAtTheStartStopsNoToken(t *testing.T) {
	requireLong(t)
	t.Parallel()
	s := newSite(t, goodToken)
	hangingFolder(t, s, "state")
	s.start(t)
	eventuallyWithin(t, 2*time.Minute, "the token", func() bool { _, err := os.Stat(s.path("good")); return err == nil })
	s.wantLogged(t, "the state folder cannot be used")
	stopInTime(t, s)
}
