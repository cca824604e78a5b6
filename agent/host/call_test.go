package host

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestACallThatHangsIsLeftToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, ctx := make(chan struct{}), t.Context()
		within := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(ctx, d)
			t.Cleanup(cancel)
			return ctx
		}
		c := Begin(func() string { <-up; return "up" })
		start := time.Now()
		if value, returned := c.Wait(within(2 * time.Second)); returned || value != "" || time.Since(start) != 2*time.Second {
			t.Errorf("after %v it returned %q", time.Since(start), value)
		}
		late := make(chan string)
		c.Late(func(value string) { late <- value })
		close(up)
		if value := <-late; value != "up" {
			t.Errorf("what came late is %q", value)
		}
		if value, returned := c.Wait(within(0)); !returned || value != "up" {
			t.Errorf("a call that has returned gives %q, %v", value, returned)
		}
	})
}

func TestACallIsNotWaitedForAnyLongerThanItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		value, returned := Await(t.Context(), func() int { time.Sleep(time.Second); return 7 })
		if took := time.Since(start); value != 7 || !returned || took != time.Second {
			t.Errorf("%d, %v after %v", value, returned, took)
		}
	})
}
