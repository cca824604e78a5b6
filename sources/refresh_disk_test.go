package sources

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// onSmallDisk puts the state folder on a disk of 64 KiB, and returns what fills it.
func (r *robot) onSmallDisk(t *testing.T) (fill func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk")
	}
	state := filepath.Join(r.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
			t.Fatal(err)
		}
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(state, unix.MNT_DETACH) })
	return func() { _ = os.WriteFile(r.fullFile(), make([]byte, 1<<20), 0o600) } // as far as it goes
}

// withoutRoom is fill that takes the room as well that is kept for the next token.
func (r *robot) withoutRoom(fill func()) func(url.Values, map[string]any) {
	return func(url.Values, map[string]any) {
		_ = os.Remove(filepath.Join(filepath.Dir(r.store.Path()), ".cilogon.json.room"))
		fill()
	}
}

func TestADiskThatFillsWhileTheIssuerAnswersLosesNoRefreshToken(t *testing.T) {
	r := newRobot(t)
	fill := r.onSmallDisk(t)
	r.mustIssue(t)
	r.issuer.Change(func(b *issuertest.Behaviour) { b.Strict, b.Answer = true, func(url.Values, map[string]any) { fill() } })
	r.mustIssue(t)
	r.mustIssue(t)
	r.wantUses(t, 3)
}

func (r *robot) fullFile() string { return filepath.Join(r.dir, "state", "full") }

func TestARefreshTokenIsNotUsedUpWhereItsSuccessorCannotBeStored(t *testing.T) {
	r := newRobot(t)
	fill := r.onSmallDisk(t)
	r.mustIssue(t)
	fill()
	r.refuses(t, agent.Writing, "was not used", "no space left on device")
	r.wantUses(t, 1)
	if err := os.Remove(r.fullFile()); err != nil {
		t.Fatal(err)
	}
	r.mustIssue(t)
}

func TestWhatCouldNotBeStoredIsStoredBeforeAnythingElse(t *testing.T) {
	r := newRobot(t)
	fill := r.onSmallDisk(t)
	r.mustIssue(t)
	r.issuer.Change(func(b *issuertest.Behaviour) { b.Answer = r.withoutRoom(fill) })
	r.refuses(t, agent.Writing, "only in memory", "no space left on device", r.store.Path())
	r.refuses(t, agent.Writing, "only in memory", "no space left on device")
	r.wantUses(t, 2)

	// Nobody else uses the one that is used up.
	other := *r
	other.load(t)
	ctx, cancel := context.WithTimeout(t.Context(), 0) // the lock is tried once
	defer cancel()
	if _, err := other.hold(ctx); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process (%d)", os.Getpid())) {
		t.Errorf("%v does not say who holds it", err)
	}
	r.wantUses(t, 2)

	r.issuer.Change(func(b *issuertest.Behaviour) { b.Answer = nil })
	if err := os.Remove(r.fullFile()); err != nil {
		t.Fatal(err)
	}
	r.mustIssue(t)
	if _, err := other.Issue(t.Context(), r.req); err != nil {
		t.Error(err)
	}
	r.wantUses(t, 4)
}

func TestWhatCouldNotBeStoredOutlivesItsSource(t *testing.T) {
	r := newRobot(t)
	fill := r.onSmallDisk(t)
	r.mustIssue(t)
	r.issuer.Change(func(b *issuertest.Behaviour) { b.Strict, b.Answer = true, r.withoutRoom(fill) })
	r.refuses(t, agent.Writing, "only in memory")
	r.load(t) // as a reload does with another definition
	for range 3 {
		runtime.GC() // which would close the lock of a source that is gone
	}
	r.issuer.Change(func(b *issuertest.Behaviour) { b.Answer = nil })
	if err := os.Remove(r.fullFile()); err != nil {
		t.Fatal(err)
	}
	r.mustIssue(t)
	r.wantUses(t, 3)
}
