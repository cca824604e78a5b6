package queue

import (
	"testing"
	"time"
)

func TestAJobThatIsDroppedDoesNotStart(t *testing.T) {
	b := newBench()
	q := b.Queue("/folder", 2)
	timed := &Job{Value: "timed", Queue: q}
	b.Schedule(timed, b.wall().Add(time.Second))
	waits := b.job(q, "waits", time.Hour)
	b.Drop(timed)
	b.Drop(waits)
	runs, behind := b.job(q, "runs", time.Hour), b.job(q, "behind", 2*time.Hour)
	runs.Name, behind.Name = "/t/a", "/t/a"
	want(t, b.started(), "runs")
	b.Drop(behind)
	b.Done(runs)
	b.pass(time.Minute)
	if j := b.NextDue(); j != nil {
		t.Errorf("%v is due", j.Value)
	}
	want(t, b.started())
}

func TestAJobIsDueAtTheTimeThatWasSetLast(t *testing.T) {
	b := newBench()
	j := &Job{Queue: b.Queue("/folder", 2)}
	for _, due := range []time.Duration{time.Hour, time.Minute} {
		b.Schedule(j, b.wall().Add(due))
	}
	if wait := b.Wait(24 * time.Hour); wait != time.Minute || !j.Scheduled() {
		t.Errorf("it is waited for %v", wait)
	}
	b.pass(time.Minute)
	if b.NextDue() != j || b.NextDue() != nil {
		t.Error("it is not due, or twice")
	}
}

func TestThePoolWaitsForAnIssuerThatAskedForIt(t *testing.T) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	j := b.job(q, "a", 10*time.Hour)
	want(t, b.started(), "a")
	b.Done(j)
	q.Unanswered(j, time.Minute, b.wall())
	b.job(q, "b", 10*time.Hour)
	if wait := b.Wait(time.Hour); wait != time.Minute {
		t.Errorf("it waits for %v", wait)
	}
	b.pass(time.Minute)
	want(t, b.started(), "b")
}

func TestAJobThatHasEndedDoesNotHang(t *testing.T) {
	b := newBench()
	j := b.job(b.Queue("/folder", 2), "a", time.Hour)
	want(t, b.started(), "a")
	b.pass(time.Hour)
	if all := b.Hangs(); len(all) != 1 || len(b.Hanging()) != 1 || len(b.Hangs()) != 0 {
		t.Errorf("%d hang", len(all))
	}
	b.Done(j)
	if n := len(b.Hanging()); n != 0 || !j.Queue.LastEnded().Equal(b.wall()) {
		t.Errorf("%d hang; the last one ended at %v", n, j.Queue.LastEnded())
	}
	if wait := b.Wait(time.Hour); wait != time.Hour {
		t.Errorf("it waits for %v", wait)
	}
	again := b.job(j.Queue, "b", time.Hour)
	want(t, b.started(), "b")
	b.pass(time.Minute)
	if all := b.Hangs(); len(all) != 1 || all[0] != again {
		t.Errorf("%d hang", len(all))
	}
}

// One that fails may do so for reasons of its own: a second one waits behind one that was
// not tried yet.
func TestAJobThatFailedLetsOthersGoFirstUntilItSucceeds(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(*Queue, *Job, time.Time)
		second string
	}{
		"refused":    {(*Queue).Refused, "new"},
		"unanswered": {func(q *Queue, j *Job, now time.Time) { q.Unanswered(j, 0, now) }, "new"},
		"succeeded since": {func(q *Queue, j *Job, now time.Time) {
			q.Refused(j, now)
			q.Answered(j, now)
		}, "two"},
	} {
		b := newBench()
		q := b.Issuer(Issuer{Name: "iam"})
		one, two := b.job(q, "one", time.Hour), b.job(q, "two", 2*time.Hour)
		for _, j := range []*Job{one, two} {
			b.pass(pace)
			b.Start()
			c.end(q, j, b.wall())
			b.Done(j)
		}
		b.pass(pace)
		for _, j := range []*Job{one, two} {
			b.Enqueue(j, j.urgency)
		}
		b.job(q, "new", 3*time.Hour)
		want(t, b.started(), "one")
		b.pass(pace)
		if got := b.started(); len(got) != 1 || got[0] != c.second {
			t.Errorf("%s: %v starts beside it, want %s", name, got, c.second)
		}
	}
}
