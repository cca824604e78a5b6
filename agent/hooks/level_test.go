package hooks

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestALevelIsNeverChanged(t *testing.T) {
	fails := &Level{Write: 3, First: 1, Failure: 2, Recovery: 1, Heard: []Heard{{Event: OnChange, Key: "k", Number: 3}, {Event: OnFailure, Key: "k", Number: 2}, {Event: OnRecover, Key: "k", Number: 1}}}
	works := &Level{Write: 3, First: 1, Failure: 2, Recovery: 3, Heard: []Heard{{Event: OnChange, Key: "k", Number: 3}, {Event: OnRecover, Key: "k", Number: 3}, {Event: OnFailure, Key: "k", Number: 2}}}
	for _, l := range []*Level{fails, works} {
		before := *l
		before.Heard = append([]Heard(nil), l.Heard...)
		l.Written(true, noon)
		l.wrote(l.Written(true, noon), true)
		l.wrote(l.Written(true, noon), false)
		l.turned(true)
		l.turned(false)
		l.heard(OnChange, "k", 9)
		l.suited(on("k", OnFirst), Events)
		Merge(l, &Level{Write: 7, Heard: []Heard{{Event: OnChange, Key: "k", Number: 7}}})
		Merge(&Level{Write: 1, Heard: []Heard{{Event: OnChange, Key: "k", Number: 7}}}, l)
		if d := cmp.Diff(&before, l); d != "" {
			t.Error(d)
		}
	}
}

func TestOnlyHooksOfAQuietTurnCountAsHavingHeardOfIt(t *testing.T) {
	l := &Level{Failure: 2, Recovery: 1, Heard: []Heard{
		{Event: OnFailure, Key: "k", Number: 2}, {Event: OnRecover, Key: "heard", Number: 1}, {Event: OnRecover, Key: "late"},
	}}
	want := []Heard{{Event: OnFailure, Key: "k", Number: 2}, {Event: OnRecover, Key: "heard", Number: 3}, {Event: OnRecover, Key: "late"}}
	if d := cmp.Diff(want, l.turned(true).Heard); d != "" {
		t.Error(d)
	}
}

func TestARunUsesTheNewestCommandOfItsHook(t *testing.T) {
	q, a := Queue{}, fileOf("a", on("k", OnChange))
	write(&q, a, false, at(0))
	next := on("k", OnChange)
	next[0].Command = noCommand{}
	a.SetHooks(next)
	if r := start(t, &q, at(1), "on_change a"); r.Command != next[0].Command {
		t.Error("the former command is run")
	}
}

type noCommand struct{}

func (noCommand) Run(context.Context, Event, []Notice) error { return nil }

func TestTwoLevelsSayTogetherWhatEitherSays(t *testing.T) {
	older := &Level{Write: 3, First: 3, Expires: noon, Heard: []Heard{{Event: OnFirst, Key: "k", Number: 3}, {Event: OnChange, Key: "gone", Number: 3}}}
	newer := &Level{Write: 4, First: 1, Expires: noon.Add(1), Heard: []Heard{{Event: OnFirst, Key: "k", Number: 1}, {Event: OnChange, Key: "k", Number: 4}}}
	want := &Level{Write: 4, First: 3, Expires: noon.Add(1), Heard: []Heard{{Event: OnFirst, Key: "k", Number: 3}, {Event: OnChange, Key: "k", Number: 4}}}
	for _, got := range []*Level{Merge(older, newer), Merge(newer, older)} {
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	if Merge(nil, newer) != newer || Merge(newer, nil) != newer || Merge(nil, nil) != nil {
		t.Error("with none it is not the other one")
	}
}

func TestALevelCoversWhatItKnows(t *testing.T) {
	l := &Level{Write: 2, First: 2, Failure: 3, Recovery: 2, Expires: noon}
	for name, c := range map[string]struct {
		other *Level
		want  bool
	}{
		"none":            {nil, true},
		"itself":          {l, true},
		"an older one":    {&Level{Write: 1, Expires: noon.Add(1)}, true},
		"another token":   {&Level{Write: 2, Expires: noon.Add(1)}, false},
		"a later write":   {&Level{Write: 3, Expires: noon}, false},
		"a later first":   {&Level{Write: 2, First: 3, Expires: noon}, false},
		"a later failure": {&Level{Failure: 4}, false},
		"a later end":     {&Level{Recovery: 4}, false},
	} {
		if got := l.Covers(c.other); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if (*Level)(nil).Covers(l) {
		t.Error("none covers something")
	}
}

func TestHooksOfAFileAreToldWhenItsNewestTokenExpires(t *testing.T) {
	l := (&Level{}).Written(false, noon)
	if s := File(Notice{}, nil, l); !s.Notice.Expires.Equal(noon) {
		t.Errorf("it is %v", s.Notice.Expires)
	}
	if s := File(Notice{Expires: noon.Add(1)}, nil, l); s.Notice.Expires.Equal(noon) {
		t.Error("that of an older write is told")
	}
}

func TestOnChangeWaitsForOnFirstUnlessThatFails(t *testing.T) {
	q, a := Queue{}, fileOf("a", on("k", OnFirst, OnChange))
	write(&q, a, true, at(0))
	first := start(t, &q, at(1), "on_first a")
	q.Failed(first, at(60))
	q.Succeeded(start(t, &q, at(2), "on_change a"))
	write(&q, a, false, at(10))
	start(t, &q, at(11), "on_change a")
}

func TestRunsOfASubjectAreThoseThatWaitOrRunForIt(t *testing.T) {
	q, a := Queue{}, fileOf("a", on("k", OnChange))
	if len(a.Runs()) != 0 || len((*Subject)(nil).Runs()) != 0 {
		t.Error("there are some before a write")
	}
	write(&q, a, false, at(0))
	for _, step := range []func(){func() { start(t, &q, at(1), "on_change a") }, func() { q.Failed(q.current, at(60)) }} {
		if n := len(a.Runs()); n != 1 {
			t.Errorf("there are %d", n)
		}
		step()
	}
	q.Succeeded(start(t, &q, at(60), "on_change a"))
	if len(a.Runs()) != 0 || len(q.runs) != 0 {
		t.Error("there are some after its end")
	}
}

func TestHooksThatNobodyNeedsAnyMoreAreForgotten(t *testing.T) {
	q, a, b := Queue{}, fileOf("a", on("k", OnChange)), fileOf("b", on("l", OnChange))
	write(&q, a, false, at(0))
	write(&q, b, false, at(0.5))
	q.Failed(start(t, &q, at(1), "on_change a"), at(600))
	q.Failed(start(t, &q, at(2), "on_change b"), at(600))
	a.SetHooks(nil)
	q.Refresh(at(10))
	if len(q.runs) != 1 || len(q.waiting) != 1 || len(a.Runs()) != 0 {
		t.Errorf("%d runs, %d wait", len(q.runs), len(q.waiting))
	}
	start(t, &q, at(10), "on_change b")
}
