package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// fought is an agent that has adopted a file which another program replaces
// every five seconds, for as long as d.
func fought(t *testing.T, source *fakeSource, d time.Duration) (again int) {
	disk := &fakeDisk{}
	records := &fakeRecords{disk: disk}
	fail := source.fail
	source.fail = nil
	runFor(t, time.Minute, records, onDisk(disk, source, "a")...)
	source.set(func() { source.fail = fail })
	a := restarted(t, records, onDisk(disk, source, "a")...)
	before := source.asked()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
		disk.put("/t/a", "foreign")
		a.Touched(t.Context(), "/t/a")
	}
	return source.asked() - before
}

func TestFileThatIsTouchedAllTheTimePostponesNoRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{life: time.Hour}
		source.fail = func(time.Time) error {
			if source.asked() == 2 {
				return errors.New("connection reset")
			}
			return nil
		}
		if n := fought(t, source, 5*time.Hour); n < 10 || n > 12 { // one fails; one every half an hour
			t.Errorf("asked %d times in five hours", n)
		}
	})
}

func TestFileThatIsTouchedAllTheTimeBypassesNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{life: 24 * time.Hour, fail: func(time.Time) error {
			return &Fault{Kind: Configuration, Err: errors.New("invalid_client")}
		}}
		if n := fought(t, source, 2*time.Hour); n < 6 || n > 15 { // three at once, then every 10 to 30 minutes
			t.Errorf("asked %d times in two hours", n)
		}
	})
}

func TestTouchBeforeTheFirstTokenIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		source := &fakeSource{fail: func(time.Time) error { return &Fault{Kind: Configuration, Err: errors.New("invalid_client")} }}
		a := started(t, log, Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a", difference: "it is gone"})})
		for range 100 {
			time.Sleep(30 * time.Second)
			a.Touched(t.Context(), "/t/a")
		}
		if n := source.asked(); n > 8 || strings.Count(text(), "\n") != 1 {
			t.Errorf("asked %d times; log:\n%s", n, text())
		}
	})
}

func TestOneConfigurationFaultAfterAnOutageWaitsLikeTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, wrong := time.Now(), 0
		source := &fakeSource{life: time.Hour, fail: func(now time.Time) error {
			switch since := now.Sub(begin); {
			case since > time.Minute && since < 55*time.Minute:
				return errors.New("connection refused")
			case since > time.Minute && wrong == 0:
				wrong++
				return &Fault{Kind: Configuration, Err: errors.New("invalid_client")}
			}
			return nil
		}}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"})})
		time.Sleep(56 * time.Minute)
		if all, err := a.Status(t.Context()); err != nil || wrong != 1 || all[0].Failing != nil {
			t.Errorf("%+v, %v, wrong %d times", all, err, wrong)
		}
	})
}

func TestErrorKeepsWhereItHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{fail: func(time.Time) error {
			return fmt.Errorf("key /etc/k: %w", &Fault{Kind: Configuration, Err: errors.New("permission denied")})
		}}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"})})
		all, err := a.Status(t.Context())
		if err != nil || all[0].Failing == nil || all[0].Failing.Error != "key /etc/k: permission denied" || all[0].Failing.Kind != "configuration" {
			t.Errorf("%+v, %v", all[0].Failing, err)
		}
	})
}

// A stuckDisk cannot take away what lies there.
type stuckDisk struct {
	diskSink
	tries  atomic.Int32
	mended atomic.Bool
}

func (s *stuckDisk) Remove(ctx context.Context) error {
	if s.tries.Add(1); !s.mended.Load() {
		return errors.New("read-only file system")
	}
	return s.diskSink.Remove(ctx)
}

func TestRemovalThatFailsIsTriedLikeAWriteAndToldOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, begin := &fakeDisk{}, time.Now()
		source := &fakeSource{life: time.Hour, fail: func(now time.Time) error {
			if now.Sub(begin) > time.Minute {
				return errors.New("down")
			}
			return nil
		}}
		sink := &stuckDisk{diskSink: diskSink{disk: disk, path: "/t/a"}}
		log, text := recording()
		a := started(t, log, Renewer{Name: "a", Source: source, Sinks: targets(sink), RemoveExpired: true})
		time.Sleep(4*time.Hour - time.Minute)
		if n := sink.tries.Load(); n < 340 || n > 370 { // for three hours, in the end every 30 s
			t.Errorf("tried %d times", n)
		}
		first, again := strings.Count(text(), "expired token not removed"), strings.Count(text(), "expired token still not removed")
		if first != 1 || again != 2 {
			t.Errorf("told %d times and %d times; log:\n%s", first, again, text())
		}
		all, err := a.Status(t.Context())
		if f := all[0].Sinks[0].Failing; err != nil || all[0].State != Expired || f == nil || f.Kind != "writing" {
			t.Errorf("%+v, %v", all, err)
		}
		sink.mended.Store(true)
		time.Sleep(time.Minute)
		if disk.at("/t/a") != "" || strings.Count(text(), "expired token removed") != 1 {
			t.Errorf("%q; log:\n%s", disk.at("/t/a"), text())
		}
	})
}

// A wildDisk panics in one of its methods.
type wildDisk struct {
	diskSink
	in string
}

func (s *wildDisk) panics(in string) {
	if s.in == in {
		panic("eyJ")
	}
}

func (s *wildDisk) Put(ctx context.Context, t Token) (Written, error) {
	s.panics("Put")
	return s.diskSink.Put(ctx, t)
}

func (s *wildDisk) Look(ctx context.Context) (string, error) {
	s.panics("Look")
	return s.diskSink.Look(ctx)
}

func (s *wildDisk) Adopt(ctx context.Context, m json.RawMessage) (string, error) {
	s.panics("Adopt")
	return s.diskSink.Adopt(ctx, m)
}

func (s *wildDisk) Remove(ctx context.Context) error {
	s.panics("Remove")
	return s.diskSink.Remove(ctx)
}

func (s *wildDisk) Read(ctx context.Context) (Secret, error) {
	s.panics("Read")
	return s.diskSink.Read(ctx)
}

func TestTheLogSaysWhenATokenThatFailsExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		source := &fakeSource{life: time.Hour, fail: down}
		started(t, log, Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"})})
		if strings.Contains(text(), "expires=") {
			t.Errorf("there is no token yet:\n%s", text())
		}
		source.set(func() { source.fail = nil })
		time.Sleep(20 * time.Minute)
		source.set(func() { source.fail = down })
		expires := "expires=\"" + stamp(time.Now().Add(40 * time.Minute))[:13]
		time.Sleep(3 * time.Hour)
		for words, n := range map[string]int{`msg="token not renewed"`: 2, `msg="token has expired; token still not renewed"`: 1, `msg="token still not renewed"`: 2} {
			wantLines(t, text(), words, n)
		}
		for _, line := range strings.Split(text(), "\n") {
			if strings.Contains(line, "still not renewed") && !strings.Contains(line, expires) {
				t.Errorf("no %s in %s", expires, line)
			}
		}
	})
}

func TestAFileThatSomebodyElseKeepsChangingIsLoggedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		sink := &fakeSink{path: "/t/a"}
		started(t, log, Renewer{Name: "a", Source: &fakeSource{life: 24 * time.Hour}, Sinks: targets(sink)})
		for range 18 {
			sink.set(func() { sink.difference = "its mode is 0644, not 0600" })
			time.Sleep(10 * time.Minute)
		}
		if _, puts := sink.holds(); puts != 19 {
			t.Errorf("it was written %d times", puts)
		}
		wantLines(t, text(), "somebody else changed the file: its mode is 0644, not 0600", 3)
	})
}

// An endingSource first gives a token that is about to expire, as an issuer does that gives
// the same one until its end.
type endingSource struct{ fakeSource }

func (s *endingSource) Issue(ctx context.Context, r Request) (Token, error) {
	t, err := s.fakeSource.Issue(ctx, r)
	if s.asked() == 1 {
		t.Expires = t.Issued.Add(leastUse / 2)
	}
	return t, err
}

func TestATokenThatIsAboutToExpireIsAskedForAgainRightAfterThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &endingSource{fakeSource{life: time.Hour}}, &fakeSink{path: "/t/a"}
		started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink)})
		time.Sleep(time.Minute)
		at := source.times()
		if len(at) != 2 || at[1].Sub(at[0]) != leastUse/2+afterEnd || sink.text() != "token.2" {
			t.Errorf("asked at %v, in place %q", at, sink.text())
		}
	})
}

// A flakySink cannot be looked at once.
type flakySink struct {
	fakeSink
	failed atomic.Bool
}

func (s *flakySink) Look(ctx context.Context) (string, error) {
	if s.failed.CompareAndSwap(false, true) {
		return "", errors.New("permission denied")
	}
	return s.fakeSink.Look(ctx)
}

func TestAFileIsLookedAtAgainAfterALookThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &flakySink{fakeSink: fakeSink{path: "/t/a"}}
		started(t, silent(), Renewer{Name: "a", Source: &fakeSource{life: 24 * time.Hour}, Sinks: targets(sink)})
		time.Sleep(5 * time.Minute)
		sink.set(func() { sink.difference, sink.token = "it is gone", Token{} })
		time.Sleep(5 * time.Minute)
		if _, puts := sink.holds(); puts != 2 || !sink.failed.Load() {
			t.Errorf("it was written %d times", puts)
		}
	})
}

func TestATokenThatExpiresSoonerReplacesNoneAfterAFailureEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &fakeSource{life: 24 * time.Hour}, &fakeSink{path: "/t/a"}
		started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink)})
		source.set(func() { source.fail = down })
		time.Sleep(16*time.Hour + time.Minute)
		source.set(func() { source.fail, source.life = nil, 10*time.Minute })
		time.Sleep(time.Hour)
		if sink.text() != "token.1" || source.asked() < 3 {
			t.Errorf("asked %d times, in place %q", source.asked(), sink.text())
		}
	})
}

// What somebody throws may hold a secret; what the runtime says holds none.
func TestAPanicShowsOnlyWhatTheRuntimeSays(t *testing.T) {
	var none []int
	for want, f := range map[string]func(){
		"panic; please report this defect of tokenagent":                                                      func() { panic("eyJ") },
		"panic: runtime error: index out of range [0] with length 0; please report this defect of tokenagent": func() { none[0]++ },
	} {
		f, ok := errors.AsType[*Fault](shielded(f))
		if !ok || f.Kind != Configuration || f.Error() != want {
			t.Errorf("got %v, want %s", f, want)
		}
	}
	if err := shielded(func() {}); err != nil {
		t.Error(err)
	}
}

func TestPanicOfASinkHarmsNothingElse(t *testing.T) {
	for _, in := range []string{"Put", "Look", "Adopt", "Remove", "Read"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, begin := &fakeDisk{}, time.Now()
				source := &fakeSource{life: time.Hour, fail: func(now time.Time) error {
					if since := now.Sub(begin); since > 2*time.Hour && since < 5*time.Hour {
						return errors.New("down")
					}
					return nil
				}}
				set := func(in string) []Renewer {
					r := onDisk(disk, source, "a", "b")
					for i := range r {
						r[i].RemoveExpired = true
					}
					r[0].Sinks = targets(&wildDisk{diskSink{disk: disk, path: "/t/a"}, in})
					return hooked(r, &fakeCommand{}, hooks.OnFirst)
				}
				records := &fakeRecords{disk: disk}
				runFor(t, time.Minute, records, set("")...)
				a := restarted(t, records, set(in)...)
				time.Sleep(30 * time.Minute)
				disk.put("/t/a", "another's")
				time.Sleep(6 * time.Hour)
				all, err := a.Status(t.Context())
				if err != nil || all[1].State != Valid || all[1].Failing != nil {
					t.Errorf("b: %+v, %v", all, err)
				}
				if in == "Put" || in == "Read" { // nothing can be written so
					if all[0].Failing == nil || !strings.Contains(all[0].Failing.Error, "panic") {
						t.Errorf("a: %+v", all[0])
					}
				} else if all[0].State != Valid || all[0].Failing != nil || !strings.HasPrefix(disk.at("/t/a"), "token.") {
					t.Errorf("a: %+v, %q", all[0], disk.at("/t/a"))
				}
				if s := fmt.Sprintf("%+v", all); strings.Contains(s, "eyJ") {
					t.Errorf("the status shows what was thrown: %s", s)
				}
			})
		})
	}
}

// A fullDisk takes nothing, and its file may have another mode.
type fullDisk struct {
	diskSink
	full bool
	mode string // what differs of it
}

func (s *fullDisk) Put(ctx context.Context, t Token) (Written, error) {
	if s.full {
		return Written{}, errors.New("no space left on device")
	}
	return s.diskSink.Put(ctx, t)
}

func (s *fullDisk) Look(ctx context.Context) (string, error) {
	if d, err := s.diskSink.Look(ctx); d != "" {
		return d, err
	}
	return s.mode, nil
}

func TestStateIsWhatReadersFindWhileNothingCanBeWritten(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fullDisk)
		want   State
	}{
		"chmodded": {func(s *fullDisk) { s.mode = "its mode is 0640, not 0600" }, Valid},
		"gone":     {func(s *fullDisk) { s.disk.put("/t/a", "") }, Missing},
		"another":  {func(s *fullDisk) { s.disk.put("/t/a", "another's") }, Missing},
	} {
		for _, adopted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s_adopted_%v", name, adopted), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
					records := &fakeRecords{disk: disk}
					sink := &fullDisk{diskSink: diskSink{disk: disk, path: "/t/a"}}
					set := []Renewer{{Name: "a", Digest: "1", Source: source, Decode: decodeFake, Sinks: targets(sink)}}
					if adopted {
						runFor(t, time.Minute, records, set...)
						source.fail = func(time.Time) error { return errors.New("down") }
					}
					a := restarted(t, records, set...)
					time.Sleep(time.Second)
					synctest.Wait()
					sink.full = true
					c.change(sink)
					a.Touched(t.Context(), "/t/a")
					for range 5 { // at once, and as long as it lasts
						time.Sleep(2 * time.Second)
						if all, err := a.Status(t.Context()); err != nil || all[0].State != c.want || all[0].Failing == nil {
							t.Errorf("%+v, %v", all, err)
						}
						time.Sleep(time.Minute)
					}
				})
			})
		}
	}
}

// A slowAdopter answers, but not fast.
type slowAdopter struct{ diskSink }

func (s *slowAdopter) Adopt(ctx context.Context, m json.RawMessage) (string, error) {
	time.Sleep(40 * time.Millisecond)
	return s.diskSink.Adopt(ctx, m)
}

func TestSlowFolderAtTheStartMakesNoTokenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		set := func() (r []Renewer) {
			for i := range 500 { // two at a time take ten seconds
				r = append(r, Renewer{Name: fmt.Sprint(i), Digest: "1", Source: source,
					Sinks: targets(&slowAdopter{diskSink{disk: disk, path: fmt.Sprint("/t/", i)}})})
			}
			return r
		}
		runFor(t, 20*time.Second, records, set()...)
		before := source.asked()
		runFor(t, 20*time.Second, records, set()...)
		if n := source.asked() - before; before != 500 || n != 0 {
			t.Errorf("asked %d times, and %d times after the restart", before, n)
		}
	})
}
