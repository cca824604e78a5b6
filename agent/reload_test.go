package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// A remoteFake is a fakeSource with an issuer, and so a queue, of its own.
type remoteFake struct {
	fakeSource
	issuer string
}

func (s *remoteFake) slow() { s.set(func() { s.takes = 700 * time.Millisecond }) }

// Forty issuers are more than the pool has room for: eight of them wait.
func TestNothingThatIsDoneToAFullPoolStopsIt(t *testing.T) {
	reload := func(at float64, digest string) func(*Agent, []Renewer) error {
		return func(a *Agent, set []Renewer) error {
			for i := range set {
				set[i].Schedule.At, set[i].Digest = at, digest
			}
			_, err := a.Replace(context.Background(), set)
			return err
		}
	}
	for name, act := range map[string]func(*Agent, []Renewer) error{
		"refresh": func(a *Agent, _ []Renewer) error {
			_, err := a.Refresh(context.Background())
			return err
		},
		"reload_with_a_later_schedule":   reload(0.8, "1"),
		"reload_with_another_definition": reload(0.5, "2"),
		"reload_that_changes_nothing":    reload(0.5, "1"),
		"reload_without_most_of_them": func(a *Agent, set []Renewer) error {
			return reload(0.5, "1")(a, set[39:])
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var set []Renewer
				var last *remoteFake
				for i := range 40 {
					last = &remoteFake{fakeSource{life: time.Hour}, fmt.Sprint(i)}
					time.AfterFunc(time.Minute, last.slow)
					set = append(set, Renewer{Name: last.issuer, Issuer: queue.Issuer{Name: last.issuer}, Digest: "1", Source: last, Schedule: Schedule{At: 0.5},
						Sinks: targets(&fakeSink{path: fmt.Sprintf("/t/%d/x", i)})})
				}
				a := started(t, silent(), set...)
				time.Sleep(30*time.Minute + 100*time.Millisecond)
				if err := act(a, set); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				all, err := a.Status(t.Context(), last.issuer)
				if err != nil || all[0].State != Valid || last.asked() < 2 {
					t.Errorf("%+v, %v, asked %d times", all, err, last.asked())
				}
			})
		})
	}
}

func TestAReloadSaysHowManyDefinitionsItChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		a := started(t, silent(), onDisk(disk, source, "same", "changed", "gone")...)
		next := onDisk(disk, source, "same", "changed", "new", "newer")
		next[1].Digest = "2"
		if got, want := must(a.Replace(t.Context(), next)), (Replaced{Added: 2, Changed: 1, Unchanged: 1, Removed: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestFileIsSeenToWhileItsChangedDefinitionGetsNoToken(t *testing.T) {
	down := &fakeSource{fail: func(time.Time) error { return errors.New("refused") }}
	changed := func(t *testing.T) (*Agent, *fakeDisk) {
		disk := &fakeDisk{}
		set := func(digest string, s Source) []Renewer {
			r := onDisk(disk, s, "a")
			r[0].Digest, r[0].RemoveExpired, r[0].DeleteRemoved = digest, true, true
			return r
		}
		a := restarted(t, &fakeRecords{disk: disk}, set("1", &fakeSource{life: time.Hour})...)
		a.Replace(t.Context(), set("2", down))
		time.Sleep(10 * time.Minute)
		all, err := a.Status(t.Context())
		if err != nil || all[0].State != Valid || all[0].Failing == nil || disk.at("/t/a") != "token.1" {
			t.Fatalf("after the reload: %+v, %v, %q", all, err, disk.at("/t/a"))
		}
		return a, disk
	}
	t.Run("it_is_replaced", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, disk := changed(t)
			disk.put("/t/a", "another's")
			time.Sleep(2 * time.Minute)
			if all, _ := a.Status(t.Context()); all[0].State != Missing {
				t.Errorf("%+v", all[0])
			}
		})
	})
	t.Run("it_expires", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, disk := changed(t)
			time.Sleep(51 * time.Minute)
			if all, _ := a.Status(t.Context()); all[0].State != Missing || disk.at("/t/a") != "" {
				t.Errorf("%q, %+v", disk.at("/t/a"), all[0])
			}
		})
	})
	t.Run("its_definition_goes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, disk := changed(t)
			a.Replace(t.Context(), nil)
			time.Sleep(time.Second)
			if left, err := a.Leftovers(t.Context()); disk.at("/t/a") != "" || len(left) != 0 || err != nil {
				t.Errorf("%q, leftovers %v, %v", disk.at("/t/a"), left, err)
			}
		})
	})
}

func TestReloadDuringAWriteKnowsTheFileThatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{}
		set := func(digest string, s Source) []Renewer {
			return []Renewer{{Name: "a", Digest: digest, Source: s, DeleteRemoved: true,
				Sinks: targets(&slowDisk{diskSink{disk: disk, path: "/t/a"}, 5 * time.Second})}}
		}
		log, text := recording()
		a := started(t, log, set("1", &fakeSource{life: 24 * time.Hour})...)
		time.Sleep(10 * time.Second)
		go a.Refresh(t.Context())
		time.Sleep(2 * time.Second) // token.2 is being written
		a.Replace(t.Context(), set("2", &fakeSource{fail: func(time.Time) error { return errors.New("refused") }}))
		time.Sleep(10 * time.Minute)
		if all, err := a.Status(t.Context()); err != nil || all[0].State != Valid || disk.at("/t/a") != "token.2" {
			t.Errorf("%+v, %v, %q; log:\n%s", all, err, disk.at("/t/a"), text())
		}
	})
}

// A slowDisk takes its time for a write.
type slowDisk struct {
	diskSink
	takes time.Duration
}

func (s *slowDisk) Put(ctx context.Context, t Token) (Written, error) {
	time.Sleep(s.takes)
	return s.diskSink.Put(ctx, t)
}

func TestAFileWhoseDefinitionGoesWhileItIsWrittenIsALeftover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &slowDisk{diskSink{disk: &fakeDisk{}, path: "/t/a"}, 5 * time.Second}
		a := started(t, silent(), Renewer{Name: "a", Source: &fakeSource{life: time.Hour}, Sinks: targets(sink)})
		time.Sleep(2 * time.Second)
		must(a.Replace(t.Context(), nil))
		time.Sleep(time.Minute)
		if left := must(a.Leftovers(t.Context())); len(left) != 1 || left[0].Mark == nil {
			t.Errorf("leftovers %+v", left)
		}
	})
}

func TestFilesOfDefinitionsThatGoWhileTheyAreAdoptedGoToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records, hang := &fakeRecords{disk: disk}, make(chan struct{})
		set := func(hangs chan struct{}) []Renewer {
			r := onDisk(disk, source, "a", "b", "c")
			for i := range r {
				r[i].DeleteRemoved = true
				r[i].Sinks[0].Sink.(*diskSink).hangs = hangs
			}
			return r
		}
		runFor(t, time.Minute, records, set(nil)...)
		a := restarted(t, records, set(hang)...)
		a.Replace(t.Context(), nil)
		close(hang)
		time.Sleep(time.Minute)
		if left, err := a.Leftovers(t.Context()); len(disk.files) != 0 || len(left) != 0 || err != nil {
			t.Errorf("files %v, leftovers %v, %v", disk.files, left, err)
		}
	})
}

func TestRefreshThatAReloadOvertakesTellsOfTheNewDefinition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &fakeSource{life: time.Hour}
		refused := &fakeSource{fail: func(time.Time) error { return errors.New("refused") }}
		a := started(t, silent(), Renewer{Name: "a", Digest: "1", Source: slow, Sinks: targets(&fakeSink{path: "/t/a"})})
		slow.set(func() { slow.takes = time.Minute })
		time.AfterFunc(time.Second, func() {
			a.Replace(t.Context(), []Renewer{{Name: "a", Digest: "2", Source: refused, Sinks: targets(&fakeSink{path: "/t/b"})}})
		})
		begin := time.Now()
		all, err := a.Refresh(t.Context(), "a")
		if err != nil || all[0].Failing == nil || all[0].Failing.Error != "refused" || all[0].Sinks[0].Name != "/t/b" {
			t.Errorf("%+v, %v", all, err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestRefreshEndsThoughAnAdoptionHangsAndTheSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		records, hang := &fakeRecords{disk: disk}, make(chan struct{})
		defer close(hang)
		runFor(t, time.Minute, records, onDisk(disk, source, "a")...)
		source.set(func() { source.fail = func(time.Time) error { return errors.New("down") } })
		next := onDisk(disk, source, "a")
		next[0].Sinks[0].Sink.(*diskSink).hangs = hang
		a := restarted(t, records, next...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		all, err := a.Refresh(ctx)
		if err != nil || all[0].Failing == nil || all[0].Failing.Error != "down" {
			t.Errorf("%+v, %v", all, err)
		}
	})
}
