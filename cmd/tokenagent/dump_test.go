package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A core file holds keys and tokens. The kernel is told to write none when the
// agent starts, and forgets it at each change of identity: of a thread that writes
// below a user's folder, and of a hook that runs as a user. (What it does then
// instead, fs.suid_dumpable says, which is 2 where systemd-coredump is installed.)
func TestNoCoreFileAlsoAfterAChangeOfIdentity(t *testing.T) {
	requireRoot(t, "take on another identity")
	requirePart(t, "strace", "-o", "/dev/null", "true")
	s := newSite(t, fmt.Sprintf(`
token "t" {
  source  = source.local_key.site
  subject = "robot"
  sink "file" {
    path  = "${path.config}/theirs/token"
    owner = "%[1]d"
    group = "%[1]d"
  }
  hook "on_first" {
    command = ["/bin/true"]
    user    = "nobody"
  }
}
`, somebody))
	s.mkdir(t, "theirs", somebody, 0o700)
	calls := s.path("calls")
	var forgotten string
	var changes []string
	for range 5 { // the process may end between a change and the call that follows it
		out, err := s.command([]string{"strace", "-f", "-o", calls, "-e", "trace=prctl,setfsuid,setuid,setresuid,execve"}, "once").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if forgotten, changes = identityChanges(readFile(t, calls)); forgotten == "" {
			break
		}
		check(t, os.RemoveAll(s.path("theirs")))
		check(t, os.RemoveAll(s.path("state")))
		s.mkdir(t, "theirs", somebody, 0o700)
	}
	if forgotten != "" {
		t.Errorf("a core file may be written since %s", forgotten)
	}
	for _, call := range []string{"setfsuid(", "setuid(", "setresuid("} {
		if !strings.Contains(strings.Join(changes, ""), call) {
			t.Errorf("there is no %s…) among\n%s", call, readFile(t, calls))
		}
	}
}

// identityChanges are the calls that change an identity, in what strace wrote, and the one
// after which no call keeps a core file from being written again.
func identityChanges(calls string) (forgotten string, changes []string) {
	forgets := regexp.MustCompile(`\bset(fs|res)?uid\(`)
	for call := range strings.Lines(calls) {
		switch {
		case strings.Contains(call, "PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0"):
			forgotten = ""
		case forgets.MatchString(call):
			forgotten = call
			changes = append(changes, call)
		}
	}
	return forgotten, changes
}
