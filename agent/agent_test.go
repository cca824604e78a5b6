package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A fakeSource issues tokens of one life, unless it is told to fail or hang.
type fakeSource struct {
	mu    sync.Mutex
	life  time.Duration
	takes time.Duration
	fail  func(now time.Time) error
	at    []time.Time // when it was asked
}

// times are when it was asked, so far.
func (s *fakeSource) times() []time.Time { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.at) }

func (s *fakeSource) Issue(ctx context.Context, _ Request) (Token, error) {
	s.mu.Lock()
	now := time.Now()
	s.at = append(s.at, now)
	n, fail, life := len(s.at), s.fail, s.life
	s.mu.Unlock()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	if fail != nil {
		if err := fail(now); err != nil {
			return Token{}, err
		}
	}
	return Token{Secret: NewSecret(fmt.Sprintf("token.%d", n)), Issued: now, Expires: now.Add(life)}, nil
}

func (s *fakeSource) set(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

func (s *fakeSource) asked() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.at) }

// A fakeSink remembers what was put, and when.
type fakeSink struct {
	mu         sync.Mutex
	path       string
	takes      time.Duration
	fail       error
	difference string
	token      Token
	puts       int
	looks      int
}

func (s *fakeSink) Path() string { return s.path }

// targets are the sinks as files, those that have a path.
func targets(sinks ...Sink) (all []Target) {
	for _, s := range sinks {
		t := Target{Sink: s}
		if file, ok := s.(interface{ Path() string }); ok {
			t.Name, t.Queue, t.Path = file.Path(), path.Dir(file.Path()), file.Path()
		}
		all = append(all, t)
	}
	return all
}

func (s *fakeSink) Put(_ context.Context, t Token) (Written, error) {
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.fail != nil {
		return Written{}, s.fail
	}
	s.token, s.difference = t, ""
	return Written{Changed: true}, nil
}

func (s *fakeSink) Look(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return s.difference, nil
}

func (s *fakeSink) Read(context.Context) (Secret, error) { return Secret{}, fs.ErrNotExist }

func (s *fakeSink) Adopt(context.Context, json.RawMessage) (string, error) {
	return "it is another", nil
}

func (s *fakeSink) Remove(context.Context) error { return nil }

func (s *fakeSink) set(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

func (s *fakeSink) holds() (Token, int) { s.mu.Lock(); defer s.mu.Unlock(); return s.token, s.puts }

// recording is a log that can be read, once everything is quiet.
func recording() (log *logrus.Logger, text func() string) {
	out := new(hosttest.Buffer)
	log = silent()
	log.Out = out
	return log, func() string { synctest.Wait(); return out.String() }
}

func silent() *logrus.Logger {
	l := logrus.New()
	l.Out = io.Discard
	return l
}

// mute is a log that does not even put a line together: for a great many.
func mute() *logrus.Logger {
	l := silent()
	l.Level = logrus.PanicLevel
	return l
}

// started runs an agent in a synctest bubble until the test ends.
func started(t *testing.T, log logrus.FieldLogger, renewers ...Renewer) *Agent {
	return begun(t, New(hostClock, log, renewers))
}

// begun does so with an agent that was prepared.
func begun(t *testing.T, a *Agent) *Agent {
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { watched(a).Run(ctx); close(ran) }()
	t.Cleanup(func() { cancel(); <-ran })
	synctest.Wait()
	return a
}

func TestTokenIsWrittenAtOnceAndRenewedAtHalfOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &fakeSource{life: time.Hour}, &fakeSink{path: "/t/a"}
		started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink)})
		if _, puts := sink.holds(); puts != 1 {
			t.Fatalf("%d puts at the start", puts)
		}
		time.Sleep(29 * time.Minute)
		if n := source.asked(); n != 1 {
			t.Errorf("asked %d times before it was due", n)
		}
		time.Sleep(2 * time.Minute)
		if n := source.asked(); n != 2 {
			t.Errorf("asked %d times after it was due", n)
		}
		if got, _ := sink.holds(); got.Secret.Reveal() != "token.2" {
			t.Errorf("the sink holds %s", got.Secret.Reveal())
		}
	})
}

func TestFailureIsLoggedOnceThenHourlyAndItsEndWithItsLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out hosttest.Buffer
		log := silent()
		log.Out = &out
		begin := time.Now()
		source := &fakeSource{life: 24 * time.Hour, fail: func(now time.Time) error {
			if since := now.Sub(begin); since > 15*time.Hour && since < 19*time.Hour {
				return errors.New("connection refused")
			}
			return nil
		}}
		started(t, log, Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"})})
		time.Sleep(20 * time.Hour)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		count := func(word string) (n int) {
			for _, l := range lines {
				if strings.Contains(l, word) {
					n++
				}
			}
			return n
		}
		if count("token not renewed") != 1 || count("token still not renewed") != 2 || count("works again") != 1 || len(lines) != 6 {
			t.Errorf("log:\n%s", out.String())
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "works again") && strings.Contains(l, "renew_at=") }) {
			t.Errorf("what happens next is not told:\n%s", out.String())
		}
		if !strings.Contains(out.String(), `outage="3h`) && !strings.Contains(out.String(), "outage=3h") {
			t.Errorf("the length of the outage is not told:\n%s", out.String())
		}
	})
}

func TestHangingSourceOrFolderDelaysNoOtherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := &hanging{release: make(chan struct{})}
		var renewers []Renewer
		for i := range 1000 {
			name := fmt.Sprint("hung", i)
			renewers = append(renewers, Renewer{Name: name, Issuer: queue.Issuer{Name: "https://hangs.example.org"}, Source: hang, Sinks: targets(&fakeSink{path: "/hung/" + name})})
		}
		stuck := &hangingSink{fakeSink: fakeSink{path: "/nfs/x"}, release: hang.release}
		renewers = append(renewers, Renewer{Name: "nfs", Source: &fakeSource{life: time.Hour}, Sinks: targets(stuck)})
		begin := time.Now()
		var local []*fakeSink
		for i := range 100 {
			s := &fakeSink{path: fmt.Sprint("/local/", i)}
			local = append(local, s)
			renewers = append(renewers, Renewer{Name: fmt.Sprint("local", i), Source: &fakeSource{life: time.Hour}, Sinks: targets(s)})
		}
		started(t, silent(), renewers...)
		time.Sleep(time.Second)
		for i, s := range local {
			if got, _ := s.holds(); got.Issued.Sub(begin) > time.Second || got.IsZero() {
				t.Errorf("local token %d came after %v", i, got.Issued.Sub(begin))
			}
		}
		if n := hang.most(); n > 8 {
			t.Errorf("%d attempts at the hanging source at a time", n)
		}
		close(hang.release)
	})
}

// hanging never answers, not even when it is told to stop.
type hanging struct {
	mu      sync.Mutex
	now     int
	highest int
	release chan struct{}
}

func (h *hanging) Issue(context.Context, Request) (Token, error) {
	h.mu.Lock()
	h.now++
	h.highest = max(h.highest, h.now)
	h.mu.Unlock()
	<-h.release
	return Token{}, errors.New("hung")
}

func (h *hanging) most() int { h.mu.Lock(); defer h.mu.Unlock(); return h.highest }

type hangingSink struct {
	fakeSink
	release chan struct{}
}

func (s *hangingSink) Put(context.Context, Token) (Written, error) {
	<-s.release
	return Written{}, errors.New("hung")
}

func TestManyHangingFoldersDelayOthersByASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var renewers []Renewer
		for i := range 200 {
			s := &hangingSink{fakeSink: fakeSink{path: fmt.Sprintf("/nfs%d/x", i)}, release: release}
			renewers = append(renewers, Renewer{Name: fmt.Sprint("nfs", i), Source: &fakeSource{life: time.Hour}, Sinks: targets(s)})
		}
		a := started(t, silent(), renewers...)
		time.Sleep(time.Minute)
		good := &fakeSink{path: "/local/x"}
		begin := time.Now()
		if _, err := a.Replace(t.Context(), append(renewers, Renewer{Name: "good", Source: &fakeSource{life: time.Hour}, Sinks: targets(good)})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, _ := good.holds(); got.IsZero() || got.Issued.Sub(begin) > time.Second {
			t.Errorf("the good token was late: %v", got.Issued.Sub(begin))
		}
		close(release)
	})
}

func TestReloadLeavesUnchangedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &fakeSource{life: time.Hour}, &fakeSource{life: time.Hour}
		sinks := map[string]*fakeSink{"one": {path: "/t/one"}, "two": {path: "/t/two"}, "three": {path: "/t/three"}}
		set := func(digest string, names ...string) (r []Renewer) {
			for _, n := range names {
				source := one
				d := "same"
				if n == "two" {
					source, d = two, digest
				}
				r = append(r, Renewer{Name: n, Source: source, Sinks: targets(sinks[n]), Digest: d})
			}
			return r
		}
		a := started(t, silent(), set("1", "one", "two", "three")...)
		time.Sleep(10 * time.Minute)
		got, err := a.Replace(t.Context(), set("2", "one", "two"))
		if err != nil || got != (Replaced{Changed: 1, Unchanged: 1, Removed: 1}) {
			t.Errorf("%+v, %v", got, err)
		}
		synctest.Wait()
		if one.asked() != 2 || two.asked() != 2 {
			t.Errorf("asked %d and %d times", one.asked(), two.asked())
		}
		time.Sleep(time.Hour)
		if _, puts := sinks["three"].holds(); puts != 1 {
			t.Errorf("the removed token was written %d times", puts)
		}
	})
}

func TestReloadWithAChangedScheduleMovesTheNextRenewalWithoutAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{life: time.Hour}
		r := Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"})}
		a := started(t, silent(), r)
		r.Schedule.At = 0.9
		if _, err := a.Replace(t.Context(), []Renewer{r}); err != nil {
			t.Fatal(err)
		}
		all, err := a.Status(t.Context(), "a")
		if err != nil || source.asked() != 1 {
			t.Fatalf("asked %d times, %v", source.asked(), err)
		}
		if got := time.Until(all[0].Renew); got != 54*time.Minute {
			t.Errorf("renewed in %v", got)
		}
	})
}

func TestFailedWriteIsRepeatedWithoutAskingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &fakeSource{life: time.Hour}, &fakeSink{path: "/t/a", fail: errors.New("no space left on device")}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink), Required: true})
		time.Sleep(time.Minute)
		if _, puts := sink.holds(); puts != 6 { // at 0, 1, 3, 7, 15, 31 s
			t.Errorf("%d puts in a minute", puts)
		}
		all, _ := a.Status(t.Context())
		if all[0].State != Missing || all[0].Failing == nil || all[0].Failing.Kind != "writing" {
			t.Errorf("status %+v", all[0])
		}
		sink.set(func() { sink.fail = nil })
		time.Sleep(30 * time.Second)
		if got, _ := sink.holds(); source.asked() != 1 || got.Secret.Reveal() != "token.1" {
			t.Errorf("asked %d times; the sink holds %q", source.asked(), got.Secret.Reveal())
		}
	})
}

func TestChangedFileIsWrittenAgainFromMemoryAtMostOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &fakeSource{life: 24 * time.Hour}, &fakeSink{path: "/t/a"}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink)})
		spoil := func() { sink.set(func() { sink.difference = "it is gone" }) }
		time.Sleep(5 * time.Second)
		spoil()
		a.Touched(t.Context(), "/t/a")
		synctest.Wait()
		if _, puts := sink.holds(); puts != 2 {
			t.Fatalf("%d puts after the file was removed", puts)
		}
		for range 600 { // somebody fights us ten minutes long
			spoil()
			a.Touched(t.Context(), "/t/a")
			time.Sleep(time.Second)
		}
		if _, puts := sink.holds(); puts < 10 || puts > 13 {
			t.Errorf("%d puts in ten minutes", puts)
		}
		if source.asked() != 1 {
			t.Errorf("the source was asked %d times", source.asked())
		}
	})
}

func TestRemovedFileIsFoundWithoutBeingTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{path: "/t/a"}
		started(t, silent(), Renewer{Name: "a", Source: &fakeSource{life: 24 * time.Hour}, Sinks: targets(sink)})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if _, puts := sink.holds(); puts != 1 || sink.looks < 9 || sink.looks > 10 {
			t.Errorf("%d puts, %d looks", puts, sink.looks)
		}
		sink.set(func() { sink.difference = "it is gone" })
		time.Sleep(61 * time.Second)
		if _, puts := sink.holds(); puts != 2 {
			t.Errorf("%d puts", puts)
		}
	})
}

func TestLooksAreSpreadOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var renewers []Renewer
		var sinks []*fakeSink
		for i := range 2000 {
			s := &fakeSink{path: fmt.Sprintf("/t/%d", i)}
			sinks = append(sinks, s)
			renewers = append(renewers, Renewer{Name: s.path, Source: &fakeSource{life: 24 * time.Hour}, Sinks: targets(s)})
		}
		started(t, silent(), renewers...)
		time.Sleep(61 * time.Second) // one second after the first may be looked at
		looks := 0
		for _, s := range sinks {
			s.set(func() { looks += s.looks })
		}
		if looks < 400 || looks > 502 {
			t.Errorf("%d looks in a second", looks)
		}
	})
}

func TestRefreshWaitsForTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := &fakeSource{life: time.Hour, takes: 3 * time.Second}
		bad := &fakeSource{life: time.Hour}
		a := started(t, silent(),
			Renewer{Name: "good", Source: good, Sinks: targets(&fakeSink{path: "/t/a"})},
			Renewer{Name: "bad", Source: bad, Sinks: targets(&fakeSink{path: "/t/b"})})
		time.Sleep(10 * time.Second)
		bad.set(func() {
			bad.fail = func(time.Time) error { return &Fault{Kind: Configuration, Err: errors.New("invalid_client")} }
		})
		all, err := a.Refresh(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		if all[0].Name != "bad" || all[0].Failing == nil || all[0].Failing.Error != "invalid_client" || all[0].State != Valid {
			t.Errorf("bad: %+v", all[0])
		}
		if all[1].Failing != nil || good.asked() != 2 {
			t.Errorf("good: %+v, asked %d times", all[1], good.asked())
		}
		if _, err := a.Refresh(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "bad, good") {
			t.Errorf("an unknown name: %v", err)
		}
	})
}

func TestRefreshTellsOfTheNewAttemptAndNotOfTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{path: "/t/a", fail: errors.New("no space left on device")}
		a := started(t, silent(), Renewer{Name: "a", Source: &fakeSource{life: time.Hour}, Sinks: targets(sink)})
		time.Sleep(time.Minute)
		sink.set(func() { sink.fail = nil })
		all, err := a.Refresh(t.Context(), "a")
		if err != nil || all[0].Failing != nil || all[0].State != Valid {
			t.Errorf("%+v, %v", all[0], err)
		}
	})
}

func TestFileInWhosePlaceSomethingElseLiesIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{path: "/t/a"}
		a := started(t, silent(), Renewer{Name: "a", Source: &fakeSource{life: 24 * time.Hour}, Sinks: targets(sink)})
		sink.set(func() { sink.difference, sink.fail = "it is a directory", errors.New("it is a directory") })
		time.Sleep(2 * time.Minute)
		all, err := a.Status(t.Context())
		if err != nil || all[0].State != Missing {
			t.Errorf("%+v, %v", all[0], err)
		}
	})
}

func TestSoonerExpiryIsTakenOnlyWhenSomebodyAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &fakeSource{life: 8 * time.Hour}, &fakeSink{path: "/t/a"}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink), Schedule: Schedule{At: 0.5}})
		source.set(func() { source.life = time.Hour })
		time.Sleep(4*time.Hour + time.Minute)
		if got, _ := sink.holds(); got.Secret.Reveal() != "token.1" || source.asked() != 2 {
			t.Fatalf("the sink holds %s, asked %d", got.Secret.Reveal(), source.asked())
		}
		all, _ := a.Status(t.Context())
		if all[0].Failing != nil || time.Until(all[0].Renew) > 2*time.Hour {
			t.Errorf("status %+v", all[0])
		}
		if _, err := a.Refresh(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got, _ := sink.holds(); got.Secret.Reveal() != "token.3" {
			t.Errorf("the sink holds %s", got.Secret.Reveal())
		}
	})
}

func TestRefusedTokenIsNotInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{path: "/t/a"}
		started(t, silent(), Renewer{Name: "a", Source: &fakeSource{life: time.Hour}, Sinks: targets(sink),
			Accept: func(Token) error { return &Fault{Kind: Configuration, Err: errors.New("narrowed")} }})
		time.Sleep(time.Hour)
		if _, puts := sink.holds(); puts != 0 {
			t.Errorf("%d puts", puts)
		}
	})
}

func TestClockThatIsSetBackRenewsTokensFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var offset time.Duration
		source, sink := &fakeSource{life: time.Hour}, &fakeSink{path: "/t/a"}
		failing := &fakeSource{life: time.Hour, fail: func(time.Time) error { return errors.New("down") }}
		a := New(hostClock, silent(), []Renewer{
			{Name: "a", Source: shifted{source, &offset, &mu}, Sinks: targets(sink)},
			{Name: "b", Source: failing, Sinks: targets(&fakeSink{path: "/t/b"})},
		})
		a.wall = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Round(0).Add(offset) }
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { a.Run(ctx); close(ran) }()
		time.Sleep(10 * time.Minute)
		before := failing.asked()
		mu.Lock()
		offset = -48 * time.Hour
		mu.Unlock()
		time.Sleep(2 * time.Minute)
		if n := source.asked(); n != 2 {
			t.Errorf("asked %d times", n)
		}
		if failing.asked() == before {
			t.Error("the failing token waits for two days")
		}
		time.Sleep(time.Hour)
		if n := source.asked(); n < 3 || n > 4 {
			t.Errorf("asked %d times an hour later", n)
		}
		cancel()
		<-ran
	})
}

// shifted issues by a clock that may be set.
type shifted struct {
	*fakeSource
	offset *time.Duration
	mu     *sync.Mutex
}

func (s shifted) Issue(ctx context.Context, r Request) (Token, error) {
	t, err := s.fakeSource.Issue(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Issued, t.Expires = t.Issued.Add(*s.offset), t.Expires.Add(*s.offset)
	return t, err
}

func TestPanicOfASourceIsAFailureOfItsTokenOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out hosttest.Buffer
		log := silent()
		log.Out = &out
		sink := &fakeSink{path: "/t/a"}
		started(t, log,
			Renewer{Name: "wild", Source: panicking("eyJsecret"), Sinks: targets(&fakeSink{path: "/t/b"})},
			Renewer{Name: "a", Source: &fakeSource{life: time.Hour}, Sinks: targets(sink)})
		time.Sleep(time.Minute)
		if _, puts := sink.holds(); puts != 1 || !strings.Contains(out.String(), "panic") || strings.Contains(out.String(), "eyJsecret") {
			t.Errorf("%d puts; log:\n%s", puts, out.String())
		}
	})
}

type panicking string

func (p panicking) Issue(context.Context, Request) (Token, error) { panic(string(p)) }

func TestStopFinishesTheWriteAndNeverWaitsForWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &fakeSink{path: "/t/a", takes: 3 * time.Second}
		hang := &hanging{release: make(chan struct{})}
		a := New(hostClock, silent(), []Renewer{
			{Name: "slow", Source: &fakeSource{life: time.Hour}, Sinks: targets(slow)},
			{Name: "hung", Issuer: queue.Issuer{Name: "https://hangs.example.org"}, Source: hang, Sinks: targets(&fakeSink{path: "/t/b"})},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		a.Run(ctx)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("stopped after %v", took)
		}
		if _, puts := slow.holds(); puts != 1 {
			t.Errorf("%d puts", puts)
		}
		_, status := a.Status(t.Context())
		_, refresh := a.Refresh(t.Context())
		_, replace := a.Replace(t.Context(), nil)
		_, leftovers := a.Leftovers(t.Context())
		for i, err := range []error{status, refresh, replace, leftovers, a.Settled(t.Context())} {
			if !errors.Is(err, ErrStopped) {
				t.Errorf("call %d after the end: %v", i, err)
			}
		}
		close(hang.release)
	})
}

// An orderedSink takes a while, and tells when it was written.
type orderedSink struct {
	fakeSink
	written func(path string)
}

func (s *orderedSink) Put(ctx context.Context, t Token) (Written, error) {
	w, err := s.fakeSink.Put(ctx, t)
	s.written(s.path)
	return w, err
}

func TestOfManyFilesInASlowFolderTheMostUrgentIsWrittenFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		var renewers []Renewer
		sinks := map[string]*orderedSink{}
		for n := range 10 {
			name := fmt.Sprint(n)
			s := &orderedSink{fakeSink{path: "/slow/" + name}, func(path string) { mu.Lock(); defer mu.Unlock(); order = append(order, path) }}
			life := time.Duration(20-n) * time.Hour // the last one expires first
			renewers, sinks[name] = append(renewers, Renewer{Name: name, Source: &fakeSource{life: life}, Sinks: targets(s)}), s
		}
		a := started(t, silent(), renewers...)
		time.Sleep(time.Minute)
		for _, s := range sinks {
			s.set(func() { s.takes = 10 * time.Second })
		}
		mu.Lock()
		order = nil
		mu.Unlock()
		must(a.Refresh(t.Context()))
		mu.Lock()
		defer mu.Unlock()
		rest := order[room:] // of those that waited for their turn
		first, last := slices.Index(rest, slices.Max(rest)), slices.Index(rest, slices.Min(rest))
		if len(rest) != 10-room || first >= room || last < len(rest)-room {
			t.Errorf("written in the order %v", order)
		}
	})
}

func TestOnceReturnsWhenAllIsWrittenOrHopeless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := &fakeSource{fail: func(time.Time) error { return &Fault{Kind: Configuration, Err: errors.New("invalid_scope")} }}
		tries := 0
		flaky := &fakeSource{life: time.Hour, fail: func(time.Time) error {
			if tries++; tries < 3 {
				return errors.New("503")
			}
			return nil
		}}
		full := &fakeSink{path: "/t/c", fail: errors.New("no space left on device")}
		a := New(hostClock, silent(), []Renewer{
			{Name: "wrong", Source: wrong, Sinks: targets(&fakeSink{path: "/t/a"})},
			{Name: "flaky", Source: flaky, Sinks: targets(&fakeSink{path: "/t/b"})},
			{Name: "full", Source: &fakeSource{life: time.Hour}, Sinks: targets(full)},
			{Name: "nowhere", Source: wrong},
		})
		begin := time.Now()
		all := a.Once(t.Context())
		if took := time.Since(begin); took > time.Minute || tries != 3 || len(all) != 3 {
			t.Errorf("took %v with %d tries, %d tokens", took, tries, len(all))
		}
		states := map[string]State{}
		for _, s := range all {
			states[s.Name] = s.State
		}
		if states["wrong"] != Missing || states["flaky"] != Valid || states["full"] != Missing {
			t.Errorf("states %v", states)
		}
	})
}

func TestOnceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := &fakeSource{fail: func(time.Time) error { return errors.New("down") }}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		begin := time.Now()
		all := New(hostClock, silent(), []Renewer{{Name: "a", Source: down, Sinks: targets(&fakeSink{path: "/t/a"})}}).Once(ctx)
		if took := time.Since(begin); took != 2*time.Minute || all[0].Failing == nil {
			t.Errorf("took %v, %+v", took, all[0])
		}
	})
}

func TestHeartbeatGoesOnWithoutTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := started(t, silent())
		time.Sleep(time.Hour)
		if age := time.Since(a.Heartbeat()); age > 30*time.Second {
			t.Errorf("the last beat was %v ago", age)
		}
	})
}
