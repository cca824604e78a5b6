package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// killedAfter runs an agent for so long, and leaves the records as a power cut would
// at that moment: with what had begun, and without what was yet to be kept.
func killedAfter(t *testing.T, d time.Duration, r *fakeRecords, renewers ...Renewer) {
	t.Helper()
	time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.cut = true
	})
	runFor(t, d+time.Second, r, renewers...)
	r.cut = false
}

func TestAHookIsRunByTheNextAgentWhereverThePowerFails(t *testing.T) {
	for _, after := range []time.Duration{2 * time.Second, 5*time.Second + time.Millisecond, 6*time.Second + time.Millisecond, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
			records := &fakeRecords{disk: disk}
			killedAfter(t, after, records, onSlowDisk(disk, source, c)...)
			ran := c.said()
			runFor(t, 4*time.Second, records, onSlowDisk(disk, source, c)...)
			if got := c.said(); got != ran+", on_first a, on_change a" && got != "on_first a, on_change a" {
				t.Errorf("after %v: run %q, and then %q", after, ran, got)
			}
		})
	}
}

func TestAHookThatSucceededSettlesNoOtherOfItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records, good, bad := &fakeRecords{disk: disk}, &fakeCommand{}, &fakeCommand{fail: errors.New("exit status 1")}
		set := func() []Renewer {
			r := hooked(onDisk(disk, source, "a"), good, hooks.OnChange)
			r[0].Hooks = append(r[0].Hooks, hooks.Hook{Event: hooks.OnChange, Key: "bad", Command: bad})
			return r
		}
		runFor(t, time.Minute, records, set()...)
		bad.set(func() { bad.fail, bad.calls = nil, nil })
		runFor(t, time.Minute, records, set()...)
		if bad.said() != "on_change a" || good.said() != "on_change a" || source.asked() != 1 {
			t.Errorf("run %q and %q; asked %d times", bad.said(), good.said(), source.asked())
		}
	})
}

func TestAHookThatIsNewInADefinitionIsNotDue(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk, source, c := &fakeDisk{}, &fakeSource{life: 10 * time.Hour}, &fakeCommand{}
			records := &fakeRecords{disk: disk}
			plain := func() []Renewer { r := onDisk(disk, source, "a"); r[0].Decode = decodeFake; return r }
			with := func() []Renewer { return hooked(onDisk(disk, source, "a"), c, hooks.OnFirst, hooks.OnChange) }
			if restart {
				runFor(t, time.Minute, records, plain()...)
				restarted(t, records, with()...)
			} else {
				a := restarted(t, records, plain()...)
				time.Sleep(time.Minute)
				if _, err := a.Replace(t.Context(), with()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Hour)
			if c.times() > 0 {
				t.Errorf("restart %v: run %q at once", restart, c.said())
			}
			time.Sleep(9 * time.Hour)
			if c.said() != "on_change a" {
				t.Errorf("restart %v: run %q with the next token", restart, c.said())
			}
		})
	}
}

func TestHooksThatAreNewWhileTheTokenFailsHearOfItsEnd(t *testing.T) {
	for _, digest := range []string{"1", "2"} {
		synctest.Test(t, func(t *testing.T) {
			disk, c := &fakeDisk{}, &fakeCommand{}
			source := &fakeSource{life: 24 * time.Hour, fail: func(time.Time) error { return errDown }}
			a := started(t, silent(), onDisk(disk, source, "a")...)
			time.Sleep(10 * time.Minute)
			with := hooked(onDisk(disk, source, "a"), c, hooks.OnFailure, hooks.OnRecover)
			with[0].Digest = digest
			if _, err := a.Replace(t.Context(), with); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			source.set(func() { source.fail = nil })
			time.Sleep(10 * time.Minute)
			if c.said() != "on_recover a" {
				t.Errorf("definition %s: run %q", digest, c.said())
			}
		})
	}
}

func TestAnotherCommandTakesOverWhatIsPendingAtARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records, wrong, right := &fakeRecords{disk: disk}, &fakeCommand{fail: errors.New("exit status 1")}, &fakeCommand{}
		runFor(t, time.Minute, records, hooked(onDisk(disk, source, "a"), wrong, hooks.OnFirst)...)
		set := onDisk(disk, source, "a")
		set[0].Hooks = []hooks.Hook{{Event: hooks.OnFirst, Key: "right", Command: right}}
		runFor(t, time.Minute, records, set...)
		if right.said() != "on_first a" || len(records.due()) != 0 {
			t.Errorf("run %q, due %v", right.said(), records.due())
		}
	})
}

// A witness is a command that notes what is recorded while it runs.
type witness struct {
	records *fakeRecords
	saw     []Record
}

func (w *witness) Run(context.Context, hooks.Event, []hooks.Notice) error {
	w.records.mu.Lock()
	defer w.records.mu.Unlock()
	w.saw = slices.Clone(w.records.begun)
	return nil
}

func TestThatAHookTellsOfAFailureIsRecordedBeforeItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{}
		records := &fakeRecords{disk: disk}
		w := &witness{records: records}
		source := &fakeSource{fail: func(time.Time) error { return errors.New("down") }}
		restarted(t, records, hooked(onDisk(disk, source, "a"), w, hooks.OnFailure)...)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(w.saw) != 1 || w.saw[0].Token != "a" || !w.saw[0].Failures.Fails() {
			t.Errorf("recorded was %+v", w.saw)
		}
	})
}

func TestTheEndOfAFailureIsToldByTheNextAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, c := &fakeDisk{}, &fakeCommand{}
		records := &fakeRecords{disk: disk}
		source := &fakeSource{life: 24 * time.Hour, fail: func(time.Time) error { return errors.New("down") }}
		set := func() []Renewer {
			return hooked(onDisk(disk, source, "a"), c, hooks.OnFailure, hooks.OnRecover)
		}
		killedAfter(t, 5*time.Second, records, set()...) // soon after the hook ran, and before records were kept
		for range 2 {
			runFor(t, time.Minute, records, set()...)
		}
		if got := c.said(); got != "on_failure a" && got != "on_failure a, on_failure a" { // it may be run once more than needed
			t.Errorf("while it fails: run %q", got)
		}
		source.set(func() { source.fail = nil })
		runFor(t, time.Minute, records, set()...)
		runFor(t, time.Minute, records, set()...)
		if !slices.Equal(c.calls[len(c.calls)-1:], []string{"on_recover a"}) || len(c.calls) > 3 || len(records.due()) > 0 {
			t.Errorf("run %q, due %v", c.said(), records.due())
		}
	})
}
