package agent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// A fakeValidator remembers which tokens it was given, and when.
type fakeValidator struct {
	mu    sync.Mutex
	takes time.Duration
	fail  error
	tried []string
	at    []time.Time
	now   int
	most  int // at a time
	ended int
}

func (v *fakeValidator) Validate(ctx context.Context, t Token) error {
	v.mu.Lock()
	v.tried, v.at = append(v.tried, t.Secret.Reveal()), append(v.at, time.Now())
	v.now++
	v.most = max(v.most, v.now)
	takes := v.takes
	v.mu.Unlock()
	var err error
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		err = ctx.Err()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now--
	v.ended++
	return errors.Join(err, v.fail)
}

func (v *fakeValidator) set(f func()) { v.mu.Lock(); defer v.mu.Unlock(); f() }
func (v *fakeValidator) said() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.tried, " ")
}
func (v *fakeValidator) times() int { v.mu.Lock(); defer v.mu.Unlock(); return len(v.at) }

// validated is a token of that life in one file, whose successors v tries.
func validated(v *fakeValidator, life time.Duration) (Renewer, *fakeSource, *fakeSink) {
	source, sink := &fakeSource{life: life}, &fakeSink{path: "/t/a"}
	r := Renewer{Name: "a", Source: source, Sinks: targets(sink), Digest: "1", Required: true}
	r.Validation = v.validation()
	return r, source, sink
}

// validatedOnDisk is the same on a disk that outlives agents.
func validatedOnDisk(disk *fakeDisk, source *fakeSource, v *fakeValidator) []Renewer {
	r := onDisk(disk, source, "a")
	r[0].Validation = v.validation()
	return r
}

func (v *fakeValidator) validation() Validation {
	return Validation{Validate: v.Validate, Key: "try", Queue: "try"}
}

// after is the status of the only token when that time has passed.
func after(t *testing.T, a *Agent, d time.Duration) Status {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	return statusOf(t, a, "a")
}

func (s *fakeSink) text() string { t, _ := s.holds(); return t.Secret.Reveal() }

var errRefused = errors.New("/try: exit status 1")

func TestANewTokenIsTriedOnceBeforeItIsInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeValidator{takes: 5 * time.Second}
		r, _, sink := validated(v, time.Hour)
		a := started(t, silent(), r)
		time.Sleep(4 * time.Second)
		if sink.text() != "" {
			t.Error("a token was installed before its validation had ended")
		}
		s := after(t, a, 31*time.Minute)
		if v.said() != "token.1 token.2" || sink.text() != "token.2" || s.Failing != nil || s.Waiting || s.Unvalidated != "" {
			t.Errorf("tried %q, in place %q, status %+v", v.said(), sink.text(), s)
		}
	})
}

func TestATokenThatFailsWaitsWhileTheOldOneStaysAndIsTriedAgainWithoutAskingTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		v, command := &fakeValidator{}, &fakeCommand{}
		r, source, sink := validated(v, time.Hour)
		a := started(t, log, hooked([]Renewer{r}, command, hooks.OnFailure, hooks.OnRecover)...)
		v.set(func() { v.fail = errRefused })
		s := after(t, a, 45*time.Minute) // it failed at 30, and 10, 30, 70, 150, 310, 610 s later
		f := s.Failing
		if sink.text() != "token.1" || source.asked() != 2 || v.times() != 1+7 || !s.Waiting || s.State != Valid {
			t.Fatalf("in place %q, asked %d times, tried %q, status %+v", sink.text(), source.asked(), v.said(), s)
		}
		if f == nil || f.Kind != "transient" || f.Error != "validation: /try: exit status 1" || f.Retry.IsZero() || f.Failures != 7 {
			t.Errorf("failing %+v", f)
		}
		v.set(func() { v.fail = nil })
		s = after(t, a, 5*time.Minute)
		if sink.text() != "token.2" || source.asked() != 2 || s.Failing != nil || s.Waiting {
			t.Errorf("in place %q, asked %d times, status %+v", sink.text(), source.asked(), s)
		}
		if got := command.said(); got != "on_failure a, on_recover a" {
			t.Errorf("hooks: %s", got)
		}
		if n := strings.Count(text(), "not validated"); n != 1 || strings.Count(text(), "works again") != 1 || strings.Contains(text(), "without validation") {
			t.Errorf("log:\n%s", text())
		}
	})
}

func TestTheNextTokenTakesThePlaceOfOneThatStillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeValidator{}
		r, source, sink := validated(v, 10*time.Hour)
		r.Schedule.At = 0.3
		started(t, silent(), r)
		v.set(func() { v.fail = errRefused })
		time.Sleep(6*time.Hour + 30*time.Second)
		synctest.Wait()
		if source.asked() != 3 || sink.text() != "token.1" || !strings.HasSuffix(v.said(), "token.2 token.3 token.3 token.3") {
			t.Errorf("asked %d times, in place %q, tried %q", source.asked(), sink.text(), v.said())
		}
	})
}

func TestATokenIsInstalledUnvalidatedWhenTheOldOneIsNearItsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		life time.Duration
		kept time.Duration // that the first token is in place
	}{
		{"of an hour", time.Hour, 57 * time.Minute},
		{"of ten minutes", 10 * time.Minute, 9 * time.Minute},
	} {
		for _, hangs := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				log, text := recording()
				v := &fakeValidator{}
				r, source, sink := validated(v, c.life)
				a := started(t, log, r)
				v.set(func() {
					v.fail = errRefused
					if hangs {
						v.takes = time.Hour
					}
				})
				time.Sleep(c.kept - time.Millisecond)
				if sink.text() != "token.1" {
					t.Fatalf("%s: %q is in place too early", c.name, sink.text())
				}
				s := after(t, a, 2*time.Millisecond)
				if sink.text() != "token.2" || source.asked() != 2 || s.Waiting || s.Failing != nil || !strings.HasPrefix(s.Unvalidated, "validation: ") {
					t.Errorf("%s, hangs %v: in place %q, asked %d times, status %+v", c.name, hangs, sink.text(), source.asked(), s)
				}
				if !strings.Contains(text(), `level=warning msg="new token is installed without validation: the one in place ends at `) {
					t.Errorf("log:\n%s", text())
				}
			})
		}
	}
}

func TestATokenIsInstalledUnvalidatedWhereThereIsNothingToKeep(t *testing.T) {
	for _, c := range []struct {
		name  string
		fail  error
		takes time.Duration
		after time.Duration // within which it is in place
	}{
		{"a failure", errRefused, time.Second, time.Second},
		{"a program that hangs", nil, time.Hour, trialPatience},
	} {
		synctest.Test(t, func(t *testing.T) {
			log, text := recording()
			v := &fakeValidator{fail: c.fail, takes: c.takes}
			r, source, sink := validated(v, time.Hour)
			a := started(t, log, r)
			time.Sleep(c.after)
			synctest.Wait()
			if sink.text() != "token.1" || !strings.Contains(text(), "without validation: no token is in place") {
				t.Fatalf("missing, %s: in place %q\n%s", c.name, sink.text(), text())
			}
			v.set(func() { v.fail, v.takes = nil, 0 })
			if c.fail == nil {
				return
			}
			v.set(func() { v.fail, v.takes = c.fail, c.takes })
			r.Digest = "2" // as of another key
			if _, err := a.Replace(t.Context(), []Renewer{r}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.after)
			synctest.Wait()
			if sink.text() != "token.2" || source.asked() != 2 || !strings.Contains(text(), "without validation: the definition or key of the token has changed") {
				t.Errorf("changed, %s: in place %q\n%s", c.name, sink.text(), text())
			}
		})
	}
}

func TestATokenThatCannotBeTriedIsInstalledWithAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		v := &fakeValidator{}
		r, source, sink := validated(v, time.Hour)
		a := started(t, log, r)
		v.set(func() {
			v.fail = &Fault{Kind: Configuration, Err: errors.New("/tyr: no such file or directory; install the program, or correct its path")}
		})
		s := after(t, a, 31*time.Minute)
		if sink.text() != "token.2" || v.times() != 2 || source.asked() != 2 || s.Failing != nil || !strings.Contains(s.Unvalidated, "/tyr: no such file") {
			t.Errorf("in place %q, tried %q, status %+v", sink.text(), v.said(), s)
		}
		if !strings.Contains(text(), "level=warning msg=\"new token is installed without validation: it cannot be validated\"") || !strings.Contains(text(), "correct its path") {
			t.Errorf("log:\n%s", text())
		}
		v.set(func() { v.fail = nil })
		if s = after(t, a, 30*time.Minute); s.Unvalidated != "" {
			t.Errorf("after a success: %+v", s)
		}
	})
}

func TestAValidationThatEndsLateIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeValidator{takes: time.Minute}
		r, _, sink := validated(v, time.Hour)
		a := started(t, silent(), r)
		early, late := after(t, a, 30*time.Second), after(t, a, time.Minute)
		if sink.text() != "token.1" || early.Unvalidated == "" || late.Unvalidated != "" || v.times() != 1 {
			t.Errorf("in place %q; before its end %q, after it %q", sink.text(), early.Unvalidated, late.Unvalidated)
		}
	})
}

func TestAValidationThatFailsLateIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		v := &fakeValidator{takes: time.Minute, fail: errRefused}
		r, _, sink := validated(v, time.Hour)
		a := started(t, log, r)
		s := after(t, a, 2*time.Minute)
		if sink.text() != "token.1" || s.Unvalidated != "validation: /try: exit status 1" {
			t.Errorf("in place %q, status %+v", sink.text(), s)
		}
		wantLines(t, text(), "the token was installed before its validation failed", 1)
	})
}

// A program that cannot be ended is told of when its time is up, and then once an hour.
func TestAValidationThatDoesNotEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		var tries atomic.Int32
		r, _, sink := validated(&fakeValidator{}, 24*time.Hour)
		r.Schedule.At = 0.5
		r.Validation.Validate = func(context.Context, Token) error {
			if tries.Add(1) > 1 {
				<-end
			}
			return nil
		}
		log, text := recording()
		a := started(t, log, r)
		s := after(t, a, 12*time.Hour+hooks.Limit+2*hangGrace)
		if sink.text() != "token.1" || s.Failing == nil || !strings.HasPrefix(s.Failing.Error, "validation: it does not end since ") {
			t.Errorf("in place %q, failing %+v", sink.text(), s.Failing)
		}
		after(t, a, 2*betweenLogLines+time.Minute)
		wantLines(t, text(), "new token not validated; the one in place is kept", 1)
		wantLines(t, text(), "new token still not validated", 2)
		close(end)
		if s = after(t, a, time.Second); sink.text() != "token.2" || s.Failing != nil {
			t.Errorf("in place %q, failing %+v", sink.text(), s.Failing)
		}
	})
}

func TestATokenThatWaitsIsTriedInTimeThoughTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, v := &steppedClock{}, &fakeValidator{}
		r, source, sink := validated(v, 10*time.Hour)
		r.Source, r.Schedule.At = clock.source(source), 0.5
		a := clock.started(t, nil, r)
		v.set(func() { v.fail = errRefused })
		after(t, a, 5*time.Hour+10*time.Minute+20*time.Second) // it was tried 10 s before, and is tried every five minutes
		clock.step(-50 * time.Second)
		v.set(func() { v.fail = nil })
		if after(t, a, 5*time.Minute); sink.text() != "token.2" || source.asked() != 2 {
			t.Errorf("in place %q, asked %d times", sink.text(), source.asked())
		}
	})
}

// waiting is an agent whose second token waits, as its validation fails.
func waiting(t *testing.T, v *fakeValidator, r Renewer) *Agent {
	t.Helper()
	a := started(t, silent(), r)
	v.set(func() { v.fail = errRefused })
	if s := after(t, a, 35*time.Minute); !s.Waiting {
		t.Fatalf("no token waits: %+v", s)
	}
	return a
}

func TestAReloadWithoutValidationInstallsTheTokenThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeValidator{}
		r, source, sink := validated(v, time.Hour)
		a := waiting(t, v, r)
		r.Validation = Validation{}
		if _, err := a.Replace(t.Context(), []Renewer{r}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s := statusOf(t, a, "a")
		if sink.text() != "token.2" || source.asked() != 2 || s.Failing != nil || s.Waiting {
			t.Errorf("in place %q, asked %d times, status %+v", sink.text(), source.asked(), s)
		}
		time.Sleep(26 * time.Minute) // nothing of the former validation is left
		if sink.text() != "token.3" {
			t.Errorf("in place %q", sink.text())
		}
	})
}

// The program of the former validation cannot be ended.
func TestNothingIsToldOfAValidationThatHangsAfterItsBlockWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		r, _, sink := validated(&fakeValidator{}, 24*time.Hour)
		r.Validation.Validate = func(context.Context, Token) error { <-end; return nil }
		log, text := recording()
		a := started(t, log, r)
		time.Sleep(5 * time.Second)
		r.Validation = Validation{}
		if _, err := a.Replace(t.Context(), []Renewer{r}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if strings.Contains(text(), "validat") || sink.text() != "token.1" {
			t.Errorf("in place %q, and the log is %s", sink.text(), text())
		}
		close(end)
	})
}

func TestAReloadTriesTheTokenThatWaitsAtOnceAndWithTheNewProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeValidator{}
		r, source, sink := validated(v, time.Hour)
		a := waiting(t, v, r)
		v.set(func() { v.takes = time.Hour })
		if _, err := a.Replace(t.Context(), []Renewer{r}); err != nil { // now the old program hangs
			t.Fatal(err)
		}
		synctest.Wait()
		other := &fakeValidator{}
		r.Validation = Validation{Validate: other.Validate, Key: "other", Queue: "try"}
		if _, err := a.Replace(t.Context(), []Renewer{r}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if sink.text() != "token.2" || source.asked() != 2 || other.said() != "token.2" || v.now != 0 {
			t.Errorf("in place %q, asked %d times, tried %q, %d of the old run", sink.text(), source.asked(), other.said(), v.now)
		}
	})
}

func TestAStopEndsTheValidationAndTheNextAgentIssuesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, v := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeValidator{}
		records := &fakeRecords{disk: disk}
		set := func() []Renewer { return validatedOnDisk(disk, source, v) }
		runFor(t, 10*time.Minute, records, set()...)
		v.set(func() { v.fail, v.takes = errRefused, 20*time.Second })
		runFor(t, 30*time.Minute, records, set()...)
		if disk.at("/t/a") != "token.1" || v.now != 0 {
			t.Fatalf("in place %q, %d still run", disk.at("/t/a"), v.now)
		}
		asked := source.asked()
		v.set(func() { v.fail, v.takes = nil, 0 })
		runFor(t, time.Minute, records, set()...)
		if source.asked() != asked+1 || disk.at("/t/a") != "token.3" {
			t.Errorf("asked %d times more, in place %q", source.asked()-asked, disk.at("/t/a"))
		}
	})
}

func TestOnceEndsWithATokenThatIsNotValidated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, v := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeValidator{}
		records, r := &fakeRecords{disk: disk}, validatedOnDisk(disk, source, v)
		runFor(t, 10*time.Minute, records, r...)
		v.set(func() { v.fail = errRefused })
		a := New(hostClock, silent(), r)
		a.Remember(records)
		a.Force()
		begin := time.Now()
		all := a.Once(t.Context())
		if !all[0].Waiting || all[0].Failing == nil || time.Since(begin) > time.Minute || disk.at("/t/a") != "token.1" {
			t.Errorf("after %s: %+v, in place %q", time.Since(begin), all[0], disk.at("/t/a"))
		}
	})
}

func TestValidationsThatHangDelayNoOtherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var renewers []Renewer
		hang, good := &fakeValidator{takes: time.Hour}, &fakeValidator{}
		var sinks []*fakeSink
		for i := range 100 {
			r, _, sink := validated(hang, time.Hour)
			r.Name, sink.path = "hang"+string(rune('0'+i)), "/hang/"+string(rune('0'+i))
			r.Sinks = targets(sink)
			renewers, sinks = append(renewers, r), append(sinks, sink)
		}
		r, _, sink := validated(good, time.Hour)
		r.Name, r.Validation.Queue = "good", "good"
		renewers = append(renewers, r)
		started(t, silent(), renewers...)
		time.Sleep(time.Second)
		synctest.Wait()
		if sink.text() != "token.1" {
			t.Error("a token waits for the validation of others")
		}
		time.Sleep(trialPatience)
		synctest.Wait()
		for i, s := range sinks {
			if s.text() != "token.1" {
				t.Errorf("token %d is not in place, though there is nothing to keep", i)
			}
		}
		if hang.most > trialRoom {
			t.Errorf("%d at a time", hang.most)
		}
	})
}

func TestARefreshWaitsForTheValidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeValidator{}
		r, _, sink := validated(v, time.Hour)
		a := waiting(t, v, r)
		v.set(func() { v.takes = 20 * time.Second })
		begin := time.Now()
		all, err := a.Refresh(t.Context())
		if err != nil || all[0].Failing == nil || !all[0].Waiting || time.Since(begin) != 20*time.Second || !strings.HasSuffix(v.said(), "token.3") {
			t.Errorf("after %s: %+v, %v; tried %q", time.Since(begin), all, err, v.said())
		}
		v.set(func() { v.fail = nil })
		if all, err = a.Refresh(t.Context()); err != nil || all[0].Failing != nil || sink.text() != "token.4" {
			t.Errorf("%+v, %v; in place %q", all, err, sink.text())
		}
	})
}

// systemd waits for the first pass of a start: a program that hangs must not delay it
// while readers have a token.
func TestAStartDoesNotWaitForAValidationWhileTheOldTokenIsGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, v := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeValidator{}
		records, r := &fakeRecords{disk: disk}, validatedOnDisk(disk, source, v)
		runFor(t, 10*time.Minute, records, r...)
		time.Sleep(25 * time.Minute) // it is due
		v.set(func() { v.takes = 20 * time.Minute })
		a := New(hostClock, silent(), r)
		a.Remember(records)
		begun(t, a)
		begin := time.Now()
		if err := a.Settled(t.Context()); err != nil || time.Since(begin) > adoptPatience || v.said() != "token.1 token.2" {
			t.Errorf("settled after %s, %v; tried %q", time.Since(begin), err, v.said())
		}
	})
}

func TestAFileThatSomebodyRemovesIsWrittenAgainWhileANewTokenWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeValidator{}
		r, source, sink := validated(v, time.Hour)
		a := waiting(t, v, r)
		sink.set(func() { sink.difference = "it is gone"; sink.token = Token{} })
		a.Touched(t.Context(), "/t/a")
		time.Sleep(time.Second)
		synctest.Wait()
		if sink.text() != "token.1" || source.asked() != 2 {
			t.Errorf("in place %q, asked %d times", sink.text(), source.asked())
		}
	})
}

func TestAnAdoptedFileThatSomebodyRemovesIsReplacedByTheTokenThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, v := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeValidator{}
		records, r := &fakeRecords{disk: disk}, validatedOnDisk(disk, source, v)
		runFor(t, 10*time.Minute, records, r...)
		v.set(func() { v.fail = errRefused })
		a := New(hostClock, silent(), r)
		a.Remember(records)
		begun(t, a)
		if s := after(t, a, 25*time.Minute); !s.Waiting || disk.at("/t/a") != "token.1" {
			t.Fatalf("%+v, in place %q", s, disk.at("/t/a"))
		}
		disk.put("/t/a", "")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if disk.at("/t/a") != "token.2" || source.asked() != 2 {
			t.Errorf("in place %q, asked %d times", disk.at("/t/a"), source.asked())
		}
	})
}

func TestInstallAt(t *testing.T) {
	came := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return came.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name                 string
		until, expires, want time.Time
	}{
		{"a good one is in place", at(1000), at(1100), at(1000)},
		{"its end is near", at(-5), at(55), at(10)},
		{"its end is very near", at(-50), at(12), at(2)},
		{"it has ended", at(-100), at(-40), at(-50)},
		{"none is in place", time.Time{}, time.Time{}, at(10)},
		{"its definition has changed", time.Time{}, at(1000), at(10)},
		{"nobody knows its end", at(600), never, at(600)},
	} {
		if got := installAt(c.until, c.expires, came); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
