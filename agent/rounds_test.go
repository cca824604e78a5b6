package agent

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// roundsOf counts how often the loop of the agent goes round.
func roundsOf(a *Agent) (since func() int64) {
	var rounds atomic.Int64
	a.EachRound(func() { rounds.Add(1) })
	return func() int64 { synctest.Wait(); return rounds.Swap(0) }
}

// watched has an agent panic whose loop does not sleep, since that would stop the clock of
// its test for ever.
func watched(a *Agent) *Agent {
	var atOnce int
	var last time.Time
	round := a.round
	a.EachRound(func() {
		round()
		if atOnce++; !time.Now().Equal(last) {
			atOnce = 0
		}
		if last = time.Now(); atOnce > 100_000 {
			panic("the loop does not sleep")
		}
	})
	return a
}

func TestTheLoopSleepsWhileAFolderHangs(t *testing.T) {
	for name, change := range map[string]func([]Renewer){
		"and nothing else happens":        func([]Renewer) {},
		"and a reload changes the digest": func(r []Renewer) { r[0].Digest = "2" },
		"and a reload changes the name":   func(r []Renewer) { r[0].Name = "b" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, disk, source := &deadServer{}, &fakeDisk{}, &fakeSource{life: time.Hour}
				defer server.answer()
				server.hang()
				a := New(hostClock, silent(), onServer(server, disk, source, "a"))
				rounds := roundsOf(a)
				begun(t, a)
				next := onServer(server, disk, source, "a")
				change(next)
				must(a.Replace(t.Context(), next))
				rounds()
				time.Sleep(10 * time.Minute) // the write is found to hang after one
				if n := rounds(); n > 60 {
					t.Errorf("%d rounds in ten minutes", n)
				}
				server.answer()
				time.Sleep(10 * time.Second)
				if s := statusOf(t, a, next[0].Name); s.State != Valid || s.Failing != nil {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestTheLoopSleepsWhileAnExpiredTokenLiesWhereNobodyTakesItAway(t *testing.T) {
	for name, do := range map[string]func(*Agent){
		"its definition went":       func(a *Agent) { a.Replace(context.Background(), nil) },
		"only another is asked for": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, source, down := &fakeDisk{}, &fakeSource{life: time.Hour}, &fakeSource{}
				down.fail = func(time.Time) error { return errDown }
				records := &fakeRecords{disk: disk}
				set := append(onDisk(disk, source, "a"), onDisk(disk, down, "b")...)
				for i := range set {
					set[i].RemoveExpired = true
				}
				runFor(t, time.Minute, records, set...)
				a := New(hostClock, silent(), set)
				a.Remember(records)
				rounds := roundsOf(a)
				if do == nil {
					if err := a.Only("b"); err != nil {
						t.Fatal(err)
					}
				}
				begun(t, a)
				if do != nil {
					do(a)
				}
				time.Sleep(58 * time.Minute)
				rounds()
				time.Sleep(10 * time.Minute)
				if n := rounds(); n > 300 {
					t.Errorf("%d rounds in ten minutes", n)
				}
			})
		})
	}
}
