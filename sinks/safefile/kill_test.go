package safefile

import (
	"bufio"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TOKENAGENT_KILLS (200, where no long tests run 20) says how many are killed.
func TestAKilledWriterLeavesAWholeFileAndNothingThatIsNotSwept(t *testing.T) {
	usual := 20
	if os.Getenv("TOKENAGENT_LONG") == "1" || os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
		usual = 200
	}
	kills := count(t, "TOKENAGENT_KILLS", usual)
	for name, target := range map[string]func() Target{
		"as oneself": func() Target { return mine(filepath.Join(t.TempDir(), "token")) },
		"as the owner": func() Target {
			needRoot(t)
			return theirs(filepath.Join(mkdir(t, filepath.Join(openTempDir(t), "home"), somebody.UID, 0o700), "token"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "as the owner" {
				needRoot(t)
			}
			killWriters(t, target(), kills/2)
		})
	}
}

// count is a number that the environment may change.
func count(t testing.TB, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// killWriters kills so many writers of the target, and more until one in twenty
// left something to sweep, while four readers look at it.
func killWriters(t *testing.T, target Target, kills int) {
	f := New(target)
	mustWrite(t, f, string(numbered(1)))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			if reads, err := watch(target.Path, stop); err != nil || reads == 0 {
				t.Errorf("after %d reads: %v", reads, err)
			}
		})
	}
	killed, swept := 0, 0
	for ; killed < kills || swept < max(1, kills/20); killed++ {
		if killed > 20*kills {
			t.Fatalf("of %d kills %d hit a write", killed, swept)
		}
		killOne(t, target)
		removed, err := f.Sweep(t.Context(), func(name string) bool { return name == "token" })
		must(t, err)
		swept += len(removed)
		wantNoTemp(t, filepath.Dir(target.Path))
	}
	close(stop)
	readers.Wait()
	t.Logf("%d of %d kills left a temporary file", swept, killed)
}

// killOne lets a writer write once, and up to three times as long again.
func killOne(t *testing.T, target Target) {
	c := child(t, "loop", target)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	said := bufio.NewReader(out)
	line, err := said.ReadString('\n')
	began := time.Now()
	if next, _ := said.ReadString('\n'); line+next != "writing\nwritten\n" {
		t.Errorf("the writer says %q and %q, %v", line, next, err)
	}
	time.Sleep(rand.N(1 + 3*time.Since(began)))
	must(t, c.Process.Kill())
	_ = c.Wait() // it was killed
}
