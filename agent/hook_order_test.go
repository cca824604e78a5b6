package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// onSlowDisk is a token with hooks on a disk that takes five seconds for it.
func onSlowDisk(disk *fakeDisk, source Source, c hooks.Command) []Renewer {
	sink := &slowDisk{diskSink{disk: disk, path: "/t/a"}, 5 * time.Second}
	return hooked([]Renewer{{Name: "a", Digest: "1", Source: source, Sinks: targets(sink)}}, c, hooks.OnFirst, hooks.OnChange)
}

func TestOnFirstIsRunThoughTheWriteIsOvertaken(t *testing.T) {
	for name, overtake := range map[string]func(*Agent, []Renewer) error{
		"by_a_newer_token": func(a *Agent, _ []Renewer) error {
			_, err := a.Refresh(context.Background())
			return err
		},
		"by_another_definition": func(a *Agent, set []Renewer) error {
			set[0].Digest = "2"
			_, err := a.Replace(context.Background(), set)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
				records := &fakeRecords{disk: disk}
				a := restarted(t, records, onSlowDisk(disk, source, c)...)
				time.Sleep(2 * time.Second)
				if err := overtake(a, onSlowDisk(disk, source, c)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Minute)
				if got := c.said(); got != "on_first a, on_change a, on_change a" || len(records.due()) != 0 {
					t.Errorf("run %q, due %v", got, records.due())
				}
			})
		})
	}
}

// A lateFailure writes its file, but cannot say for certain that it has.
type lateFailure struct {
	diskSink
	failures int
}

func (s *lateFailure) Put(ctx context.Context, t Token) (Written, error) {
	changed := s.disk.at(s.path) != t.Secret.Reveal()
	w, _ := s.diskSink.Put(ctx, t)
	w.Changed = changed
	if s.failures--; s.failures >= 0 {
		return w, errors.New("fsync of the folder: input/output error")
	}
	return w, nil
}

func TestHooksAreRunThoughTheWriteFailedAfterTheRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := &fakeDisk{}, &fakeCommand{}
		records := &fakeRecords{disk: disk}
		set := hooked(onDisk(disk, &fakeSource{life: time.Hour}, "a"), c, hooks.OnFirst, hooks.OnChange)
		set[0].Sinks = targets(&lateFailure{diskSink{disk: disk, path: "/t/a"}, 3})
		restarted(t, records, set...)
		time.Sleep(10 * time.Minute)
		if got := c.said(); got != "on_first a, on_change a" || len(records.due()) != 0 {
			t.Errorf("run %q, due %v", got, records.due())
		}
	})
}

func TestOnFirstIsRunAgainWhenTheFileWasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := &fakeDisk{}, &fakeCommand{}
		started(t, silent(), hooked(onDisk(disk, &fakeSource{life: 24 * time.Hour}, "a"), c, hooks.OnFirst)...)
		time.Sleep(10 * time.Second)
		disk.put("/t/a", "")
		time.Sleep(10 * time.Minute)
		if got := c.said(); got != "on_first a, on_first a" || disk.at("/t/a") != "token.1" {
			t.Errorf("run %q, the file is %q", got, disk.at("/t/a"))
		}
	})
}

func TestNothingIsPendingWhenAHookHasSucceededAtLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		records, c := &fakeRecords{disk: disk}, &fakeCommand{fail: errors.New("exit status 1")}
		set := func() []Renewer { return hooked(onDisk(disk, source, "a"), c, hooks.OnChange) }
		time.AfterFunc(5*time.Hour, func() { c.set(func() { c.fail = nil }) })
		runFor(t, 5*time.Hour+10*time.Minute, records, set()...)
		n := c.times()
		if n < 50 || len(records.due()) != 0 {
			t.Errorf("run %d times, due %v", n, records.due())
		}
		runFor(t, time.Minute, records, set()...)
		if c.times() != n {
			t.Errorf("run %d times more after a restart", c.times()-n)
		}
	})
}

func TestFailuresThatNoHookIsForAreNotPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, begin := &fakeDisk{}, time.Now()
		source := &fakeSource{life: time.Hour, fail: func(now time.Time) error {
			if m := now.Sub(begin) % time.Hour; m > 20*time.Minute && m < 40*time.Minute {
				return errors.New("down")
			}
			return nil
		}}
		records, c := &fakeRecords{disk: disk}, &fakeCommand{}
		runFor(t, 12*time.Hour, records, hooked(onDisk(disk, source, "a"), c, hooks.OnChange)...)
		if c.times() < 10 || len(records.due()) != 0 {
			t.Errorf("run %d times, due %v", c.times(), records.due())
		}
	})
}

func TestTokensThatComeInQuickSuccessionAreOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := &fakeDisk{}, &fakeCommand{}
		records := &fakeRecords{disk: disk}
		a := restarted(t, records, hooked(onDisk(disk, &fakeSource{life: time.Hour}, "a"), c, hooks.OnChange)...)
		time.Sleep(300 * time.Millisecond)
		a.Refresh(t.Context())
		time.Sleep(time.Minute)
		if got := c.said(); got != "on_change a" || len(records.due()) != 0 {
			t.Errorf("run %q, due %v", got, records.due())
		}
	})
}

func TestHooksOfADefinitionThatGoesDuringAWriteAreNotPending(t *testing.T) {
	for _, failures := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			disk, c := &fakeDisk{}, &fakeCommand{}
			records := &fakeRecords{disk: disk}
			set := onSlowDisk(disk, &fakeSource{life: time.Hour}, c)
			set[0].Sinks = targets(&slowFailure{lateFailure{diskSink{disk: disk, path: "/t/a"}, failures}})
			a := restarted(t, records, set...)
			time.Sleep(time.Duration(failures)*6*time.Second + 2*time.Second)
			if len(records.due()) < 2 {
				t.Errorf("during the write due %v", records.due())
			}
			a.Replace(t.Context(), nil)
			time.Sleep(time.Minute)
			if c.times() != 0 || len(records.due()) != 0 {
				t.Errorf("run %q, due %v", c.said(), records.due())
			}
		})
	}
}

// A slowFailure takes its time for it.
type slowFailure struct{ lateFailure }

func (s *slowFailure) Put(ctx context.Context, t Token) (Written, error) {
	time.Sleep(5 * time.Second)
	return s.lateFailure.Put(ctx, t)
}

func TestRecoveryIsToldWhenAReloadHasMendedTheDefinition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := &fakeDisk{}, &fakeCommand{}
		wrong := &fakeSource{fail: func(time.Time) error { return &Fault{Kind: Configuration, Err: errors.New("invalid_scope")} }}
		log, text := recording()
		a := started(t, log, hooked(onDisk(disk, wrong, "a"), c, hooks.OnFailure, hooks.OnRecover)...)
		time.Sleep(time.Hour)
		mended := hooked(onDisk(disk, &fakeSource{life: time.Hour}, "a"), c, hooks.OnFailure, hooks.OnRecover)
		mended[0].Digest = "2"
		a.Replace(t.Context(), mended)
		time.Sleep(time.Minute)
		if got := c.said(); got != "on_failure a, on_recover a" || !strings.Contains(text(), "outage=1h0m0s") {
			t.Errorf("run %q; log:\n%s", got, text())
		}
	})
}

func TestOnChangeNeverComesBeforeOnFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := &fakeDisk{}, &fakeCommand{}
		disk.put("/t/b", "token.old")
		late := &fakeSource{life: time.Hour, takes: 500 * time.Millisecond} // within the second of b's on_change
		set := append(onDisk(disk, &fakeSource{life: time.Hour}, "b"), onDisk(disk, late, "a")...)
		started(t, silent(), hooked(set, c, hooks.OnFirst, hooks.OnChange)...)
		time.Sleep(time.Minute)
		if got := c.said(); got != "on_first a, on_change b a" {
			t.Errorf("run %q", got)
		}
	})
}

func TestReloadWhileAFailingHookRuns(t *testing.T) {
	for name, want := range map[string]string{"takes_the_hook_away": "", "brings_a_new_command": "on_first a"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, source, records := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}, &fakeRecords{}
				old, now := &fakeCommand{takes: 5 * time.Second, fail: errors.New("exit status 1")}, &fakeCommand{}
				a := restarted(t, records, hooked(onDisk(disk, source, "a"), old, hooks.OnFirst)...)
				time.Sleep(3 * time.Second)
				next := onDisk(disk, source, "a")
				if want != "" {
					next = hooked(next, now, hooks.OnFirst) // of the same Key
				}
				a.Replace(t.Context(), next)
				time.Sleep(time.Hour)
				if old.times() != 1 || now.said() != want || len(records.due()) != 0 {
					t.Errorf("the old one ran %d times, the new one %q, due %v", old.times(), now.said(), records.due())
				}
			})
		})
	}
}

// A deafCommand takes three seconds, whatever it is told.
type deafCommand struct{ fakeCommand }

func (c *deafCommand) Run(_ context.Context, e hooks.Event, about []hooks.Notice) error {
	return c.fakeCommand.Run(context.Background(), e, about)
}

func TestHookThatSucceedsWhileTheAgentStopsIsNotPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		records, c := &fakeRecords{disk: disk}, &deafCommand{fakeCommand{takes: 3 * time.Second}}
		runFor(t, 2*time.Second, records, hooked(onDisk(disk, source, "a"), c, hooks.OnFirst)...)
		if c.times() != 1 || len(records.due()) != 0 {
			t.Errorf("run %q, due %v", c.said(), records.due())
		}
	})
}

// hung is a command that never ends.
type hung chan struct{}

func (h hung) Run(context.Context, hooks.Event, []hooks.Notice) error { <-h; return nil }

func TestHookThatNeverEndsHoldsUpOthersForAnHourAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, never := &fakeCommand{}, make(hung)
		set := hooked(onDisk(&fakeDisk{}, &fakeSource{life: time.Hour}, "a"), c, hooks.OnChange)
		set[0].Hooks = append(set[0].Hooks, hooks.Hook{Event: hooks.OnFirst, Key: "hung", Command: never})
		log, text := recording()
		a := started(t, log, set...)
		t.Cleanup(func() { close(never) })
		time.Sleep(59 * time.Minute)
		if c.times() != 0 {
			t.Errorf("two hooks ran at a time: %s", c.said())
		}
		time.Sleep(10*time.Hour - 59*time.Minute)
		if n := c.times(); n < 15 {
			t.Errorf("run %d times in ten hours", n)
		}
		if n := strings.Count(text(), "hook does not end"); n != 1 {
			t.Errorf("told %d times; log:\n%s", n, text())
		}
		all, err := a.Status(t.Context())
		if err != nil || len(all[0].Hooks) != 1 || all[0].Hooks[0].Command != "hung" {
			t.Errorf("%+v, %v", all, err)
		}
	})
}
