package sinks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// hang is a folder that does not answer: one of a FUSE server that never says a
// word, as one of an NFS server that is gone.
func hang(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a folder that hangs")
	}
	dir := t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Mount("hang", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd))
	}
	if err != nil {
		missing(t, "FUSE cannot be mounted here: "+err.Error())
	}
	t.Cleanup(func() { must(t, errors.Join(unix.Close(fd), unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH))) })
	return dir
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func TestAFolderThatHangsDoesNotStopTheLoad(t *testing.T) {
	lines := pathLine(hang(t) + "/token")
	start := time.Now()
	s, faults := load(t, config.Environment{}, lines)
	if took := time.Since(start); s == nil || took > 4*time.Second {
		t.Errorf("it took %v, and gave\n%s", took, text(t, faults))
	}
	if got := text(t, faults.Warnings()); !strings.Contains(got, "the folder does not answer") {
		t.Errorf("the warning is\n%s", got)
	}
}

// getentThat makes a program of that script, which counts how often it is run.
func getentThat(t *testing.T, script string) (a *accounts, runs func() int) {
	t.Helper()
	dir := t.TempDir()
	program, count := filepath.Join(dir, "getent"), filepath.Join(dir, "count")
	must(t, os.WriteFile(program, []byte("#!/bin/sh\necho >>"+count+"\n"+script+"\n"), 0o755))
	return &accounts{getent: program}, func() int {
		content, _ := os.ReadFile(count) // none: it did not run
		return len(content)
	}
}

func TestGetentIsAskedOnceForEachName(t *testing.T) {
	a, runs := getentThat(t, `[ "$3" = frontend ] || exit 2; echo frontend:*:70001:70002::/home/frontend:/bin/sh`)
	for range 1000 {
		if u, err := a.user("frontend"); err != nil || u.UID != 70001 {
			t.Fatalf("the user is %+v, %v", u, err)
		}
		if _, err := a.user("none"); !errors.Is(err, errUnknown) {
			t.Fatalf("of no user it says %v", err)
		}
	}
	if n := runs(); n != 2 {
		t.Errorf("getent was run %d times", n)
	}
}

func TestASilentGetentIsNotAskedAgain(t *testing.T) {
	a, runs := getentThat(t, "exec sleep 60")
	a.patience = 100 * time.Millisecond
	for _, name := range []string{"one", "two", "two"} {
		if _, err := a.user(name); errors.Is(err, errUnknown) || !strings.Contains(fmt.Sprint(err), "getent does not answer; is the directory service") {
			t.Errorf("of %s it says %v", name, err)
		}
	}
	if u, err := a.user("70009"); err != nil || u.UID != 70009 || u.GID != noGroup || u.unsure == nil {
		t.Errorf("of a number it says %+v, %v", u, err)
	}
	if n := runs(); n > 1 {
		t.Errorf("getent was run %d times", n)
	}
}

func TestAFailureOfGetentIsNoUnknownName(t *testing.T) {
	failing, _ := getentThat(t, "exit 1")
	none := &accounts{getent: "/nowhere/getent"}
	for want, a := range map[string]*accounts{"getent cannot tell (exit status 1)": failing, "there is no /usr/bin/getent to ask": none} {
		_, userErr := a.user("frontend")
		_, groupErr := a.group("frontend")
		for _, err := range []error{userErr, groupErr} {
			if errors.Is(err, errUnknown) || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("it says %v, want %q", err, want)
			}
		}
	}
	if _, unsure := failing.groupsOf(account{User: safefile.User{UID: 1, GID: 1}, name: "frontend"}); unsure == nil {
		t.Error("the groups are known without getent")
	}
}

func TestAGroupIsNoFaultOfTheOwnersWhileItCannotBeLookedUp(t *testing.T) {
	stranger := &safefile.Stranger{GID: 54399, UID: 54321}
	for want, unsure := range map[string]error{
		"the owner is not of that group":                                    nil,
		"the owner's groups cannot be looked up getent does not answer; of": errors.New("getent does not answer"),
	} {
		faults := judged(t, func(b *config.Block) {
			if judgeVisit(b, stranger, unsure) {
				t.Error("the block stays")
			}
		})
		if got := text(t, faults); !strings.Contains(got, want) {
			t.Errorf("it says %s, want %q", got, want)
		}
	}
}
