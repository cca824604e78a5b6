package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// A bench is a Pool with a clock that the test moves.
type bench struct {
	*Pool
	at   time.Duration // since noon
	jobs int
}

func newBench() *bench { return &bench{Pool: New(Instant{noon, noon})} }

func (b *bench) wall() time.Time { return noon.Add(b.at) }

func (b *bench) pass(d time.Duration) {
	b.at += d
	b.Tell(Instant{b.wall(), b.wall()})
}

// job is one that is due, and whose readers have a token for as long as that.
func (b *bench) job(q *Queue, name string, left time.Duration) *Job {
	b.jobs++ // of two that are as urgent the older one is the first
	j := &Job{Value: name, Queue: q, Limit: time.Minute, Due: noon.Add(time.Duration(b.jobs))}
	b.Enqueue(j, Urgency{Deadline: b.wall().Add(left)})
	return j
}

// started are the names of all that may start now.
func (b *bench) started() (names []string) {
	for j := b.Start(); j != nil; j = b.Start() {
		names = append(names, j.Value.(string))
	}
	return names
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("started %v, want %v", got, want)
	}
}

func TestTheMostUrgentStartFirstAndAFewAtATime(t *testing.T) {
	b := newBench()
	q := b.Queue("/folder", 2)
	b.job(q, "day", 24*time.Hour)
	hour := b.job(q, "hour", time.Hour)
	b.job(q, "expired", -time.Hour)
	waited := &Job{Value: "awaited", Queue: q}
	b.Enqueue(waited, Urgency{Deadline: b.wall().Add(time.Hour), Awaited: true})
	want(t, b.started(), "awaited", "expired")
	b.Done(waited)
	want(t, b.started(), "hour")
	b.Done(hour)
	want(t, b.started(), "day")
}

func TestOneQueueHoldsUpNoOther(t *testing.T) {
	b := newBench()
	for i := range 100 {
		b.job(b.Queue("/hangs", 2), fmt.Sprint(i), -time.Hour)
	}
	b.job(b.Queue("/local", 2), "local", time.Hour)
	want(t, b.started(), "0", "1", "local")
}

func TestWhatRunsForASecondMakesRoomInTheFullPool(t *testing.T) {
	b := newBench()
	for i := range 2 * poolRoom {
		b.job(b.Queue(i, 2), fmt.Sprint(i), time.Duration(i)*time.Hour)
	}
	if n := len(b.started()); n != poolRoom {
		t.Errorf("%d at a time", n)
	}
	b.pass(300 * time.Millisecond)
	if wait := b.Wait(time.Hour); wait != 700*time.Millisecond {
		t.Errorf("there is room in %v", wait)
	}
	b.pass(700 * time.Millisecond)
	if n := len(b.started()); n != poolRoom {
		t.Errorf("%d more after a second", n)
	}
}

func TestTwoWithOnePathNeverRunTogether(t *testing.T) {
	b := newBench()
	one, two := b.job(b.Queue("a", 2), "one", time.Hour), b.job(b.Queue("b", 2), "two", 2*time.Hour)
	one.Name, two.Name = "/t/a", "/t/a"
	want(t, b.started(), "one")
	if wait := b.Wait(time.Hour); wait != time.Minute { // when one is found to hang
		t.Errorf("nothing happens for %v", wait)
	}
	b.pass(2 * time.Minute)
	if all := b.Hangs(); len(all) != 1 || all[0] != one || len(b.Hangs()) != 0 {
		t.Errorf("%d hang", len(all))
	}
	if all := b.Blocked(); len(all) != 1 || all[0] != two || len(b.Blocked()) != 0 {
		t.Errorf("%d are blocked", len(all))
	}
	if wait := b.Wait(time.Hour); wait != time.Hour {
		t.Errorf("while it hangs nothing happens for %v", wait)
	}
	want(t, b.started())
	b.Done(one)
	want(t, b.started(), "two")
	if two.Stuck() || len(b.Hanging()) > 0 {
		t.Error("it still hangs")
	}
}

func TestWhatWaitsBehindAQueueThatHangsIsTold(t *testing.T) {
	b := newBench()
	q := b.Queue("/nfs", 2)
	for _, name := range []string{"a", "b", "c"} {
		b.job(q, name, time.Hour)
	}
	want(t, b.started(), "a", "b")
	b.pass(time.Minute)
	if n := len(b.Hangs()); n != 2 {
		t.Fatalf("%d hang", n)
	}
	later := b.job(q, "d", time.Hour)
	var names []string
	for _, j := range b.Blocked() {
		names = append(names, j.Value.(string))
	}
	want(t, names, "c", "d")
	b.Drop(later)
	if later.Waits() || later.Scheduled() {
		t.Error("it was dropped")
	}
}

const pace = 200 * time.Millisecond // of an issuer with the usual Limits

func TestAnIssuerIsAskedNoMoreThanItCanBear(t *testing.T) {
	for _, l := range []Limits{Usual(), {AtOnce: 1, PerSecond: 0.5}, {AtOnce: 3, PerSecond: 100}} {
		t.Run(fmt.Sprint(l), func(t *testing.T) { bears(t, l) })
	}
}

// bears has ten jobs of 300 ms done for an issuer with these Limits.
func bears(t *testing.T, l Limits) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	if b.Issuer(Issuer{"iam", l}) != q {
		t.Fatal("other Limits make another Queue")
	}
	for i := range 10 {
		b.job(q, fmt.Sprint(i), time.Hour+time.Duration(i))
	}
	var running []*Job
	var at []time.Duration
	most := 0
	for b.at < 30*time.Second {
		for j := b.Start(); j != nil; j = b.Start() {
			running, at = append(running, j), append(at, b.at)
		}
		most = max(most, len(running))
		b.pass(10 * time.Millisecond)
		for _, j := range slices.Clone(running) {
			if b.wall().Sub(j.Began) >= 300*time.Millisecond {
				b.Done(j)
				q.Answered(j, b.wall())
				running = slices.DeleteFunc(running, func(k *Job) bool { return k == j })
			}
		}
	}
	if len(at) != 10 || most != l.AtOnce {
		t.Fatalf("%d were asked for, %d at a time", len(at), most)
	}
	for i := 1; i < len(at); i++ {
		if (at[i] - at[i-1]).Seconds() < 1/l.PerSecond {
			t.Errorf("asked at %v and at %v", at[i-1], at[i])
		}
	}
}

// fail has one attempt of each that may start fail.
func (b *bench) fail(q *Queue, retryAfter time.Duration) (names []string) {
	for j := b.Start(); j != nil; j = b.Start() {
		names = append(names, j.Value.(string))
		b.Done(j)
		q.Unanswered(j, retryAfter, b.wall())
		b.Schedule(j, b.wall().Add(Backoff(3, LongestWait(0))))
	}
	return names
}

func TestASilentIssuerIsProbedUntilItAnswers(t *testing.T) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	for i := range 100 {
		b.job(q, fmt.Sprint(i), time.Hour)
	}
	for range fallsSilent {
		b.fail(q, 0)
		b.pass(pace)
	}
	if !q.Silent() || !q.Shut(b.wall()) || !q.JustFellSilent() {
		t.Fatal("five failures in a row, and it is not silent")
	}
	probes := 0
	for end := b.at + time.Hour; b.at < end; b.pass(max(b.Wait(time.Minute), time.Millisecond)) {
		for j := b.NextDue(); j != nil; j = b.NextDue() {
			b.Enqueue(j, Urgency{Deadline: noon.Add(24 * time.Hour)})
		}
		n := len(b.fail(q, 0))
		if probes += n; n > 1 {
			t.Fatalf("%d probes at a time", n)
		}
	}
	if probes < 10 || probes > 90 { // the nearer the deadline, the more often
		t.Errorf("%d probes in an hour", probes)
	}
	q.RetryNow()
	j := b.Start()
	b.Done(j)
	if !q.Answered(j, b.wall()) || q.Silent() {
		t.Error("it answered, and is silent still")
	}
	b.pass(pace)
	if b.Start() == nil {
		t.Error("nobody asks, though it answers again")
	}
}

func TestRetryAfterHoldsForAllButNoLongerThanATokenCanBear(t *testing.T) {
	for name, c := range map[string]struct{ asked, left, want time.Duration }{
		"as asked":                  {10 * time.Minute, 10 * time.Hour, 10 * time.Minute},
		"half of what is left":      {10 * time.Hour, time.Hour, 30 * time.Minute},
		"two minutes without one":   {time.Hour, -time.Hour, expiredCap},
		"no longer than it asked":   {time.Second, -time.Hour, time.Second},
		"a wait shorter than pace":  {time.Millisecond, time.Hour, pace},
		"nothing was asked":         {0, time.Hour, pace},
		"the most urgent decides":   {10 * time.Hour, 2 * time.Hour, time.Hour},
		"far beyond any expiration": {1000 * time.Hour, 24 * time.Hour, 12 * time.Hour},
	} {
		b := newBench()
		q := b.Issuer(Issuer{Name: "iam"})
		b.job(q, "other", 100*time.Hour+c.left)
		j := b.job(q, "urgent", c.left)
		if b.Start() != j {
			t.Fatal("the most urgent is not the first")
		}
		b.Done(j)
		q.Unanswered(j, c.asked, b.wall())
		if got := q.Opens().Sub(b.wall()); got != c.want {
			t.Errorf("%s: it is asked again in %v, want %v", name, got, c.want)
		}
		b.Enqueue(j, Urgency{Deadline: noon, Wanted: true})
		b.pass(pace)
		if b.Start() == nil {
			t.Errorf("%s: not asked at once where somebody wants it", name)
		}
	}
}

func TestOneThatFailsAlwaysKeepsNoOtherFromTheIssuer(t *testing.T) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	bad := b.job(q, "bad", -time.Hour)
	for range 3 {
		want(t, b.started(), "bad")
		b.pass(pace)
		b.Done(bad)
		q.Refused(bad, b.wall())
		b.Enqueue(bad, Urgency{Deadline: noon})
	}
	b.job(q, "good", time.Hour)
	other := b.job(q, "bad too", -time.Hour)
	other.failed = noon
	want(t, b.started(), "bad too") // the most urgent
	b.pass(pace)
	want(t, b.started(), "good") // one that fails is being tried already
	b.pass(pace)
	b.Done(other)
	want(t, b.started(), "bad")
}

// Whatever happens in whatever order: nothing runs twice or beside its like, no limit is
// broken, nothing is forgotten, and nobody is woken for nothing.
func TestWhateverHappensNothingIsLostAndNobodySpins(t *testing.T) {
	for seed := range uint64(200) {
		s := newStorm(t, seed)
		for range 400 {
			s.step()
		}
		s.drain()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// A storm does things to a Pool by chance.
type storm struct {
	*bench
	t       *testing.T
	rand    *rand.Rand
	all     []*Job
	queues  []*Queue
	running map[*Job]bool
	runs    map[*Job]int
	paced   map[*Queue]time.Time
}

func newStorm(t *testing.T, seed uint64) *storm {
	s := &storm{bench: newBench(), t: t, rand: rand.New(rand.NewPCG(seed, 0)), running: map[*Job]bool{}, runs: map[*Job]int{}, paced: map[*Queue]time.Time{}}
	for i := range 3 {
		s.queues = append(s.queues, s.Issuer(Issuer{Name: fmt.Sprint("issuer", i)}), s.Queue(fmt.Sprint("folder", i), 2))
	}
	for i := range 60 {
		j := &Job{Value: i, Queue: s.queues[i%len(s.queues)], Limit: 10 * time.Second}
		if j.Queue.issuer == nil {
			j.Name = fmt.Sprint("/t/", s.rand.IntN(10))
		}
		s.all = append(s.all, j)
		s.Schedule(j, noon.Add(s.some(time.Minute)))
	}
	return s
}

func (s *storm) some(most time.Duration) time.Duration {
	return time.Duration(s.rand.Int64N(int64(most)))
}

func (s *storm) step() {
	switch s.rand.IntN(6) {
	case 0:
		s.Schedule(s.all[s.rand.IntN(len(s.all))], s.wall().Add(s.some(time.Minute)-10*time.Second))
	case 1:
		s.queues[s.rand.IntN(len(s.queues))].RetryNow()
	case 2:
		s.queues[s.rand.IntN(len(s.queues))].Dismiss()
	case 3, 4:
		for j := range s.running {
			s.end(j)
			break
		}
	default:
		s.pass(s.Wait(s.some(time.Minute) + 1))
	}
	s.round()
}

func (s *storm) round() {
	for j := range s.running {
		if !j.Running() {
			s.t.Error("it runs, and does not count")
		}
	}
	s.Hangs()
	for j := s.NextDue(); j != nil; j = s.NextDue() {
		s.Enqueue(j, Urgency{Deadline: s.wall().Add(s.some(2*time.Hour) - time.Hour), Awaited: s.rand.IntN(5) == 0, Wanted: s.rand.IntN(9) == 0})
	}
	for j := s.Start(); j != nil; j = s.Start() {
		s.begin(j)
	}
	s.Blocked()
	if s.Wait(time.Hour) <= 0 {
		s.t.Error("nothing is left to do, and nobody sleeps")
	}
}

func (s *storm) begin(j *Job) {
	here := 0
	for k := range s.running {
		if k == j || k.Name != "" && k.Name == j.Name {
			s.t.Errorf("%v starts beside %v", j.Value, k.Value)
		}
		if k.Queue == j.Queue {
			here++
		}
	}
	if here >= 2 || here >= 1 && j.Queue.Silent() {
		s.t.Errorf("%d run before one queue", here+1)
	}
	if j.Queue.issuer != nil {
		if s.wall().Before(s.paced[j.Queue].Add(pace)) {
			s.t.Error("an issuer is asked too soon")
		}
		s.paced[j.Queue] = s.wall()
	}
	s.running[j] = true
	s.runs[j]++
}

func (s *storm) end(j *Job) {
	delete(s.running, j)
	s.Done(j)
	switch s.rand.IntN(4) {
	case 0:
		j.Queue.Refused(j, s.wall())
	case 1:
		j.Queue.Unanswered(j, s.some(time.Hour), s.wall())
	case 2:
		j.Queue.Unanswered(j, 0, s.wall())
	default:
		j.Queue.Answered(j, s.wall())
	}
	s.Schedule(j, s.wall().Add(s.some(time.Hour)))
}

// drain has everything succeed from now on, until each job has run once more.
func (s *storm) drain() {
	clear(s.runs)
	for end := s.at + 12*time.Hour; s.at < end && len(s.runs) < len(s.all); s.pass(s.Wait(time.Minute)) {
		for j := range s.running {
			delete(s.running, j)
			s.Done(j)
			j.Queue.Answered(j, s.wall())
			s.Schedule(j, s.wall().Add(time.Hour))
		}
		s.round()
	}
	if len(s.runs) < len(s.all) {
		s.t.Errorf("%d of %d jobs never ran again", len(s.all)-len(s.runs), len(s.all))
	}
}

func TestAClockThatIsSetClosesNoIssuer(t *testing.T) {
	b := newBench()
	q := b.Issuer(Issuer{Name: "iam"})
	j := b.job(q, "a", time.Hour)
	want(t, b.started(), "a")
	b.Done(j)
	q.Unanswered(j, time.Minute, b.wall())
	b.Schedule(j, b.wall())
	q.issuer.gave = b.wall().Add(-time.Hour)
	b.pass(-48 * time.Hour)
	b.Shift(-48 * time.Hour)
	j.Shift(-48 * time.Hour)
	if got := q.Opens().Sub(b.wall()); got != time.Minute {
		t.Errorf("it is asked again in %v", got)
	}
	if got := b.wall().Sub(q.issuer.gave); got != time.Hour {
		t.Errorf("it gave a token %v ago", got)
	}
	if got := b.wall().Sub(j.Began); got != 0 {
		t.Errorf("it began %v ago", got)
	}
}

func TestQueuesThatNothingGoesThroughAreForgotten(t *testing.T) {
	b := newBench()
	used, busy, idle := b.Queue("used", 2), b.Queue("busy", 2), b.Queue("idle", 2)
	j := b.job(busy, "a", time.Hour)
	want(t, b.started(), "a")
	b.Keep(map[*Queue]bool{used: true})
	if b.Queue("used", 2) != used || b.Queue("busy", 2) != busy || b.Queue("idle", 2) == idle {
		t.Error("the wrong ones were forgotten")
	}
	b.Done(j)
}
