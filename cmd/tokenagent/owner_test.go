package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// ownedTokens belong to somebody, in a folder of that user and in one of root.
var ownedTokens = fmt.Sprintf(`
token "t" {
  for_each = toset(["theirs", "roots"])
  source   = source.local_key.site
  subject  = "robot"
  sink "file" {
    path  = "${path.config}/${each.key}/token"
    owner = "%d"
    group = "%[1]d"
  }
}
`, somebody)

// The agent of a unit with a CapabilityBoundingSet: root, and of its powers three.
// What happens in a folder of its own it is told by inotify at once; to the folder of
// another user, into which it may not look as root, it goes once a minute.
func TestThreeCapabilitiesAreEnoughForOtherUsersFolders(t *testing.T) {
	needRoot(t)
	setpriv := []string{"setpriv", "--inh-caps=-all", "--bounding-set=-all,+chown,+setuid,+setgid"}
	requirePart(t, setpriv[0], append(setpriv[1:], "true")...)
	s := newSite(t, ownedTokens)
	s.mkdir(t, "theirs", somebody, 0o700)
	s.mkdir(t, "roots", 0, 0o755)
	s.start(t, setpriv...)
	wantCapabilities(t, s, "00000000000000c1")
	s.settled(t)
	theirs, roots := wantOwned(t, s, "theirs/token"), wantOwned(t, s, "roots/token")
	s.stop(t)

	s.start(t, setpriv...)
	s.settled(t)
	looked := time.Now()
	if s.mustLook(t, "theirs/token") != theirs || s.mustLook(t, "roots/token") != roots {
		t.Error("a good token was written again at a restart")
	}
	check(t, os.Remove(s.path("roots/token")))
	check(t, os.Remove(s.path("theirs/token")))
	wantBack(t, s, "roots/token", looked.Add(45*time.Second)) // sooner than the look
	t.Parallel()                                              // only now, so that other tests run in that minute
	wantBack(t, s, "theirs/token", looked.Add(time.Minute+longest))
	s.stop(t)
	if log := s.log(t); strings.Contains(log, "inotify") || strings.Contains(log, "level=error") {
		t.Error("the log misleads")
	}
}

// wantCapabilities demands that the agent has these, as the kernel shows them.
func wantCapabilities(t *testing.T, s *site, want string) {
	t.Helper()
	eventually(t, "an agent with the capabilities "+want, func() bool {
		kernel := readFile(t, fmt.Sprintf("/proc/%d/status", s.agent.Process.Pid))
		return strings.HasPrefix(kernel, "Name:\ttokenagent\n") && strings.Contains(kernel, "\nCapEff:\t"+want+"\n")
	})
}

// wantBack waits until the file is there again, which must have been written in time.
func wantBack(t *testing.T, s *site, name string, until time.Time) {
	t.Helper()
	for {
		_, err := os.Stat(s.path(name))
		if err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if late := wantOwned(t, s, name).Modified.Sub(until); late > 0 {
		t.Errorf("%s came back %v too late", name, late)
	}
}

// wantOwned demands a file with a token that only that user can read.
func wantOwned(t *testing.T, s *site, name string) seen {
	t.Helper()
	f := s.mustLook(t, name)
	if f.UID != somebody || f.Mode != 0o600 {
		t.Errorf("%s belongs to uid %d, mode %v", name, f.UID, f.Mode)
	}
	return f
}
