package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func entry(n int, life time.Duration) Entry {
	return Entry{At: now, Token: fmt.Sprint("token", n), Path: "/t", JTI: fmt.Sprint("jti", n), KID: "k", Issued: now, Expires: now.Add(life), Why: "due"}
}

func all(t *testing.T, dir string) (found []Entry) {
	t.Helper()
	if err := Read(dir, func(e Entry) bool { found = append(found, e); return true }); err != nil {
		t.Fatal(err)
	}
	return found
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasAddedIsRead(t *testing.T) {
	dir := t.TempDir()
	if found := all(t, dir); found != nil {
		t.Errorf("nothing was added, and there is %v", found)
	}
	j := New(dir, func() time.Time { return now })
	want := []Entry{entry(1, time.Hour), entry(2, 0)}
	for _, e := range want {
		j.Add(e)
		check(t, j.Write())
	}
	if diff := cmp.Diff(want, all(t, dir)); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(filepath.Join(dir, File))
	check(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("its mode is %v", info.Mode())
	}
}

func TestALineThatWasNotWrittenToItsEndTakesNoOtherAlong(t *testing.T) {
	dir := t.TempDir()
	j := New(dir, func() time.Time { return now })
	j.Add(entry(1, time.Hour))
	check(t, j.Write())
	path := filepath.Join(dir, File)
	whole, err := os.ReadFile(path)
	check(t, err)
	for cut := range len(whole) - 1 {
		torn := slices.Concat(whole, whole[:cut]) // at its end or in it
		check(t, os.WriteFile(path, torn, 0o600))
		if found := all(t, dir); len(found) != 1 {
			t.Fatalf("cut after %d bytes: read %v", cut, found)
		}
		j.Add(entry(2, time.Hour))
		check(t, j.Write())
		if diff := cmp.Diff([]Entry{entry(1, time.Hour), entry(2, time.Hour)}, all(t, dir)); diff != "" {
			t.Fatalf("cut after %d bytes: %s", cut, diff)
		}
	}
}

func TestAFolderThatCannotBeWrittenLosesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	j := New(dir, func() time.Time { return now })
	for n := range 3 {
		j.Add(entry(n, time.Hour))
		if err := j.Write(); err == nil || !strings.Contains(err.Error(), dir) {
			t.Fatalf("got %v", err)
		}
	}
	check(t, os.Mkdir(dir, 0o700))
	check(t, j.Write())
	if found := all(t, dir); len(found) != 3 || found[0].Token != "token0" {
		t.Errorf("found %v", found)
	}
}

func TestAJournalThatCannotBeShortenedIsNotWrittenTwice(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, File+".new"), 0o700)) // in the way
	j := New(dir, func() time.Time { return now.Add(24 * time.Hour) })
	for n := range 3000 {
		j.Add(entry(n, time.Hour))
	}
	if err := j.Write(); err == nil || !strings.Contains(err.Error(), "shortened") {
		t.Errorf("got %v", err)
	}
	for range 3 {
		check(t, j.Write())
	}
	if found := all(t, dir); len(found) != 3000 {
		t.Errorf("%d entries", len(found))
	}
}

func TestAnErrorIsReportedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	j := New(dir, func() time.Time { return now })
	j.Add(entry(1, time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var said []error
	j.Run(ctx, func(err error) { said = append(said, err) })
	if len(said) != 1 || said[0] == nil {
		t.Errorf("said %v", said)
	}
}

func TestTokensThatLiveStayAndOldOnesGo(t *testing.T) {
	dir := t.TempDir()
	clock := now
	j := New(dir, func() time.Time { return clock })
	living := entry(-1, 300*24*time.Hour)
	endless := entry(-2, 0)
	endless.Expires = time.Time{}
	j.Add(living)
	j.Add(endless)
	for n := range 20_000 { // one an hour, which lives for an hour
		e := entry(n, time.Hour)
		e.At, e.Issued, e.Expires = clock, clock, clock.Add(time.Hour)
		j.Add(e)
		if clock = clock.Add(time.Hour); n%100 == 0 {
			check(t, j.Write())
		}
	}
	check(t, j.Write())
	found := all(t, dir)
	if len(found) > 10_000 || len(found) < 90*24 {
		t.Errorf("%d entries are kept", len(found))
	}
	if endless.JTI != found[0].JTI {
		t.Errorf("a token without an end is lost: %v", found[0])
	}
	if slices.ContainsFunc(found, func(e Entry) bool { return e.JTI == living.JTI }) && clock.Sub(living.Expires) > keepExpired+30*24*time.Hour {
		t.Error("a token that expired long ago is kept")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestOnlyTheLastExpiredTokensAreKept(t *testing.T) {
	dir := t.TempDir()
	j := New(dir, func() time.Time { return now.Add(2 * time.Hour) })
	j.Add(entry(-1, 24*time.Hour))
	for n := range 25_000 {
		j.Add(entry(n, time.Hour))
		if n%5_000 == 0 {
			check(t, j.Write())
		}
	}
	check(t, j.Write())
	f, err := open(filepath.Join(dir, File), os.O_RDWR)
	check(t, err)
	_, err = compact(f, filepath.Join(dir, File), now.Add(2*time.Hour), 10_000)
	check(t, err)
	f.Close()
	found := all(t, dir)
	if len(found) != 10_001 || found[0].JTI != "jti-1" || found[len(found)-1].JTI != "jti24999" {
		t.Errorf("%d entries, from %v to %v", len(found), found[0], found[len(found)-1])
	}
}

func TestTwoProcessesMayWrite(t *testing.T) {
	dir := t.TempDir()
	done := make(chan error)
	for w := range 2 {
		j := New(dir, func() time.Time { return now })
		go func() {
			var err error
			for n := range 2000 {
				j.Add(entry(w*10_000+n, time.Hour))
				err = errors.Join(err, j.Write())
			}
			done <- err
		}()
	}
	check(t, errors.Join(<-done, <-done))
	if found := all(t, dir); len(found) != 4000 {
		t.Errorf("%d entries", len(found))
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-30T12:00:00Z","token":"pilot","issued":"2026-11-30T12:00:00Z"}` + "\n"))
	f.Add([]byte("{}\n\n\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, File), content, 0o600))
		before := len(all(t, dir))
		j := New(dir, func() time.Time { return now })
		j.Add(entry(1, time.Hour))
		check(t, j.Write())
		if after := len(all(t, dir)); after != before+1 {
			t.Errorf("%d entries, and %d after one more", before, after)
		}
	})
}
