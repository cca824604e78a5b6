package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettledWaitsForTheFirstPassAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := &fakeSource{life: time.Hour, takes: 3 * time.Second, fail: func(time.Time) error { return errors.New("down") }}
		a := started(t, silent(),
			Renewer{Name: "quick", Source: &fakeSource{life: time.Hour, takes: time.Second}, Sinks: targets(&expirySink{})},
			Renewer{Name: "failing", Source: failing, Sinks: targets(&expirySink{})})
		begin := time.Now()
		if err := a.Settled(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("the first pass took %v", took)
		}
		if err := a.Settled(context.Background()); err != nil || time.Since(begin) != 3*time.Second {
			t.Errorf("later it waits for nothing: %v after %v", err, time.Since(begin))
		}
	})
}

func TestEachRoundOfTheLoopIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(hostClock, silent(), []Renewer{{Name: "a", Source: &fakeSource{life: 24 * time.Hour}, Sinks: targets(&expirySink{})}})
		rounds := 0
		a.EachRound(func() { rounds++ })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		a.Run(ctx)
		if rounds < 20 || rounds > 40 {
			t.Errorf("%d rounds in 10 min", rounds)
		}
	})
}

func TestAnAgentThatRunsMayBeAskedByManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := []Renewer{{Name: "a", Source: &fakeSource{life: time.Hour}, Sinks: targets(&fakeSink{path: "/t/a"})}}
		a := started(t, silent(), set...)
		for _, ask := range []func(){
			func() { must(a.Status(t.Context())) },
			func() { must(a.Refresh(t.Context(), "a")) },
			func() { must(a.Replace(t.Context(), set)) },
			func() { must(a.Leftovers(t.Context())) },
			func() { must(0, a.Settled(t.Context())) },
			func() { a.Touched(t.Context(), "/t/a") },
			func() { a.Heartbeat() },
		} {
			go func() {
				for range 10 {
					ask()
				}
			}()
		}
		time.Sleep(time.Minute)
	})
}
