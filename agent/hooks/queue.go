package hooks

import (
	"container/heap"
	"slices"
	"time"
)

const (
	gather = time.Second // from the first Subject until the hook is run
	Limit  = time.Hour   // of one run, for a Command without a limit of its own
)

// A Queue decides which hook runs next. They run one at a time, and hooks with the same
// Event and Key run once for all Subjects that they are due for. Callers tell the time.
type Queue struct {
	runs    map[ID]*Run
	waiting waiting
	current *Run // nil: none runs, or only those that are stuck
}

// A Run is the hook of one Event and Key, while it is due or running.
type Run struct {
	Hook              // as it was when the Run was last started
	Due     time.Time // when it starts; of one that runs: when it may start again
	Running bool      // it has started and not ended
	Value   any       // for the caller alone

	waiting []*Subject
	told    []told    // what it runs for
	begun   time.Time // by the monotonic clock
	failed  bool      // the last time
	place   int       // in Queue.waiting, from 1; zero: it is not there
}

// told is a Subject that a run was started for, and the number that the run tells it of.
type told struct {
	subject *Subject
	number  int
}

// Update queues the hooks that are due for the Subject.
func (q *Queue) Update(s *Subject, now time.Time) {
	for _, e := range s.events {
		for _, h := range s.hooks {
			if _, due := s.due(h.Event, h.Key); due && h.Event == e {
				q.add(s, h, now)
			}
		}
	}
}

func (q *Queue) add(s *Subject, h Hook, now time.Time) {
	r := q.runs[h.ID()]
	if r == nil {
		r = &Run{Hook: h}
		if q.runs == nil {
			q.runs = map[ID]*Run{}
		}
		q.runs[h.ID()] = r
	}
	if !slices.Contains(s.waits, r) {
		if len(r.waiting) == 0 {
			r.Due = now.Add(gather)
		}
		r.waiting, s.waits = append(r.waiting, s), append(s.waits, r)
	}
	if first := s.waitsFor(OnFirst); h.Event == OnChange && first != nil && first.Due.After(r.Due) {
		r.Due = first.Due // on_first runs before on_change
	}
	q.place(r)
}

// place puts the run into its place among the waiting ones.
func (q *Queue) place(r *Run) {
	switch {
	case r.Running:
	case r.place > 0:
		heap.Fix(&q.waiting, r.place-1)
	default:
		heap.Push(&q.waiting, r)
	}
}

// Next is when the next run starts; false: there is none, or another one runs.
func (q *Queue) Next() (due time.Time, any bool) {
	if q.current != nil || len(q.waiting) == 0 {
		return time.Time{}, false
	}
	return q.waiting[0].Due, true
}

// Start returns the run that the caller must start now; nil: none. The caller tells of its
// end with Succeeded or Failed. Mono is the time by the monotonic clock.
func (q *Queue) Start(now, mono time.Time) *Run {
	for due, any := q.Next(); any && !due.After(now); due, any = q.Next() {
		r := heap.Pop(&q.waiting).(*Run)
		if r.gather(); len(r.told) == 0 {
			delete(q.runs, r.ID())
			continue
		}
		r.Running, r.begun, q.current = true, mono, r
		return r
	}
	return nil
}

// gather collects the Subjects that the hook is still due for.
func (r *Run) gather() {
	r.told = nil
	for _, s := range r.waiting {
		s.waits = without(s.waits, r)
		if h, due := s.due(r.Event, r.Key); due {
			r.Command = h.Command
			r.told = append(r.told, told{s, s.begin(h)})
			s.told = append(s.told, r)
		}
	}
	r.waiting = nil
}

func without(runs []*Run, r *Run) []*Run {
	return slices.DeleteFunc(runs, func(o *Run) bool { return o == r })
}

// Told are the Subjects that the run was started for: the Notice and the Level of each.
func (r *Run) Told(yield func(Notice, *Level) bool) {
	for _, t := range r.told {
		if !yield(t.subject.Notice, t.subject.level) {
			return
		}
	}
}

// Succeeded notes that the run has ended well.
func (q *Queue) Succeeded(r *Run) {
	for _, t := range r.told {
		t.subject.level = t.subject.level.heard(r.Event, r.Key, t.number)
	}
	r.failed = false
	q.ended(r)
}

// Failed notes that the run has failed. It starts again at the time retry, if it is still due
// for a Subject.
func (q *Queue) Failed(r *Run, retry time.Time) {
	var again []*Subject
	for _, t := range r.told {
		if _, due := t.subject.due(r.Event, r.Key); due && !slices.Contains(t.subject.waits, r) {
			t.subject.waits = append(t.subject.waits, r)
			again = append(again, t.subject)
		}
	}
	r.waiting, r.Due, r.failed = append(again, r.waiting...), retry, true
	q.ended(r)
}

// ended puts the run back among the waiting ones, or forgets it.
func (q *Queue) ended(r *Run) {
	for _, t := range r.told {
		t.subject.told = without(t.subject.told, r)
	}
	r.Running, r.told = false, nil
	if q.current == r {
		q.current = nil
	}
	if len(r.waiting) == 0 {
		delete(q.runs, r.ID())
		return
	}
	q.place(r)
}

// Stuck is the run that has become stuck since the last call; nil: none. From then on others
// start beside it.
func (q *Queue) Stuck(mono time.Time) *Run {
	r := q.current
	if r == nil || mono.Sub(r.begun) <= Limit {
		return nil
	}
	r.failed, q.current = true, nil
	return r
}

// Refresh is called after the hooks of Subjects have changed. Runs that failed are tried at
// once; those that no Subject needs any more are dropped.
func (q *Queue) Refresh(now time.Time) {
	for key, r := range q.runs {
		wanted := func(s *Subject) bool { _, due := s.due(r.Event, r.Key); return due }
		switch {
		case r.Running:
		case !slices.ContainsFunc(r.waiting, wanted):
			heap.Remove(&q.waiting, r.place-1)
			r.gather()
			delete(q.runs, key)
		case r.failed:
			r.Due = now
			q.place(r)
		}
	}
}

// Runs are all runs that are due or running.
func (q *Queue) Runs(yield func(*Run) bool) {
	for _, r := range q.runs {
		if !yield(r) {
			return
		}
	}
}

// Shift moves all times, after the clock was set by step.
func (q *Queue) Shift(step time.Duration) {
	for _, r := range q.runs {
		r.Due = r.Due.Add(step)
	}
}

// waiting is a heap of runs by due time, and then in the order of Events.
type waiting []*Run

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if !w[i].Due.Equal(w[j].Due) {
		return w[i].Due.Before(w[j].Due)
	}
	return slices.Index(Events, w[i].Event) < slices.Index(Events, w[j].Event)
}
func (w waiting) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i+1, j+1
}
func (w *waiting) Push(x any) {
	*w = append(*w, x.(*Run))
	x.(*Run).place = len(*w)
}
func (w *waiting) Pop() any {
	last := len(*w) - 1
	r := (*w)[last]
	(*w)[last], *w = nil, (*w)[:last]
	r.place = 0
	return r
}
