package agent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A repeating source gives the same token until that ends, as some issuers do.
type repeating struct {
	mu     sync.Mutex
	life   time.Duration
	behind time.Duration // of its clock: it gives a token for longer than that lives
	token  Token
	asked  []time.Time
}

func (s *repeating) Issue(context.Context, Request) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.asked = append(s.asked, now)
	if !now.Before(s.token.Expires.Add(s.behind)) {
		s.token = Token{Secret: NewSecret("token." + now.Format("150405")), Expires: now.Add(s.life)}
	}
	again := s.token
	again.Issued = now
	return again, nil
}

func (s *repeating) times() []time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.asked }

func TestATokenThatItsIssuerRepeatsIsReplacedRightAfterItsEnd(t *testing.T) {
	for _, life := range []time.Duration{time.Minute, 7 * time.Minute, time.Hour, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			source, sink := &repeating{life: life}, &fakeSink{path: "/a/token"}
			log, text := recording()
			a := started(t, log, Renewer{Name: "a", Source: source, Sinks: targets(sink)})
			synctest.Wait()
			for range 3 {
				first, _ := sink.holds()
				time.Sleep(time.Until(first.Expires.Add(-2 * time.Second)))
				if s := must(a.Status(t.Context()))[0]; s.Failing != nil {
					t.Errorf("%v: near the end it fails: %v", life, s.Failing)
				}
				time.Sleep(5 * time.Second)
				if next, _ := sink.holds(); next.Secret.Equal(first.Secret) {
					t.Fatalf("%v: 3 s after its end the old token is still there", life)
				}
			}
			if _, puts := sink.holds(); puts != 4 {
				t.Errorf("%v: 4 tokens were put %d times", life, puts)
			}
			if n := len(source.times()); n > 4*20 {
				t.Errorf("%v: 4 lives cost %d requests", life, n)
			}
			if strings.Contains(text(), "level=error") {
				t.Error(text())
			}
		})
	}
}

func TestAnIssuerThatRepeatsAnExpiredTokenIsNotStormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &repeating{life: 10 * time.Minute, behind: time.Hour}
		started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/a/token"})})
		time.Sleep(10*time.Minute - time.Second)
		before := len(source.times())
		time.Sleep(31 * time.Minute)
		if n := len(source.times()) - before; n < 3 || n > 40 {
			t.Errorf("in half an hour it was asked %d times", n)
		}
	})
}

func TestARepeatedTokenThatLivesOnIsTakenWithItsNewEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeFollower{text: "one", life: time.Hour}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(&fakeSink{path: "/a/token"})})
		time.Sleep(5 * time.Hour)
		if s := must(a.Status(t.Context()))[0]; s.State != Valid || time.Until(s.Expires) < 25*time.Minute {
			t.Errorf("it is %s and ends in %v", s.State, time.Until(s.Expires))
		}
	})
}

// Who asks for a token wants it in its place now, even if it is the same one.
func TestARepeatedTokenThatAPersonAskedForIsWrittenNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, sink := &repeating{life: time.Hour}, &fakeSink{path: "/a/token", fail: errors.New("disk full")}
		a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink)})
		time.Sleep(10*time.Minute + time.Second)
		sink.set(func() { sink.fail = nil })
		if s := must(a.Refresh(t.Context()))[0]; s.State != Valid {
			t.Errorf("it is %s: %+v", s.State, s.Failing)
		}
	})
}

func TestWhatIsNotAWholeTokenReplacesNone(t *testing.T) {
	forms := map[string]int{"whole": 2, "whole-too": 2, "cut": 1, "junk": 0}
	form := func(s Secret) int { return forms[s.Reveal()] }
	for _, c := range []struct {
		was, comes string
		form       func(Secret) int
		want       string
	}{
		{"whole", "junk", form, "whole"},
		{"whole", "cut", form, "whole"},
		{"cut", "junk", form, "cut"},
		{"whole", "whole-too", form, "whole-too"},
		{"cut", "whole", form, "whole"},
		{"junk", "cut", form, "cut"},
		{"junk", "other", form, "other"},
		{"whole", "junk", nil, "junk"},
	} {
		synctest.Test(t, func(t *testing.T) {
			source, sink := &fakeFollower{copied: true, text: c.was, life: time.Hour}, &fakeSink{path: "/a/token"}
			a := started(t, silent(), Renewer{Name: "a", Source: source, Sinks: targets(sink), Form: c.form})
			synctest.Wait()
			source.set(func() { source.text = c.comes })
			if s := must(a.Refresh(t.Context()))[0]; (s.Failing != nil) != (c.want == c.was) {
				t.Errorf("after %s comes %s: failing is %+v", c.was, c.comes, s.Failing)
			} else if s.Failing != nil && !strings.Contains(s.Failing.Error, "token_format") {
				t.Errorf("it says %q", s.Failing.Error)
			}
			if got, _ := sink.holds(); got.Secret.Reveal() != c.want {
				t.Errorf("after %s comes %s: there is %q", c.was, c.comes, got.Secret.Reveal())
			}
		})
	}
}

// No record tells what lies there, as after the state folder was lost.
func TestWhatIsNotAWholeTokenReplacesNoneThatIsFound(t *testing.T) {
	form := func(s Secret) int { return map[string]int{"token.whole": 2, "token.cut": 1, "whole": 2}[s.Reveal()] }
	for _, c := range []struct{ lies, comes, want string }{
		{"token.whole", "junk", "token.whole"},
		{"token.whole", "token.cut", "token.whole"},
		{"token.cut", "token.whole", "token.whole"},
		{"whole", "junk", "junk"}, // it cannot be used
		{"", "junk", "junk"},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk, source := &fakeDisk{}, &fakeFollower{copied: true, text: c.comes, life: time.Hour}
			disk.put("/a/token", c.lies)
			r := Renewer{Name: "a", Source: source, Sinks: targets(&diskSink{disk: disk, path: "/a/token"}), Form: form, Decode: decodeFake}
			a := started(t, silent(), r)
			s := must(a.Refresh(t.Context()))[0]
			if got := disk.at("/a/token"); got != c.want {
				t.Errorf("over %q comes %q: there is %q, %+v", c.lies, c.comes, got, s)
			}
			source.set(func() { source.text = "token.whole" })
			must(a.Refresh(t.Context()))
			if got := disk.at("/a/token"); got != "token.whole" {
				t.Errorf("over %q comes a whole one at last: there is %q", c.want, got)
			}
		})
	}
}

func TestAWrittenTokenIsLoggedWithItsIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		decode := func(Secret) (Token, error) { return Token{ID: "0a1b", KeyID: "2026-11"}, nil }
		opaque := func(Secret) (Token, error) { return Token{}, errors.New("opaque") }
		started(t, log, Renewer{Name: "a", Source: &fakeSource{life: time.Hour}, Sinks: targets(&fakeSink{path: "/a/a"}), Decode: decode},
			Renewer{Name: "b", Source: &fakeSource{life: time.Hour}, Sinks: targets(&fakeSink{path: "/a/b"}), Decode: opaque})
		for line := range strings.Lines(text()) {
			if has := strings.Contains(line, "jti=0a1b") && strings.Contains(line, "kid=2026-11"); has != strings.Contains(line, "token=a") {
				t.Error(line)
			}
		}
	})
}
