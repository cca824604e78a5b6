package sinks

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

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
	s, faults := load(t, config.Environment{}, lines)
	if s == nil {
		t.Errorf("it gave\n%s", text(t, faults))
	}
	if got := text(t, faults.Warnings()); !strings.Contains(got, "the folder does not answer") {
		t.Errorf("the warning is\n%s", got)
	}
}

func TestAGroupIsNoFaultOfTheOwnersWhileItCannotBeLookedUp(t *testing.T) {
	stranger := &safefile.Stranger{GID: 54399, UID: 54321}
	for want, unsure := range map[string]error{
		"the owner is not in that group":                                    nil,
		"the owner's groups cannot be looked up getent does not answer; of": errors.New("getent does not answer"),
	} {
		faults := validated(t, func(b *config.Block) {
			reportVisit(b, stranger, unsure)
		})
		if !faults.HasErrors() {
			t.Error("the block stays")
		}
		if got := text(t, faults); !strings.Contains(got, want) {
			t.Errorf("it says %s, want %q", got, want)
		}
	}
}
