package agent

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// A deadServer is where a sink's folder lies that may hang: no context ends it.
type deadServer struct {
	mu     sync.Mutex
	back   chan struct{} // nil: it answers
	inside int           // how many calls have not come back
	most   int           // how many there were at a time
}

func (s *deadServer) hang() { s.mu.Lock(); defer s.mu.Unlock(); s.back = make(chan struct{}) }

func (s *deadServer) answer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.back != nil {
		close(s.back)
		s.back = nil
	}
}

func (s *deadServer) visit() {
	s.mu.Lock()
	back := s.back
	s.inside++
	s.most = max(s.most, s.inside)
	s.mu.Unlock()
	if back != nil {
		<-back
	}
	s.mu.Lock()
	s.inside--
	s.mu.Unlock()
}

func (s *deadServer) mostAtOnce() int { s.mu.Lock(); defer s.mu.Unlock(); return s.most }

// A remoteDisk is a diskSink on a server.
type remoteDisk struct {
	diskSink
	server *deadServer
}

func (s *remoteDisk) Put(ctx context.Context, t Token) (Written, error) {
	s.server.visit()
	return s.diskSink.Put(ctx, t)
}

func (s *remoteDisk) Look(ctx context.Context) (string, error) {
	s.server.visit()
	return s.diskSink.Look(ctx)
}

func (s *remoteDisk) Adopt(ctx context.Context, m json.RawMessage) (string, error) {
	s.server.visit()
	return s.diskSink.Adopt(ctx, m)
}

func (s *remoteDisk) Remove(ctx context.Context) error {
	s.server.visit()
	return s.diskSink.Remove(ctx)
}

func onServer(server *deadServer, disk *fakeDisk, source Source, names ...string) (r []Renewer) {
	for _, n := range names {
		sink := &remoteDisk{diskSink{disk: disk, path: "/nfs/" + n}, server}
		r = append(r, Renewer{Name: n, Source: source, Sinks: targets(sink), Digest: "1"})
	}
	return r
}

// statusOf is the status of one token of an agent that runs.
func statusOf(t *testing.T, a *Agent, name string) Status {
	t.Helper()
	all, err := a.Status(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func wantLines(t *testing.T, log, words string, n int) {
	t.Helper()
	if got := strings.Count(log, words); got != n {
		t.Errorf("%q is logged %d times, want %d:\n%s", words, got, n, log)
	}
}

func TestAWriteThatHangsFailsForAllToSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, disk, source, hook := &deadServer{}, &fakeDisk{}, &fakeSource{life: 10 * time.Minute}, &fakeCommand{}
		defer server.answer()
		log, text := recording()
		server.hang()
		a := started(t, log, hooked(onServer(server, disk, source, "a"), hook, hooks.OnFailure, hooks.OnRecover)...)
		time.Sleep(sinkLimit)
		if s := statusOf(t, a, "a"); s.Failing != nil || text() != "" {
			t.Errorf("it fails too early: %v, %s", s.Failing, text())
		}
		time.Sleep(2 * hangGrace)
		s := statusOf(t, a, "a")
		if s.Failing == nil || s.Failing.Kind != "writing" || !strings.Contains(s.Failing.Error, "its folder does not answer since ") || !s.Failing.Retry.IsZero() {
			t.Errorf("the status says %+v", s.Failing)
		}
		wantLines(t, text(), "token not written", 1)
		if hook.said() != "on_failure a" {
			t.Errorf("the hooks: %s", hook.said())
		}
		time.Sleep(150 * time.Minute) // the token is due again and again meanwhile
		wantLines(t, text(), "token not written", 1)
		wantLines(t, text(), "token still not written", 2)
		if server.mostAtOnce() != 1 {
			t.Errorf("%d writes of one file at a time", server.mostAtOnce())
		}
		server.answer()
		time.Sleep(10 * time.Second)
		wantLines(t, text(), "works again", 1)
		if s := statusOf(t, a, "a"); s.Failing != nil || s.State != Valid || hook.said() != "on_failure a, on_recover a" {
			t.Errorf("%+v; the hooks: %s", s, hook.said())
		}
	})
}

// What is not a write fails in the same way.
func TestWhateverHangsInAFolderFailsForAllToSee(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*fakeRecords, []Renewer)
		words   string
	}{
		"a look":    {func(*fakeRecords, []Renewer) {}, "file not looked at"},
		"a removal": {func(_ *fakeRecords, r []Renewer) { r[0].RemoveExpired = true }, "file not removed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, disk, source, hook := &deadServer{}, &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeCommand{}
				defer server.answer()
				log, text := recording()
				records := &fakeRecords{disk: disk}
				all := hooked(onServer(server, disk, source, "a"), hook, hooks.OnFailure, hooks.OnRecover)
				c.prepare(records, all)
				if all[0].RemoveExpired { // and there is no other token
					source.fail = func(time.Time) error {
						if source.asked() > 1 {
							return &Fault{Kind: Configuration, Err: context.Canceled}
						}
						return nil
					}
					source.life = 55 * time.Second
				}
				a := started(t, log, all...)
				time.Sleep(50 * time.Second)
				server.hang()
				time.Sleep(20 * time.Minute)
				wantLines(t, text(), c.words, 1)
				s := statusOf(t, a, "a")
				if s.Sinks[0].Failing == nil || s.Sinks[0].Failing.Kind != "writing" || !strings.HasPrefix(hook.said(), "on_failure a") {
					t.Errorf("the status says %+v; the hooks: %s", s.Sinks[0].Failing, hook.said())
				}
				server.answer()
				time.Sleep(10 * time.Second)
				if s := statusOf(t, a, "a"); s.Sinks[0].Failing != nil {
					t.Errorf("when it is back the status says %+v", s.Sinks[0].Failing)
				}
			})
		})
	}
}

func TestAnAdoptionThatHangsFailsForAllToSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, disk, source := &deadServer{}, &fakeDisk{}, &fakeSource{life: time.Hour}
		defer server.answer()
		records := &fakeRecords{disk: disk}
		runFor(t, time.Minute, records, onServer(server, disk, source, "a")...)
		server.hang()
		log, text := recording()
		a := New(hostClock, log, onServer(server, disk, source, "a"))
		a.Remember(records)
		begun(t, a)
		time.Sleep(sinkLimit + 2*hangGrace)
		wantLines(t, text(), "file of an earlier agent not looked at", 1)
		if s := statusOf(t, a, "a"); s.Failing == nil {
			t.Errorf("the status says %+v", s)
		}
		server.answer()
		time.Sleep(10 * time.Second)
		if s := statusOf(t, a, "a"); s.Failing != nil || s.State != Valid {
			t.Errorf("when it is back the status says %+v", s)
		}
	})
}

// Of one folder two attempts hang at most; what waits behind them is written as little.
func TestWhatWaitsBehindAFolderThatHangsFailsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, disk, source := &deadServer{}, &fakeDisk{}, &fakeSource{life: time.Hour}
		defer server.answer()
		server.hang()
		log, text := recording()
		a := started(t, log, onServer(server, disk, source, "a", "b", "c", "d")...)
		time.Sleep(sinkLimit + 2*hangGrace)
		wantLines(t, text(), "token not written", 4)
		wantLines(t, text(), "waiting=2", 2) // of the two that hang each says how many wait behind it
		for _, n := range []string{"a", "b", "c", "d"} {
			if s := statusOf(t, a, n); s.Failing == nil || s.Failing.Kind != "writing" {
				t.Errorf("of %s the status says %+v", n, s.Failing)
			}
		}
		server.answer()
		time.Sleep(10 * time.Second)
		wantLines(t, text(), "works again", 4)
		if n := len(disk.files); n != 4 {
			t.Errorf("%d files", n)
		}
	})
}

// A reload must not have two processes' worth of writes to one path.
func TestAReloadWritesNothingBesideAWriteThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, disk, source := &deadServer{}, &fakeDisk{}, &fakeSource{life: time.Hour}
		defer server.answer()
		server.hang()
		a := started(t, silent(), onServer(server, disk, source, "a")...)
		time.Sleep(2 * sinkLimit)
		next := onServer(server, disk, source, "a")
		next[0].Digest = "2"
		if _, err := a.Replace(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s := statusOf(t, a, "a"); s.Failing == nil || server.mostAtOnce() != 1 {
			t.Errorf("%d at a time; the status says %+v", server.mostAtOnce(), s.Failing)
		}
		server.answer()
		time.Sleep(10 * time.Second)
		if s := statusOf(t, a, "a"); s.Failing != nil || disk.at("/nfs/a") != "token.2" {
			t.Errorf("%s lies there; the status says %+v", disk.at("/nfs/a"), s.Failing)
		}
	})
}

// A deafSource heeds no context.
type deafSource struct {
	*fakeSource
	server *deadServer
}

func (s deafSource) Issue(ctx context.Context, r Request) (Token, error) {
	s.server.visit()
	return s.fakeSource.Issue(context.WithoutCancel(ctx), r)
}

func TestASourceThatHangsFailsForAllToSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, hook := &deadServer{}, &fakeCommand{}
		defer server.answer()
		server.hang()
		log, text := recording()
		source := deafSource{&fakeSource{life: time.Hour}, server}
		r := []Renewer{{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"})}}
		a := started(t, log, hooked(r, hook, hooks.OnFailure, hooks.OnRecover)...)
		time.Sleep(askLimit + 2*hangGrace)
		wantLines(t, text(), "token not renewed", 1)
		if s := statusOf(t, a, "a"); s.Failing == nil || s.Failing.Kind != "transient" || hook.said() != "on_failure a" {
			t.Errorf("the status says %+v; the hooks: %s", s.Failing, hook.said())
		}
		if _, err := a.Refresh(t.Context(), "a"); err != nil { // it must not wait for ever
			t.Error(err)
		}
		server.answer()
		time.Sleep(10 * time.Second)
		wantLines(t, text(), "works again", 1)
		if s := statusOf(t, a, "a"); s.Failing != nil || s.State != Valid || server.mostAtOnce() != 1 {
			t.Errorf("%d at a time; the status says %+v", server.mostAtOnce(), s)
		}
	})
}

func TestARefreshWaitsForNoValidationThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := validated(&fakeValidator{}, 24*time.Hour)
		end := make(chan struct{})
		var hangs atomic.Bool
		defer close(end)
		r.Validation.Validate = func(context.Context, Token) error {
			if hangs.Load() {
				<-end
			}
			return nil
		}
		a := started(t, silent(), r)
		hangs.Store(true)
		began := time.Now()
		all := must(a.Refresh(t.Context()))
		if took := time.Since(began); took > hooks.Limit+2*hangGrace || all[0].Failing == nil {
			t.Errorf("after %v: %+v", took, all[0])
		}
	})
}

func TestTheEndWaitsForNothingThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, source := &deadServer{}, &fakeSource{life: time.Hour}
		server.hang()
		ctx, cancel := context.WithCancel(t.Context())
		a, ran := New(hostClock, silent(), onServer(server, &fakeDisk{}, source, "a", "b")), make(chan struct{})
		go func() { a.Run(ctx); close(ran) }()
		time.Sleep(2 * sinkLimit)
		began := time.Now()
		cancel()
		<-ran
		if took := time.Since(began); took > time.Second {
			t.Errorf("the end took %v", took)
		}
		server.answer()
	})
}

// What hangs for a definition that has gone meanwhile fails for nobody.
func TestAWriteOfARemovedDefinitionThatHangsIsNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, disk, source := &deadServer{}, &fakeDisk{}, &fakeSource{life: time.Hour}
		defer server.answer()
		log, text := recording()
		server.hang()
		a := started(t, log, onServer(server, disk, source, "a")...)
		time.Sleep(time.Second)
		next := onServer(server, disk, source, "a")
		next[0].Name = "b" // the file is another definition's now
		if _, err := a.Replace(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * sinkLimit)
		wantLines(t, text(), "token=a", 0)
		wantLines(t, text(), "its folder does not answer", 1)
	})
}
