package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// A fakeFollower gives what lies in a file, or needs it.
type fakeFollower struct {
	mu     sync.Mutex
	copied bool
	text   string
	life   time.Duration // zero: none is known
	err    error
	asked  int
}

func (f *fakeFollower) Follows() (string, bool) { return "/run/upstream", f.copied }

func (f *fakeFollower) Issue(context.Context, Request) (Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.err != nil {
		return Token{}, f.err
	}
	t := Token{Secret: NewSecret(f.text), Issued: time.Now()}
	if f.life > 0 {
		t.Expires = time.Now().Add(f.life)
	}
	return t, nil
}

func (f *fakeFollower) set(change func()) { f.mu.Lock(); defer f.mu.Unlock(); change() }

func (f *fakeFollower) times() int { f.mu.Lock(); defer f.mu.Unlock(); return f.asked }

func TestWhatIsCopiedIsReadAgainWhenItsFileChanges(t *testing.T) {
	for _, life := range []time.Duration{0, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			source, sink := &fakeFollower{copied: true, text: "one", life: life}, &fakeSink{path: "/a/token"}
			a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink)})
			time.Sleep(10 * time.Second)
			source.set(func() { source.text, source.life = "two", life })
			a.Touched(t.Context(), "/run/upstream")
			time.Sleep(2 * time.Second)
			if got, _ := sink.holds(); got.Secret.Reveal() != "two" {
				t.Errorf("a change is copied at once, but there is %q", got.Secret.Reveal())
			}
			source.set(func() { source.text = "three" })
			time.Sleep(61 * time.Second)
			if got, _ := sink.holds(); got.Secret.Reveal() != "three" {
				t.Errorf("a change that nobody told of is copied within a minute, but there is %q", got.Secret.Reveal())
			}
			_, puts := sink.holds()
			time.Sleep(10 * time.Minute)
			if _, now := sink.holds(); now != puts {
				t.Errorf("what has not changed was put %d times more", now-puts)
			}
		})
	}
}

func TestAnUnknownExpiryIsNeverCalledExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeFollower{copied: true, text: "one"}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/a/token"})})
		time.Sleep(100 * time.Hour)
		if s := must(a.Status(t.Context()))[0]; s.State != Valid || !s.Expires.IsZero() {
			t.Errorf("got %s, expires %v", s.State, s.Expires)
		}
	})
}

func TestAFailingExchangeIsRepeatedWhenItsSubjectTokenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeFollower{text: "one", life: time.Hour, err: &Fault{Kind: Configuration, Err: errors.New("subject token expired")}}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/a/token"})})
		time.Sleep(time.Hour)
		n := source.times()
		a.Touched(t.Context(), "/run/upstream")
		synctest.Wait()
		if source.times() != n+1 {
			t.Error("it was not repeated at once")
		}
		source.set(func() { source.err = nil })
		a.Touched(t.Context(), "/run/upstream")
		time.Sleep(6 * time.Second)
		if s := must(a.Status(t.Context()))[0]; s.State != Valid {
			t.Errorf("it is %s", s.State)
		}
		n = source.times()
		a.Touched(t.Context(), "/run/upstream")
		time.Sleep(time.Second)
		if source.times() != n {
			t.Error("a good token was asked for again")
		}
	})
}

func TestASubjectTokenThatChangesAllTheTimeHasNoIssuerStormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeFollower{err: &Fault{Kind: Transient, Err: errors.New("busy")}}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/a/token"})})
		for range 60 {
			time.Sleep(time.Second)
			a.Touched(t.Context(), "/run/upstream")
		}
		if n := source.times(); n > 13 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}

// A slowFollower reads its file at once, and takes a while over it.
type slowFollower struct{ fakeFollower }

func (f *slowFollower) Issue(ctx context.Context, r Request) (Token, error) {
	t, err := f.fakeFollower.Issue(ctx, r)
	time.Sleep(5 * time.Second)
	return t, err
}

func TestAFileThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &slowFollower{fakeFollower{copied: true, text: "one", life: 24 * time.Hour}}, &fakeSink{path: "/a/token"}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink)})
		time.Sleep(2 * time.Second)
		source.set(func() { source.text = "two" })
		a.Touched(t.Context(), "/run/upstream")
		time.Sleep(15 * time.Second)
		if got, _ := sink.holds(); got.Secret.Reveal() != "two" {
			t.Errorf("there is %q", got.Secret.Reveal())
		}
	})
}

func TestWhatWasLetPassIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		source := &notingSource{fakeSource: fakeSource{life: time.Hour}}
		started(t, log, Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/a/token"}), Request: Request{Lifetime: 2 * time.Hour}, Schedule: Schedule{MinRemaining: time.Hour}})
		time.Sleep(10 * time.Hour)
		for _, once := range []string{"the issuer left out storage.modify", "beside it came openid", "lives shorter than was asked for", "lives no longer than min_remaining, which is ignored"} {
			if n := strings.Count(text(), once); n != 1 {
				t.Errorf("%q was said %d times", once, n)
			}
		}
		before := text()
		source.set(func() { source.quiet = true })
		time.Sleep(10 * time.Hour)
		if more := strings.TrimPrefix(text(), before); strings.Contains(more, "level=warning") || strings.Contains(more, "msg= ") {
			t.Errorf("nothing has changed, and the log says:\n%s", more)
		}
	})
}

func TestATokenThatNeverExpiresDoesNotLiveTooShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		source := &fakeFollower{text: "one"}
		started(t, log, Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/t/a"}), Request: Request{Lifetime: time.Hour}, Schedule: Schedule{MinRemaining: time.Hour}})
		time.Sleep(10 * time.Hour)
		if strings.Contains(text(), "level=warning") {
			t.Errorf("log:\n%s", text())
		}
	})
}

type notingSource struct {
	fakeSource
	quiet bool
}

func (s *notingSource) Issue(ctx context.Context, req Request) (Token, error) {
	t, err := s.fakeSource.Issue(ctx, req)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.quiet {
		t.Note, t.Beside = "the issuer left out storage.modify", "beside it came openid"
	}
	return t, err
}

// A keptDisk is not written again where the token lies there already.
type keptDisk struct{ slowAdopter }

func (s *keptDisk) Put(ctx context.Context, t Token) (Written, error) {
	same := s.wrote == t.Secret.Reveal() && s.disk.at(s.path) == s.wrote
	w, err := s.slowAdopter.Put(ctx, t)
	w.Changed = !same
	return w, err
}

// Of ten files two at a time are looked at, and the sources answer at once.
func TestACopyThatHasNotChangedIsNotWrittenAgainAtARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, ran := &fakeDisk{}, &fakeCommand{}
		records := &fakeRecords{disk: disk}
		run := func(text string) {
			var all []Renewer
			for i := range 10 {
				name := fmt.Sprint(i)
				all = append(all, Renewer{Name: name, Digest: "1", Source: &fakeFollower{copied: true, text: text},
					Sinks: targets(&keptDisk{slowAdopter{diskSink{disk: disk, path: "/t/" + name}}})})
			}
			runFor(t, 20*time.Second, records, hooked(all, ran, hooks.OnChange)...)
		}
		run("one")
		run("one")
		if n := ran.times(); n != 1 {
			t.Errorf("the hook ran %d times for one change: %s", n, ran.said())
		}
		run("two")
		if n := ran.times(); n != 2 || disk.at("/t/9") != "two" {
			t.Errorf("the hook ran %d times for two changes, and there is %q", n, disk.at("/t/9"))
		}
	})
}
