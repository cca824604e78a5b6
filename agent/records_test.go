package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// A fakeDisk holds files that outlive an agent.
type fakeDisk struct {
	mu    sync.Mutex
	files map[string]string // by path; the text of the token
}

func (d *fakeDisk) at(path string) string { d.mu.Lock(); defer d.mu.Unlock(); return d.files[path] }

func (d *fakeDisk) put(path, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files == nil {
		d.files = map[string]string{}
	}
	if d.files[path] = text; text == "" {
		delete(d.files, path)
	}
}

// A diskSink writes to a fakeDisk, and knows its files by their content.
type diskSink struct {
	disk  *fakeDisk
	path  string
	wrote string
	hangs chan struct{}

	stubborn bool // it cannot be removed
}

func (s *diskSink) Path() string { return s.path }
func (s *diskSink) Put(_ context.Context, t Token) (Written, error) {
	s.disk.put(s.path, t.Secret.Reveal())
	s.wrote = t.Secret.Reveal()
	mark, _ := json.Marshal(s.wrote)
	return Written{Changed: true, Mark: mark}, nil
}
func (s *diskSink) Look(context.Context) (string, error) {
	if s.disk.at(s.path) != s.wrote {
		return "it is another", nil
	}
	return "", nil
}
func (s *diskSink) Adopt(ctx context.Context, mark json.RawMessage) (string, error) {
	if s.hangs != nil {
		<-s.hangs
	}
	if err := json.Unmarshal(mark, &s.wrote); err != nil {
		return "", err
	}
	return s.Look(ctx)
}
func (s *diskSink) Remove(ctx context.Context) error {
	if d, _ := s.Look(ctx); d != "" {
		return errors.New(d)
	}
	if s.stubborn {
		return errors.New("read-only file system")
	}
	s.disk.put(s.path, "")
	return nil
}

// fakeRecords are kept in memory.
type fakeRecords struct {
	mu    sync.Mutex
	disk  *fakeDisk
	all   []Record
	begun []Record // beside all
	kept  int
	fail  error
	gone  bool // Check finds nothing, once
	cut   bool // the power is off: nothing is kept any more

	hangs chan struct{} // until it is closed nothing is kept

	stubborn bool // leftovers cannot be removed
}

func (r *fakeRecords) Recall() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.all)
	for _, b := range r.begun {
		i := slices.IndexFunc(all, func(k Record) bool { return k.Name == b.Name })
		if i < 0 {
			all = append(all, b)
			continue
		}
		all[i].Hooks, all[i].Failures = hooks.Merge(all[i].Hooks, b.Hooks), hooks.Merge(all[i].Failures, b.Failures)
	}
	return all
}
func (r *fakeRecords) Keep(all []Record) error {
	if r.hangs != nil {
		<-r.hangs
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept++
	if r.fail == nil && !r.cut {
		r.all = all
		r.begun = slices.DeleteFunc(r.begun, func(b Record) bool {
			i := slices.IndexFunc(all, func(k Record) bool { return k.Name == b.Name })
			return i < 0 || (all[i].Hooks == nil || all[i].Hooks.Covers(b.Hooks)) && (all[i].Failures == nil || all[i].Failures.Covers(b.Failures))
		})
	}
	return r.fail
}
func (r *fakeRecords) Check() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := r.gone
	r.gone = false
	return !gone
}
func (r *fakeRecords) Warnings() []string { return nil }
func (r *fakeRecords) times() int         { r.mu.Lock(); defer r.mu.Unlock(); return r.kept }
func (r *fakeRecords) Begin(ctx context.Context, all ...Record) error {
	r.mu.Lock()
	if !r.cut {
		r.begun = append(r.begun, all...)
	}
	r.mu.Unlock()
	return r.wait(ctx)
}

// due are the hooks that the next agent would run: "on_first /t/a".
func (r *fakeRecords) due() (all []string) {
	for _, k := range r.Recall() {
		for _, h := range slices.Concat(k.Hooks.Due(), k.Failures.Due()) {
			all = append(all, string(h.Event)+" "+k.Name)
		}
	}
	return all
}

func (r *fakeRecords) wait(ctx context.Context) error {
	if r.hangs == nil {
		return r.fail
	}
	select {
	case <-r.hangs:
		return r.fail
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (r *fakeRecords) Leftover(k Record) Target {
	return targets(&diskSink{disk: r.disk, path: k.Name, stubborn: r.stubborn})[0]
}

// runFor runs an agent with records for a while, as one process would.
func runFor(t *testing.T, d time.Duration, r *fakeRecords, renewers ...Renewer) (log string) {
	var out hosttest.Buffer
	l := silent()
	l.Out = &out
	a := New(hostClock, l, renewers)
	a.Remember(r)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	watched(a).Run(ctx)
	synctest.Wait()
	return out.String()
}

// restarted runs a further process until the test ends.
func restarted(t *testing.T, r *fakeRecords, renewers ...Renewer) *Agent {
	a := New(hostClock, silent(), renewers)
	a.Remember(r)
	return begun(t, a)
}

func onDisk(disk *fakeDisk, source Source, names ...string) (r []Renewer) {
	for _, n := range names {
		r = append(r, Renewer{Name: n, Source: source, Sinks: targets(&diskSink{disk: disk, path: "/t/" + n}), Digest: "1"})
	}
	return r
}

func TestRestartAsksForNothingThatIsGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fakeDisk{}
		records := &fakeRecords{disk: disk}
		source := &fakeSource{life: 4 * time.Hour}
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprint(i))
		}
		runFor(t, time.Minute, records, onDisk(disk, source, names...)...)
		restarts := 5
		if isLong() {
			restarts = 50
		}
		for range restarts {
			runFor(t, time.Minute, records, onDisk(disk, source, names...)...)
		}
		if n := source.asked(); n != 100 {
			t.Errorf("asked %d times", n)
		}
		if log := runFor(t, time.Minute, records, onDisk(disk, source, names...)...); strings.Count(log, "token adopted as an earlier agent left it") != 100 {
			t.Errorf("the log does not say that each token was adopted:\n%s", log)
		}
		runFor(t, 3*time.Hour, records, onDisk(disk, source, names...)...)
		if n := source.asked(); n != 200 {
			t.Errorf("asked %d times after they were due", n)
		}
	})
}

func TestRestartNoticesWhatChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeDisk, *Renewer)
		asked  int
	}{
		"nothing":    {func(*fakeDisk, *Renewer) {}, 1},
		"definition": {func(_ *fakeDisk, r *Renewer) { r.Digest = "2" }, 2},
		"file":       {func(d *fakeDisk, _ *Renewer) { d.put("/t/a", "other") }, 2},
		"no file":    {func(d *fakeDisk, _ *Renewer) { d.put("/t/a", "") }, 2},
		"name":       {func(_ *fakeDisk, r *Renewer) { r.Name = "b" }, 1},
		"path":       {func(d *fakeDisk, r *Renewer) { r.Sinks = targets(&diskSink{disk: d, path: "/t/b"}) }, 2},
		"a sink more": {func(d *fakeDisk, r *Renewer) {
			r.Sinks = append(r.Sinks, targets(&diskSink{disk: d, path: "/t/b"})[0])
		}, 2},
		"a folder that hangs": {func(d *fakeDisk, r *Renewer) {
			r.Sinks = targets(&diskSink{disk: d, path: "/t/a", hangs: make(chan struct{})})
		}, 2},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
				records := &fakeRecords{disk: disk}
				runFor(t, time.Minute, records, onDisk(disk, source, "a")...)
				next := onDisk(disk, source, "a")
				c.change(disk, &next[0])
				runFor(t, time.Minute, records, next...)
				if n := source.asked(); n != c.asked {
					t.Errorf("asked %d times, want %d", n, c.asked)
				}
				if s, ok := next[0].Sinks[0].Sink.(*diskSink); ok && s.hangs != nil {
					close(s.hangs)
				}
			})
		})
	}
}

func TestAdoptedTokenThatIsRemovedIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		runFor(t, time.Minute, records, onDisk(disk, source, "a")...)
		time.AfterFunc(90*time.Second, func() { disk.put("/t/a", "") })
		runFor(t, 4*time.Minute, records, onDisk(disk, source, "a")...)
		if n := source.asked(); n != 2 || disk.at("/t/a") != "token.2" {
			t.Errorf("asked %d times, the file is %q", n, disk.at("/t/a"))
		}
	})
}

func TestTokenThatIsGoneIsReplacedByOneThatExpiresSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		runFor(t, time.Minute, records, onDisk(disk, source, "a")...)
		source.set(func() { source.life = time.Hour })
		time.AfterFunc(90*time.Second, func() { disk.put("/t/a", "") })
		runFor(t, 4*time.Minute, records, onDisk(disk, source, "a")...)
		if disk.at("/t/a") != "token.2" {
			t.Errorf("the file is %q", disk.at("/t/a"))
		}
	})
}

func TestOnceAdoptsAndEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		for range 3 {
			a := New(hostClock, silent(), onDisk(disk, source, "a", "b"))
			a.Remember(records)
			begin := time.Now()
			for _, s := range a.Once(t.Context()) {
				if s.State != Valid {
					t.Errorf("%+v", s)
				}
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("took %v", took)
			}
		}
		if n := source.asked(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestOnceTriesEachFileSeveralTimes(t *testing.T) {
	for _, order := range [][]string{{"bad", "good"}, {"good", "bad"}} {
		synctest.Test(t, func(t *testing.T) {
			sinks := map[string]*fakeSink{"good": {path: "/t/good"}, "bad": {path: "/u/bad", fail: errors.New("disk full")}}
			a := New(hostClock, silent(), []Renewer{{Name: "a", Source: &fakeSource{life: time.Hour}, Sinks: targets(sinks[order[0]], sinks[order[1]])}})
			all := a.Once(t.Context())
			if _, puts := sinks["bad"].holds(); puts != quickTries || all[0].Failing == nil || sinks["good"].text() != "token.1" {
				t.Errorf("%v: tried %d times; status %+v", order, puts, all[0])
			}
		})
	}
}

func TestOnceOfOneTokenLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		set := func() []Renewer {
			r := onDisk(disk, source, "a", "b", "c")
			r[1].DeleteRemoved = true
			return r
		}
		runFor(t, time.Minute, records, set()...)
		for _, force := range []bool{false, true} {
			disk.put("/t/c", "") // would be noticed, were it asked for
			a := New(hostClock, silent(), set())
			a.Remember(records)
			if err := a.Only("a"); err != nil {
				t.Fatal(err)
			}
			if force {
				a.Force()
			}
			if all := a.Once(t.Context()); len(all) != 1 || all[0].Name != "a" || all[0].State != Valid {
				t.Errorf("%+v", all)
			}
		}
		if n := source.asked(); n != 4 || disk.at("/t/b") == "" || len(records.all) < 2 {
			t.Errorf("asked %d times; b is %q; %d records", n, disk.at("/t/b"), len(records.all))
		}
		if err := New(hostClock, silent(), set()).Only("d"); err == nil {
			t.Error("an unknown name is no error")
		}
	})
}

func TestRecordsAreKeptEveryTenSecondsAtMostAndAtStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 20 * time.Second}
		records := &fakeRecords{disk: disk}
		runFor(t, time.Minute+time.Second, records, onDisk(disk, source, "a", "b", "c", "d")...)
		if records.kept > 8 || records.kept < 4 || len(records.all) != 4 {
			t.Errorf("kept %d times, %d records", records.kept, len(records.all))
		}
		if got := records.all[0].Issued; time.Since(got) > 11*time.Second {
			t.Errorf("the last record is of %v ago", time.Since(got))
		}
	})
}

func TestRecordsAreKeptTenSecondsAfterTheLastTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		a := restarted(t, records, onDisk(disk, source, "a")...)
		for _, want := range []int{2, 3} { // nothing else wakes the loop
			if _, err := a.Refresh(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(betweenKeeps + time.Millisecond)
			synctest.Wait()
			if n := records.times(); n < want {
				t.Errorf("kept %d times, want %d", n, want)
			}
		}
	})
}

func TestRecordsThatCannotBeKeptAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		records := &fakeRecords{disk: disk, fail: errors.New("read-only file system")}
		log := runFor(t, time.Hour, records, onDisk(disk, source, "a")...)
		if n := strings.Count(log, "records and pending hooks cannot be kept"); n != 1 || disk.at("/t/a") == "" {
			t.Errorf("said %d times:\n%s", n, log)
		}
	})
}

func TestRecordsThatAreGoneAreKeptAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		a := New(hostClock, silent(), onDisk(disk, source, "a"))
		a.Remember(records)
		begun(t, a)
		time.Sleep(time.Hour)
		before := records.times()
		records.mu.Lock()
		records.gone = true
		records.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if n := records.times() - before; n != 1 {
			t.Errorf("kept %d times", n)
		}
	})
}

// A disk that hangs is one whose server is gone, or that is frozen or suspended.
func TestATokenIsWrittenAndItsHookRunWhereNothingCanBeKept(t *testing.T) {
	for name, make := range map[string]func() *fakeRecords{
		"hangs": func() *fakeRecords { return &fakeRecords{hangs: make(chan struct{})} },
		"full":  func() *fakeRecords { return &fakeRecords{fail: errors.New("no space left on device")} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out hosttest.Buffer
				log := silent()
				log.SetOutput(&out)
				disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
				records := make()
				records.disk = disk
				a := New(hostClock, log, hooked(onDisk(disk, source, "a"), c, hooks.OnChange))
				a.Remember(records)
				ctx, stop := context.WithCancel(t.Context())
				ended := closedAfter(func() { a.Run(ctx) })
				time.Sleep(5 * time.Second)
				if disk.at("/t/a") == "" || c.times() != 1 {
					t.Errorf("after 5 s the token is %q, and the hook ran %d times", disk.at("/t/a"), c.times())
				}
				time.Sleep(3 * time.Hour)
				if c.times() < 5 {
					t.Errorf("the hook ran %d times", c.times())
				}
				before := time.Now()
				stop()
				<-ended
				if took := time.Since(before); took > 10*time.Second {
					t.Errorf("it took %v to stop", took)
				}
				if n := strings.Count(out.String(), "cannot be kept"); n != 1 {
					t.Errorf("said %d times:\n%s", n, out.String())
				}
				if records.hangs != nil {
					close(records.hangs)
				}
			})
		})
	}
}

func closedAfter(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	return done
}

// A warningRecords has a warning after each call, as state does once for each cause.
type warningRecords struct {
	fakeRecords
	left atomic.Int32
}

func (r *warningRecords) Keep(all []Record) error { r.left.Add(1); return r.fakeRecords.Keep(all) }
func (r *warningRecords) Warnings() (all []string) {
	if r.left.Swap(0) > 0 {
		return []string{"a line was torn"}
	}
	return nil
}

func TestWarningsOfTheRecordsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		records := &warningRecords{fakeRecords: fakeRecords{disk: &fakeDisk{}}}
		a := New(hostClock, log, onDisk(records.disk, &fakeSource{life: time.Hour}, "a"))
		a.Remember(records)
		begun(t, a)
		time.Sleep(time.Minute)
		records.left.Add(1) // as when a look found the files gone
		time.Sleep(2 * betweenLooks)
		wantLines(t, text(), "level=warning msg=\"a line was torn\"", records.times()+1)
	})
}

func TestThatRecordsAreKeptAgainIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out hosttest.Buffer
		log := silent()
		log.SetOutput(&out)
		disk, source, c := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
		records := &fakeRecords{disk: disk, hangs: make(chan struct{})}
		a := New(hostClock, log, hooked(onDisk(disk, source, "a"), c, hooks.OnChange))
		a.Remember(records)
		ctx, stop := context.WithCancel(t.Context())
		ended := closedAfter(func() { a.Run(ctx) })
		time.Sleep(2 * time.Hour)
		close(records.hangs)
		time.Sleep(time.Minute)
		if n := strings.Count(out.String(), "are kept again"); n != 1 || len(records.due()) != 0 {
			t.Errorf("said %d times, due %v:\n%s", n, records.due(), out.String())
		}
		stop()
		<-ended
	})
}

func TestFileWithoutADefinitionIsALeftoverUntilItGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		runFor(t, time.Minute, records, onDisk(disk, source, "a", "b", "c")...)
		a := New(hostClock, silent(), onDisk(disk, source, "a", "b")) // c goes over a restart
		a.Remember(records)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { a.Run(ctx); close(ran) }()
		a.Replace(ctx, onDisk(disk, source, "a")) // b goes by a reload
		synctest.Wait()
		expect := func(want ...string) {
			t.Helper()
			all, err := a.Leftovers(ctx)
			var paths []string
			for _, r := range all {
				paths = append(paths, r.Name)
			}
			if err != nil || fmt.Sprint(paths) != fmt.Sprint(want) {
				t.Errorf("leftovers %v, want %v (%v)", paths, want, err)
			}
		}
		expect("/t/b", "/t/c")
		time.Sleep(30 * time.Second)
		for i, k := range must(a.Leftovers(ctx)) { // what is known of them outlives the next restart too
			if k.Mark == nil || k.Digest != "1" || k.Expires.IsZero() {
				t.Errorf("leftover %d is %+v", i, k)
			}
		}
		disk.put("/t/c", "")
		time.Sleep(2 * time.Minute)
		expect("/t/b")
		a.Replace(ctx, onDisk(disk, source, "a", "b"))
		expect()
		cancel()
		<-ran
	})
}

func TestFileGoesWithItsDefinitionIfThatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		set := onDisk(disk, source, "a", "b", "c")
		for i := range set {
			set[i].DeleteRemoved = true
		}
		a := New(hostClock, silent(), set)
		a.Remember(records)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { a.Run(ctx); close(ran) }()
		synctest.Wait()
		disk.put("/t/b", "another's") // not ours any more: it stays
		a.Replace(ctx, set[2:])
		time.Sleep(time.Second)
		if disk.at("/t/a") != "" || disk.at("/t/b") != "another's" || disk.at("/t/c") == "" {
			t.Errorf("after the reload: %v", disk.files)
		}
		cancel()
		<-ran
		log := runFor(t, time.Minute, records) // c goes over a restart
		if disk.at("/t/c") != "" {
			t.Errorf("after the restart: %v", disk.files)
		}
		wantLines(t, log, "file removed, as its definition was", 1)
	})
}

func TestChangedFileIsNotTakenAwayAndNotFoughtOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: time.Hour}
		set := onDisk(disk, source, "a", "b")
		set[0].DeleteRemoved, set[1].RemoveExpired = true, true
		var out hosttest.Buffer
		log := silent()
		log.Out = &out
		a := started(t, log, set...)
		source.set(func() { source.fail = func(time.Time) error { return errors.New("down") } })
		disk.put("/t/a", "another's")
		a.Replace(t.Context(), set[1:])
		time.Sleep(time.Hour - time.Second)
		disk.put("/t/b", "another's")
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if disk.at("/t/a") != "another's" || disk.at("/t/b") != "another's" {
			t.Errorf("files %v", disk.files)
		}
		if left, _ := a.Leftovers(t.Context()); len(left) != 0 {
			t.Errorf("leftovers %v", left)
		}
		if n := strings.Count(out.String(), "not removed"); n > 1 {
			t.Errorf("%d lines of removal:\n%s", n, out.String())
		}
	})
}

func TestFileThatCannotGoWithItsDefinitionIsALeftoverStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		set := onDisk(disk, source, "a", "b")
		set[0].DeleteRemoved = true
		runFor(t, time.Minute, records, set...)
		records.stubborn = true
		log := runFor(t, 150*time.Minute, records, set[1:]...)
		if n := strings.Count(log, "file of a removed definition"); n != 3 || disk.at("/t/a") == "" || len(records.all) != 2 {
			t.Errorf("said %d times, %d records:\n%s", n, len(records.all), log)
		}
		records.stubborn = false
		runFor(t, time.Minute, records, set[1:]...)
		if disk.at("/t/a") != "" || len(records.all) != 1 {
			t.Errorf("the file is %q, %d records", disk.at("/t/a"), len(records.all))
		}
	})
}

func TestExpiredTokenIsTakenAwayIfThatIsWanted(t *testing.T) {
	for _, remove := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := &fakeDisk{}
			begin := time.Now()
			source := &fakeSource{life: time.Hour, fail: func(now time.Time) error {
				if d := now.Sub(begin); d > time.Minute && d < 3*time.Hour {
					return errors.New("down")
				}
				return nil
			}}
			set := onDisk(disk, source, "a")
			set[0].RemoveExpired = remove
			a := started(t, silent(), set...)
			time.Sleep(59 * time.Minute)
			if disk.at("/t/a") != "token.1" {
				t.Errorf("before it expires: %q", disk.at("/t/a"))
			}
			time.Sleep(2 * time.Minute)
			all, _ := a.Status(t.Context())
			if gone := disk.at("/t/a") == ""; gone != remove || gone != (all[0].State == Missing) {
				t.Errorf("remove %v: %q, %s", remove, disk.at("/t/a"), all[0].State)
			}
			time.Sleep(3 * time.Hour)
			if disk.at("/t/a") == "" || disk.at("/t/a") == "token.1" {
				t.Errorf("after the outage: %q", disk.at("/t/a"))
			}
		})
	}
}
