package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/queue"
)

// A failingSource is one whose own requests the issuer never answers with a token.
type failingSource struct {
	*issuerSource
	takes time.Duration
	err   error
}

func (s *failingSource) Issue(ctx context.Context, _ Request) (Token, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
	}
	return Token{}, s.err
}

// lost are n tokens of the issuer that it never gives.
func lost(i *fakeIssuer, n int, takes time.Duration, err error) (renewers []Renewer) {
	for k := range n {
		name := fmt.Sprint("lost", k)
		source := &failingSource{&issuerSource{fakeIssuer: i, name: name}, takes, err}
		renewers = append(renewers, Renewer{Name: name, Issuer: queue.Issuer{Name: "https://issuer.example.org"}, Source: source, Sinks: targets(&expirySink{})})
	}
	return renewers
}

func TestTokensThatAlwaysFailKeepNoOtherFromTheIssuer(t *testing.T) {
	for _, takes := range []time.Duration{300 * time.Millisecond, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			i := &fakeIssuer{life: time.Hour, takes: 300 * time.Millisecond}
			renewers, sinks := crowd(i, 60, "host")
			started(t, silent(), append(renewers, lost(i, 12, takes, errDown)...)...)
			time.Sleep(10 * time.Hour)
			for k, s := range sinks {
				if s.expired() > 0 {
					t.Fatalf("with requests of %v: token %d was expired for %v", takes, k, s.expired())
				}
			}
			i.set(func() { i.fail = func(time.Time) error { return errDown } })
			time.Sleep(4 * time.Hour)
			i.set(func() { i.fail = nil })
			time.Sleep(10 * time.Minute) // two probes
			for k, s := range sinks {
				if s.token().Expired(time.Now()) {
					t.Errorf("with requests of %v: token %d is expired 10 min after an outage", takes, k)
				}
			}
		})
	}
}

func TestAFaultThatAPersonMendsDoesNotEndTheSilenceOfItsIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := recording()
		i := &fakeIssuer{life: time.Hour, fail: func(time.Time) error { return errDown }}
		renewers, _ := crowd(i, 100, "host")
		unread := &Fault{Kind: Configuration, Err: errors.New("client_secret_file: permission denied")}
		started(t, log, append(renewers, lost(i, 10, 0, unread)...)...)
		time.Sleep(10 * time.Hour)
		if n := strings.Count(text(), "issuer answers again"); n != 0 {
			t.Errorf("said %d times that the issuer answers again", n)
		}
		if n := strings.Count(text(), "issuer does not answer"); n < 10 || n > 11 {
			t.Errorf("said %d times in ten hours that it does not", n)
		}
	})
}

func TestOneThatHasExpiredHoldsUpNoneThatHasLittleLeft(t *testing.T) {
	for _, f := range []*Fault{errDown, {Kind: Transient, RetryAfter: 24 * time.Hour, Err: errors.New("429")}} {
		for left := 60 * time.Second; left <= 2*time.Minute; left += 5 * time.Second {
			synctest.Test(t, func(t *testing.T) {
				i, sink := &fakeIssuer{life: time.Hour, takes: time.Second}, &expirySink{}
				good := Renewer{Name: "good", Issuer: queue.Issuer{Name: "https://issuer.example.org"}, Source: &issuerSource{fakeIssuer: i, name: "good"}, Sinks: targets(sink)}
				started(t, silent(), append(lost(i, 1, time.Second, errDown), good)...)
				time.Sleep(29 * time.Minute)
				back := sink.token().Expires.Add(-left)
				i.set(func() {
					i.fail = func(now time.Time) error {
						if now.Before(back) {
							return f
						}
						return nil
					}
				})
				time.Sleep(40 * time.Minute)
				if sink.expired() > 0 {
					t.Errorf("the issuer came back %v before the expiry (%v); expired for %v", left, f, sink.expired())
				}
			})
		}
	}
}

func TestASilentIssuerIsProbedAsTheMostUrgentTokenNeeds(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			i := &fakeIssuer{life: 24 * time.Hour}
			renewers, _ := crowd(i, 20, "host")
			for k := range renewers {
				renewers[k].Schedule.At = 0.05 // at 72 min, with almost a day left
			}
			late := Renewer{Name: "late", Issuer: queue.Issuer{Name: "https://issuer.example.org"}, Source: &issuerSource{fakeIssuer: i, name: "late", life: 160 * time.Minute}, Sinks: targets(&expirySink{}), Schedule: Schedule{At: 0.9375}}
			started(t, silent(), append(renewers, late)...)
			time.Sleep(65 * time.Minute)
			i.set(func() { i.fail = func(time.Time) error { return errDown } })
			time.Sleep(85*time.Minute + 5*time.Second) // 10 min are left to it
			asked := len(i.asked())
			time.Sleep(time.Minute)
			if len(i.asked()) == asked {
				t.Error("not probed within a tenth of what was left")
			}
		})
	}
}

func TestRefreshOfSeveralComesBackThoughTheIssuerAsksForTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &fakeIssuer{life: time.Hour}
		renewers, _ := crowd(i, 3, "host")
		a := started(t, silent(), renewers...)
		time.Sleep(time.Minute)
		i.set(func() {
			i.fail = func(time.Time) error {
				return &Fault{Kind: Transient, RetryAfter: 10 * time.Minute, Err: errors.New("429")}
			}
		})
		begin := time.Now()
		all := must(a.Refresh(t.Context()))
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, s := range all {
			if s.Failing == nil || !strings.Contains(s.Failing.Error, "429") || time.Until(s.Failing.Retry) < 5*time.Minute {
				t.Errorf("%s fails with %+v", s.Name, s.Failing)
			}
		}
	})
}

func TestWhatNobodyWaitsForAnyMoreGoesBehindTheMostUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, sink := &fakeIssuer{life: 24 * time.Hour, takes: 300 * time.Millisecond}, &expirySink{}
		renewers, _ := crowd(i, 400, "host") // more than can be asked for in a minute
		urgent := Renewer{Name: "urgent", Issuer: queue.Issuer{Name: "https://issuer.example.org"}, Source: &issuerSource{fakeIssuer: i, name: "urgent", life: time.Hour}, Sinks: targets(sink)}
		a := started(t, silent(), append(renewers, urgent)...)
		time.Sleep(20 * time.Minute)
		i.set(func() { i.fail = func(time.Time) error { return errDown } })
		must(a.Refresh(t.Context(), strings.Fields(names(renewers))...))
		time.Sleep(time.Until(sink.token().Expires.Add(-time.Minute)))
		i.set(func() { i.fail = nil })
		time.Sleep(10 * time.Minute)
		if sink.expired() > 0 {
			t.Errorf("expired for %v behind those that are good for a day", sink.expired())
		}
	})
}

func names(renewers []Renewer) (all string) {
	for _, r := range renewers {
		all += r.Name + " "
	}
	return all
}

func TestATokenThatIsLostWhileItWaitsForItsIssuerWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, i := &fakeDisk{}, &fakeIssuer{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		set := func() []Renewer {
			both := append(onDisk(disk, &issuerSource{fakeIssuer: i, name: "a"}, "a"), onDisk(disk, &issuerSource{fakeIssuer: i, name: "b"}, "b")...)
			both[0].Issuer.Name, both[1].Issuer.Name = "https://issuer.example.org", "https://issuer.example.org"
			return both
		}
		runFor(t, time.Minute, records, set()...)
		i.set(func() {
			i.fail = func(time.Time) error {
				return &Fault{Kind: Transient, RetryAfter: 24 * time.Hour, Err: errors.New("429")}
			}
		})
		a := restarted(t, records, set()...) // so that neither is in memory
		time.Sleep(17 * time.Hour)           // both are due, and wait for hours
		i.set(func() { i.fail = nil })
		disk.put("/t/a", "")
		disk.put("/t/b", "")
		time.Sleep(5 * time.Minute)
		for _, s := range must(a.Status(t.Context())) {
			if s.State != Valid {
				t.Errorf("%s is %s, and renewed only in %v", s.Name, s.State, time.Until(s.Renew))
			}
		}
	})
}
