package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/state"
)

// Agents are killed at random instants while they issue tokens without a pause, and
// some before they answer. Readers only ever find whole and valid tokens, and after
// one more start nothing is left over. Half of TOKENAGENT_KILLS (200) goes to each
// kind of folder, and more if not enough of them hit a write.
func TestAKilledAgentLeavesWholeTokensAndNothingElse(t *testing.T) {
	t.Parallel()
	kills := often(t, "TOKENAGENT_KILLS", 200) / 2
	t.Run("in its own folder", func(t *testing.T) {
		s := newSite(t, killedTokens(""))
		s.mkdir(t, "tokens", os.Geteuid(), 0o700)
		killAgents(t, s, os.Geteuid(), kills)
	})
	t.Run("in a folder of another user", func(t *testing.T) {
		needRoot(t)
		s := newSite(t, killedTokens(fmt.Sprintf("owner = %q\n    group = %[1]q", fmt.Sprint(somebody))))
		s.mkdir(t, "tokens", somebody, 0o700)
		killAgents(t, s, somebody, kills)
	})
}

var killedNames = []string{"a", "b", "c"}

// killedTokens are tokens with these attributes of their sinks.
func killedTokens(sink string) string {
	return fmt.Sprintf(`
token "t" {
  for_each = toset(["%s"])
  source   = source.local_key.site
  subject  = each.key
  lifetime = "10m"
  sink "file" {
    path = "${path.config}/tokens/${each.key}"
    %s
  }
}
`, strings.Join(killedNames, `", "`), sink)
}

// killAgents kills so many agents of the site, whose files belong to owner, and goes
// on until one in twenty was killed with a temporary file in the folder.
func killAgents(t *testing.T, s *site, owner, kills int) {
	s.start(t)
	s.settled(t)
	end := make(chan struct{})
	var readers sync.WaitGroup
	defer func() { close(end); readers.Wait() }()
	for range 4 {
		readers.Go(func() { readUntil(t, s, owner, end) })
	}
	killed, refreshed, torn := 0, 0, 0
	starting := 10 * time.Millisecond // an agent, the last time
	for ; killed < kills || torn < max(1, kills/20); killed++ {
		if killed > 20*kills {
			t.Fatalf("of %d agents %d were killed at a write", killed, torn)
		}
		s.kill()
		torn += min(1, len(temporary(t, s)))
		s.start(t)
		if killed%10 == 0 {
			time.Sleep(rand.N(starting))
			continue // it is killed at its start
		}
		began := time.Now()
		s.settled(t)
		starting = time.Since(began)
		refreshed += s.refreshSome(t)
	}
	s.kill()
	wantNothingLeft(t, s)
	t.Logf("%d agents killed after %d refreshes, %d of them at a write", killed, refreshed, torn)
}

// readUntil reads the tokens until end is closed, and demands that each content
// it finds is a whole and valid token of that owner and of nobody else.
func readUntil(t *testing.T, s *site, owner int, end <-chan struct{}) {
	good := map[string]bool{} // contents that were found valid
	reads := 0
	for ; ; reads++ {
		select {
		case <-end:
			t.Logf("%d reads of %d contents", reads, len(good))
			return
		case <-time.After(100 * time.Microsecond): // leaves the agent some of the processors
		}
		name := killedNames[reads%len(killedNames)]
		f, err := look(s.path("tokens/" + name))
		if err == nil && !good[f.Text] {
			err = s.faultOf(f.Text)
			good[f.Text] = true
		}
		if err != nil || f.UID != uint64(owner) || f.Mode != 0o600 {
			t.Errorf("read %d of %s, of uid %d and mode %v: %v", reads, name, f.UID, f.Mode, err)
			return
		}
	}
}

// refreshSome has the agent issue tokens, again and again, and returns while it
// does: after its first answer and a random time, in which a few more may come.
func (s *site) refreshSome(t *testing.T) (refreshed int) {
	t.Helper()
	began := time.Now()
	_, err := s.client().Refresh(t.Context())
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), rand.N(4*time.Since(began)))
	defer cancel()
	for refreshed = 1; ctx.Err() == nil; {
		if _, err := s.client().Refresh(ctx); err == nil {
			refreshed++
		}
	}
	return refreshed
}

// wantNothingLeft demands that after one more start and a stop the tokens and
// what is remembered of them are all there is.
func wantNothingLeft(t *testing.T, s *site) {
	t.Helper()
	s.start(t)
	s.settled(t)
	eventually(t, "the end of temporary files", func() bool { return len(temporary(t, s)) == 0 })
	s.stop(t)
	for _, name := range killedNames {
		s.mustLook(t, "tokens/"+name)
	}
	wantFiles(t, s.path("tokens"), "a b c")
	wantFiles(t, s.state(""), "digest.key lock owner.json records.jsonl tokens.jsonl")
	wantFiles(t, s.folder, "control.sock.lock key.pem log site.hcl state tokens")
	if n := len(state.Read(s.state("")).Recall()); n != len(killedNames) {
		t.Errorf("there are %d records", n)
	}
}

func temporary(t *testing.T, s *site) []string {
	t.Helper()
	found, err := filepath.Glob(s.path("tokens/.tokenagent.*.tmp"))
	check(t, err)
	return found
}

// wantFiles demands that the folder holds the files of these names, and no other.
func wantFiles(t *testing.T, folder, want string) {
	t.Helper()
	entries, err := os.ReadDir(folder) // sorted
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s holds %s; want %s", folder, got, want)
	}
}

// The first start makes the key of the digests, without which no record is good.
func TestAnAgentKilledAsItMakesTheDigestKeyLeavesNoHalfOne(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root sees which files an undumpable process writes")
	}
	s := newSite(t, killedTokens(""))
	s.mkdir(t, "tokens", os.Geteuid(), 0o700)
	strace := []string{"strace", "-f", "-o", "/dev/null", "-e", "inject=write:signal=KILL"}
	requirePart(t, strace[0], "-o", "/dev/null", "true")
	for _, path := range []string{s.state("digest.key"), s.state("digest.key.tmp")} {
		strace = append(strace, "-P", path)
	}
	if out, err := s.command(strace, "once").CombinedOutput(); err == nil {
		t.Fatalf("it was not killed:\n%s", out)
	}
	out, err := s.command(nil, "once").CombinedOutput()
	if err != nil || strings.Contains(string(out), "set aside") {
		t.Errorf("%v\n%s", err, out)
	}
	wantFiles(t, s.state(""), "digest.key lock owner.json records.jsonl tokens.jsonl")
}
