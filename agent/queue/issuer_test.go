package queue

import (
	"testing"
	"time"
)

func TestTheMostUrgentThatWaitsDecidesHowLongAnIssuerIsLeftAlone(t *testing.T) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	long := b.job(q, "long", 40*time.Hour)
	want(t, b.started(), "long")
	b.job(q, "waits", 20*time.Hour)
	b.Done(long)
	q.Unanswered(long, 100*time.Hour, b.wall())
	if got := q.Opens().Sub(b.wall()); got != 10*time.Hour {
		t.Errorf("with one that has 20 h left it is asked again in %v", got)
	}
	b.job(q, "later", time.Hour)
	if got := q.Opens().Sub(b.wall()); got != 30*time.Minute {
		t.Errorf("with one that has an hour left it is asked again in %v", got)
	}
}

func TestASilentIssuerIsProbedSoonerForOneThatHasLittleLeft(t *testing.T) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	j := b.job(q, "long", 40*time.Hour)
	want(t, b.started(), "long")
	b.Done(j)
	for range 20 {
		q.Unanswered(j, 0, b.wall())
	}
	if got := q.Opens().Sub(b.wall()); got < 150*time.Second || got > 300*time.Second {
		t.Errorf("it is probed in %v", got)
	}
	b.job(q, "late", time.Second)
	if got := q.Opens().Sub(b.wall()); got > 15*time.Second {
		t.Errorf("for one that has a second left it is probed in %v", got)
	}
	if !q.Answered(j, b.wall()) || q.Opens().Sub(b.wall()) > pace {
		t.Error("it answered, and has to wait still")
	}
}

func TestEverySecondProbeIsForTheOneThatWaitsLongest(t *testing.T) {
	for row, first := range map[int]string{6: "older", 7: "urgent"} {
		b := newBench()
		q := b.Issuer(Issuer{Name: "iam"})
		urgent, older := b.job(q, "urgent", time.Hour), b.job(q, "older", 2*time.Hour)
		urgent.failed, urgent.Began = noon, noon.Add(-time.Minute)
		older.failed, older.Began = noon, noon.Add(-time.Hour)
		q.issuer.row = row
		want(t, b.started(), first)
	}
}

func TestAFailureOfATokenAloneDoesNotTellThatTheIssuerIsSilent(t *testing.T) {
	for name, c := range map[string]struct{ before, after int }{
		"it answers others": {2, 2},
		"it is silent":      {fallsSilent, fallsSilent + 1},
	} {
		b := newBench()
		q := b.Issuer(Issuer{Name: "iam"})
		j := b.job(q, "a", time.Hour)
		j.failed = noon.Add(-time.Hour)
		q.issuer.row, q.issuer.gave = c.before, noon.Add(-time.Minute) // since it failed last
		q.Unanswered(j, 0, b.wall())
		if q.issuer.row != c.after {
			t.Errorf("%s: %d failures count, want %d", name, q.issuer.row, c.after)
		}
	}
}

func TestOnceNobodyWaitsItGoesByTheDeadlines(t *testing.T) {
	b := newBench()
	q := b.Queue("/folder", 1)
	awaited := &Job{Value: "awaited", Queue: q}
	b.Enqueue(awaited, Urgency{Deadline: b.wall().Add(24 * time.Hour), Awaited: true})
	b.job(q, "urgent", time.Hour)
	q.Dismiss()
	want(t, b.started(), "urgent")
}

func TestWhatCountedIsForgottenAtTheEndOfAnAttempt(t *testing.T) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	j := b.job(q, "a", time.Hour)
	j.failed = noon
	want(t, b.started(), "a")
	b.pass(time.Hour)
	if len(b.Hangs()) != 1 || q.retried != 1 || q.hanging != 1 {
		t.Errorf("%d failed before, %d hang", q.retried, q.hanging)
	}
	b.Done(j)
	if q.retried != 0 || q.hanging != 0 || q.running != 0 {
		t.Errorf("%d failed before, %d hang, %d run", q.retried, q.hanging, q.running)
	}
}

func TestOneThatComesToAPathThatHangsIsBlocked(t *testing.T) {
	b := newBench()
	one := b.job(b.Queue("a", 2), "one", time.Hour)
	one.Name = "/t/a"
	want(t, b.started(), "one")
	b.pass(time.Hour)
	b.Hangs()
	two := b.job(b.Queue("b", 2), "two", time.Hour)
	two.Name = "/t/a"
	want(t, b.started())
	if all := b.Blocked(); len(all) != 1 || all[0] != two {
		t.Errorf("%d are blocked", len(all))
	}
}
