package hooks

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// on are hooks of these events with one key.
func on(key string, events ...Event) (all []Hook) {
	for _, e := range events {
		all = append(all, Hook{Event: e, Key: key})
	}
	return all
}

func fileOf(name string, hooks []Hook) *Subject {
	return File(Notice{Token: name, Path: "/t/" + name}, hooks, nil)
}

// write writes the file, and queues its hooks.
func write(q *Queue, s *Subject, first bool, now time.Time) {
	s.Wrote(s.level.Written(first, noon), true)
	q.Update(s, now)
}

// said is what a run is told: "on_first a b".
func said(r *Run) string {
	if r == nil {
		return ""
	}
	words := []string{string(r.Event)}
	for n := range r.Told {
		words = append(words, n.Token)
	}
	return strings.Join(words, " ")
}

func start(t *testing.T, q *Queue, now time.Time, want string) *Run {
	t.Helper()
	r := q.Start(now, now)
	if got := said(r); got != want {
		t.Fatalf("at %v %q is run, want %q", now.Sub(noon), got, want)
	}
	return r
}

// dueOf are the hooks that are due: "on_change k".
func dueOf(l *Level) (all []string) {
	for _, h := range l.Due() {
		all = append(all, string(h.Event)+" "+h.Key)
	}
	return all
}

func wantDue(t *testing.T, s *Subject, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, dueOf(s.Level())); d != "" {
		t.Error(d)
	}
}

func TestHooksAreGatheredForASecondAndRunOneAtATime(t *testing.T) {
	q, all := Queue{}, on("k", OnChange, OnFirst)
	a, b := fileOf("a", all), fileOf("b", all)
	write(&q, a, true, at(0))
	write(&q, b, false, at(0.9))
	start(t, &q, at(0.99), "")
	first := start(t, &q, at(1), "on_first a")
	start(t, &q, at(5), "")
	q.Succeeded(first)
	q.Succeeded(start(t, &q, at(5), "on_change a b"))
	start(t, &q, at(100), "")
	wantDue(t, a)
	wantDue(t, b)
}

func TestAWriteDuringARunIsHeardOfByTheNext(t *testing.T) {
	q, a := Queue{}, fileOf("a", on("k", OnChange))
	write(&q, a, false, at(0))
	r := start(t, &q, at(1), "on_change a")
	write(&q, a, false, at(2))
	q.Succeeded(r)
	wantDue(t, a, "on_change k")
	start(t, &q, at(2.9), "")
	q.Succeeded(start(t, &q, at(3), "on_change a"))
	wantDue(t, a)
}

func TestAFailedRunIsRepeatedWithWhatCameMeanwhile(t *testing.T) {
	q, all := Queue{}, on("k", OnChange)
	a, b := fileOf("a", all), fileOf("b", all)
	write(&q, a, false, at(0))
	r := start(t, &q, at(1), "on_change a")
	write(&q, b, false, at(2))
	if q.Failed(r, at(60)); len(q.runs) != 1 {
		t.Error("it is given up")
	}
	start(t, &q, at(59), "")
	q.Succeeded(start(t, &q, at(60), "on_change a b"))
	wantDue(t, a)
}

func TestOnChangeComesAfterOnFirstOfTheSameFile(t *testing.T) {
	q, all := Queue{}, on("k", OnChange, OnFirst)
	a, b := fileOf("a", all), fileOf("b", all)
	write(&q, b, false, at(0))
	write(&q, a, true, at(0.5))
	start(t, &q, at(1.4), "")
	r := start(t, &q, at(1.5), "on_first a")
	q.Failed(r, at(300)) // one that fails is not waited for
	start(t, &q, at(1.5), "on_change b a")
}

func TestARunThatDoesNotEndHoldsUpOthersForAnHour(t *testing.T) {
	q, a := Queue{}, fileOf("a", append(on("hung", OnFirst), on("k", OnChange)...))
	write(&q, a, true, at(0))
	hung := start(t, &q, at(1), "on_first a")
	if start(t, &q, at(3600), ""); q.Stuck(at(3601)) != nil {
		t.Error("it is stuck too early")
	}
	if q.Stuck(at(3602)) != hung || q.Stuck(at(3603)) != nil {
		t.Error("it is not found once")
	}
	write(&q, a, true, at(3604))
	q.Succeeded(start(t, &q, at(3605), "on_change a")) // and no second one of the hung
	start(t, &q, at(9999), "")
	q.Succeeded(hung)
	start(t, &q, at(9999), "on_first a")
}

func TestWhatIsDueBelongsToItsHook(t *testing.T) {
	q, a := Queue{}, fileOf("a", append(on("good", OnChange), on("bad", OnChange)...))
	write(&q, a, false, at(0))
	for r := q.Start(at(1), at(1)); r != nil; r = q.Start(at(1), at(1)) {
		if r.Key == "good" {
			q.Succeeded(r)
		} else {
			q.Failed(r, at(60))
		}
	}
	wantDue(t, a, "on_change bad")
	next := File(Notice{}, a.hooks, a.Level()) // of the next process
	wantDue(t, next, "on_change bad")
}

func TestChangedHooks(t *testing.T) {
	both := append(on("old", OnChange), on("other", OnChange)...)
	for name, c := range map[string]struct {
		heard  []string // of the latest
		hooks  []Hook
		expect []string
	}{
		"a hook more":                       {[]string{"old", "other"}, append(both[:2:2], on("new", OnChange, OnFirst)...), nil},
		"another command":                   {[]string{"old", "other"}, on("new", OnChange), nil},
		"another command for a pending one": {[]string{"other"}, append(on("new", OnChange), both[1]), []string{"on_change new"}},
		"a hook beside a pending one":       {[]string{"other"}, append(on("new", OnChange), both...), []string{"on_change old"}},
		"another event for a pending one":   {[]string{"other"}, on("new", OnFirst), nil},
		"none":                              {nil, nil, nil},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			a := fileOf("a", both)
			a.Wrote(a.level.Written(true, noon), true)
			for _, key := range c.heard {
				a.level = a.level.heard(OnChange, key, 1)
			}
			a.SetHooks(c.hooks)
			wantDue(t, a, c.expect...)
		})
	}
}

func TestAFileOfARecordWithoutHooksHasNothingDue(t *testing.T) {
	a := File(Notice{}, on("k", OnFirst, OnChange), nil)
	wantDue(t, a)
	if d := cmp.Diff([]string{"on_first k", "on_change k"}, dueOf(a.Level().Written(true, noon))); d != "" {
		t.Error("after a write: ", d)
	}
}

func TestAWriteThatChangedNothingIsOfNoInterest(t *testing.T) {
	a := fileOf("a", append(on("good", OnChange), on("bad", OnChange)...))
	a.Wrote(a.level.Written(false, noon), true)
	a.level = a.level.heard(OnChange, "good", 1)
	begun := a.level.Written(false, noon)
	a.Wrote(begun, false)
	wantDue(t, a, "on_change bad")
	if !a.Level().Covers(begun) {
		t.Error("what has begun is recorded for ever")
	}
}

func TestLevelsMergeInAnyOrder(t *testing.T) {
	zero := fileOf("a", on("k", OnFirst, OnChange)).Level()
	one := zero.Written(true, at(1))
	heard := one.heard(OnChange, "k", 1)
	two := heard.Written(false, at(2))
	for i, all := range [][]*Level{{zero, one, heard, two}, {two, heard, one, zero}, {one, two, zero, heard}, {heard, two, one, nil}, {nil, one, heard, two}} {
		var m *Level
		for _, l := range all {
			m = Merge(m, l)
		}
		if d := cmp.Diff(two, m); d != "" {
			t.Errorf("order %d: %s", i, d)
		}
	}
	if two.Covers(nil) != true || (*Level)(nil).Covers(one) || heard.Covers(two) || !two.Covers(heard) {
		t.Error("the wrong ones cover each other")
	}
}

func TestHooksOfATokenHearHowItIs(t *testing.T) {
	both := on("k", OnFailure, OnRecover)
	for name, c := range map[string]struct {
		hooks []Hook
		turns string // f: it fails, r: it recovers, then hooks that are due are run if a capital
		want  string
	}{
		"a failure and its end":              {both, "FR", "on_failure on_recover"},
		"a short failure":                    {both, "fR", ""},
		"a short recovery":                   {both, "FrF", "on_failure"},
		"short ones, and one that lasts":     {both, "frfrF", "on_failure"},
		"short ones in a failure":            {both, "FrfrfR", "on_failure on_recover"},
		"without a hook for the beginning":   {on("k", OnRecover), "fR", "on_recover"},
		"without a hook for the end":         {on("k", OnFailure), "FrF", "on_failure on_failure"},
		"after a short one, without the end": {on("k", OnFailure), "frF", "on_failure"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			q, s := Queue{}, Token(Notice{Token: "a"}, c.hooks, nil)
			var got []string
			for i, turn := range c.turns {
				now := at(float64(10 * i))
				s.SetFails(strings.ContainsRune("fF", turn))
				q.Update(s, now)
				if turn == 'F' || turn == 'R' {
					for r := q.Start(now.Add(time.Second), now); r != nil; r = q.Start(now.Add(time.Second), now) {
						got = append(got, string(r.Event))
						q.Succeeded(r)
					}
				}
			}
			if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTheEndOfAFailureIsToldAlsoWhereItsBeginningMayNotHaveBeen(t *testing.T) {
	both := on("k", OnFailure, OnRecover)
	for name, told := range map[string]func(q *Queue, r *Run) *Level{
		"the hook failed": func(q *Queue, r *Run) *Level { q.Failed(r, at(60)); return nil },
		"the process ended": func(q *Queue, r *Run) *Level {
			for _, l := range r.Told {
				return l
			}
			return nil
		},
	} {
		q, s := &Queue{}, Token(Notice{Token: "a"}, both, nil)
		s.SetFails(true)
		q.Update(s, at(0))
		if l := told(q, start(t, q, at(1), "on_failure a")); l != nil {
			q, s = &Queue{}, Token(Notice{Token: "a"}, both, l)
		}
		s.SetFails(false)
		q.Update(s, at(2))
		if r := q.Start(at(99), at(99)); said(r) != "on_recover a" {
			t.Errorf("%s: %q is run", name, said(r))
		}
	}
}

// A recovery is followed by a short failure while the hook of one key has heard of it,
// and that of the other waits for its turn or has failed.
func TestAShortFailureSettlesNoRecoveryThatIsYetToBeTold(t *testing.T) {
	for name, failed := range map[string]bool{"it waits": false, "it failed": true} {
		q, s := Queue{}, Token(Notice{Token: "a"}, slices.Concat(on("j", OnFailure, OnRecover), on("k", OnFailure, OnRecover)), nil)
		turn := func(fails bool, second float64) { s.SetFails(fails); q.Update(s, at(second)) }
		run := func(second float64) *Run { return q.Start(at(second), at(second)) }
		turn(true, 0)
		q.Succeeded(run(1))
		q.Succeeded(run(1))
		turn(false, 2)
		r := run(3)
		q.Succeeded(r)
		if failed {
			q.Failed(run(3), at(60))
		}
		turn(true, 4)
		turn(false, 4.5)
		again := run(99)
		if said(again) != "on_recover a" || again.Key == r.Key {
			t.Errorf("%s: %q is run", name, said(again))
		}
	}
}

func TestHooksThatNobodyWantsAnyMoreAreDropped(t *testing.T) {
	q, all := Queue{}, on("k", OnChange)
	a, b, idle := fileOf("a", all), fileOf("b", on("gone", OnChange)), fileOf("idle", on("idle", OnChange))
	for _, s := range []*Subject{a, b, idle} {
		write(&q, s, false, at(0))
	}
	q.Failed(start(t, &q, at(1), "on_change a"), at(600))
	b.SetHooks(nil)
	idle.Idle = true
	q.Refresh(at(2))
	var left []string
	for r := range q.Runs {
		left = append(left, r.Key)
	}
	if d := cmp.Diff([]string{"k"}, left); d != "" {
		t.Error(d)
	}
	q.Succeeded(start(t, &q, at(2), "on_change a")) // what failed is tried at once
	wantDue(t, idle, "on_change idle")              // for the next process
}

func TestTheTimesMoveWithTheClock(t *testing.T) {
	q, a := Queue{}, fileOf("a", on("k", OnChange))
	write(&q, a, false, at(0))
	q.Shift(-time.Hour)
	if due, any := q.Next(); !any || !due.Equal(at(1-3600)) {
		t.Errorf("it is due at %v", due)
	}
}

// The loop asks between any two tokens what is next. With work for each that grows
// with their number, 4,000 took 2 s and 8,000 took 7.
func TestManyFilesAreQueuedWithoutComparingEachWithAll(t *testing.T) {
	for name, keyOf := range map[string]func(i int) string{
		"one command":       func(int) string { return "k" },
		"a command of each": func(i int) string { return fmt.Sprint(i) },
	} {
		few, many := queueing(t, 4_000, keyOf), queueing(t, 64_000, keyOf)
		if many > 64*few { // of comparing each with all it would be 256
			t.Errorf("%s: 4,000 take %v of the processor, 64,000 take %v", name, few, many)
		}
	}
}

// queueing is the processor's time for so many files, from their writes to the end of
// their hooks.
func queueing(t *testing.T, many int, keyOf func(i int) string) time.Duration {
	t.Helper()
	q, began := Queue{}, processor(t)
	files := make([]*Subject, many)
	for i := range files {
		files[i] = fileOf("a", on(keyOf(i), OnFirst, OnChange))
		write(&q, files[i], true, at(0))
		if _, any := q.Next(); !any {
			t.Fatal("nothing is next")
		}
	}
	for r := q.Start(at(1), at(1)); r != nil; r = q.Start(at(1), at(1)) {
		q.Succeeded(r)
	}
	if slices.ContainsFunc(files, func(s *Subject) bool { return len(s.Level().Due()) > 0 }) {
		t.Error("some are due still")
	}
	return processor(t) - began
}

// processor is how long the processor has worked for this process.
func processor(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
