package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Verifiers refuse a token that was issued in the future. So one that an earlier process
// has written while the clock ran ahead is not kept until it is due.
func TestATokenFromTheFutureIsReplacedAtTheRestart(t *testing.T) {
	for back, want := range map[time.Duration]int{0: 1, 30 * time.Second: 1, 2 * time.Hour: 2} {
		synctest.Test(t, func(t *testing.T) {
			clock, source, disk := &steppedClock{}, &fakeSource{life: 24 * time.Hour}, &fakeDisk{}
			records := &fakeRecords{disk: disk}
			runFor(t, time.Second, records, onDisk(disk, source, "a")...)
			clock.set(time.Now().Add(-back))
			a := New(clock.now, silent(), onDisk(disk, clock.source(source), "a"))
			a.Built(clock.now().Add(-time.Hour))
			a.Remember(records)
			begun(t, a)
			time.Sleep(time.Minute)
			if n := source.asked(); n != want {
				t.Errorf("the clock was set back by %v: the source was asked %d times, want %d", back, n, want)
			}
		})
	}
}

// A crash between two sinks of a definition leaves the new token in one file and the old
// one in the other.
func TestFilesWithDifferentTokensAreNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		set := func() []Renewer {
			return []Renewer{{Name: "a", Digest: "a", Source: source,
				Sinks: targets(&diskSink{disk: disk, path: "/t/a"}, &diskSink{disk: disk, path: "/t/b"})}}
		}
		runFor(t, time.Minute, records, set()...)
		runFor(t, time.Minute, records, set()...)
		if n := source.asked(); n != 1 {
			t.Fatalf("while both files have the token the source was asked %d times", n)
		}
		last := &records.all[len(records.all)-1]
		last.Issued, last.Expires = last.Issued.Add(-time.Hour), last.Expires.Add(-time.Hour)
		runFor(t, time.Minute, records, set()...)
		if n := source.asked(); n != 2 || disk.at("/t/a") != "token.2" || disk.at("/t/b") != "token.2" {
			t.Errorf("asked %d times; the files have %s and %s", n, disk.at("/t/a"), disk.at("/t/b"))
		}
	})
}

// Where a token hides a good one it does so from the moment at which it expires.
func TestAnExpiredTokenIsTakenAwayAtOnce(t *testing.T) {
	const life = time.Hour + 17*time.Second // no multiple of what looks wait for
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: life}
		set := onDisk(disk, source, "a")
		set[0].RemoveExpired = true
		begin := time.Now()
		started(t, silent(), set...)
		time.Sleep(time.Second)
		source.set(func() { source.fail = func(time.Time) error { return errors.New("down") } })
		time.Sleep(time.Until(begin.Add(life - time.Second)))
		if disk.at("/t/a") != "token.1" {
			t.Errorf("a second before it expires: %q", disk.at("/t/a"))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if disk.at("/t/a") != "" {
			t.Error("a second after it has expired it is still there")
		}
	})
}
