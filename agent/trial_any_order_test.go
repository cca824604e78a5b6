package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever validations do, and whatever is reloaded, restarted, asked for and removed
// meanwhile, in any order: a source that gives tokens keeps every file valid.
func TestValidationsLoseNoTokenInAnyOrderOfEvents(t *testing.T) {
	seeds := uint64(5)
	if isLong() {
		seeds = 50
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { anyOrder(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func anyOrder(t *testing.T, random *rand.Rand) {
	const files = 5
	disk, source, end := &fakeDisk{}, &fakeSource{life: time.Hour}, make(chan struct{})
	records, validations := &fakeRecords{disk: disk}, everyValidation(end)
	digest := "1"
	set := func() (all []Renewer) {
		for i := range files {
			r := onDisk(disk, source, fmt.Sprint(i))[0]
			r.Digest, r.Validation = digest, validations[random.IntN(len(validations))]
			all = append(all, r)
		}
		return all
	}
	var a *Agent
	var stop func()
	start := func() {
		a = New(hostClock, silent(), set())
		a.Remember(records)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { a.Run(ctx); close(done) }()
		stop = func() { cancel(); <-done }
	}
	reload := func() { must(a.Replace(t.Context(), set())) }
	events := []struct {
		name string
		f    func()
	}{
		{"a reload", reload},
		{"a reload with other definitions", func() { digest += "1"; reload() }},
		{"a restart", func() { stop(); start() }},
		{"a refresh", func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			a.Refresh(ctx) // its error is that of a validation that hangs
		}},
		{"a file is removed", func() { disk.put("/t/0", ""); time.Sleep(90 * time.Second) }},
		{"nothing", func() {}},
	}
	start()
	defer func() {
		stop()
		close(end)
		time.Sleep(time.Minute) // the validations that do not end with the agent end now
	}()
	var past []string
	for range 60 {
		e := events[random.IntN(len(events))]
		past = append(past, e.name)
		e.f()
		time.Sleep(trialPatience + 10*time.Second + time.Duration(random.IntN(1500))*time.Second)
		for _, s := range must(a.Status(t.Context())) {
			if s.State != Valid || disk.at("/t/"+s.Name) == "" {
				t.Fatalf("%+v after %s", s, strings.Join(past, ", "))
			}
		}
	}
}

// everyValidation are all that a validation can do; one ends when the channel is closed.
func everyValidation(end chan struct{}) []Validation {
	all := []Validation{{}}
	for key, f := range map[string]func(context.Context) error{
		"good":    func(context.Context) error { return nil },
		"slow":    func(context.Context) error { time.Sleep(20 * time.Second); return nil },
		"bad":     func(context.Context) error { return errRefused },
		"unfit":   func(context.Context) error { return &Fault{Kind: Configuration, Err: errRefused} },
		"hanging": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"deaf":    func(context.Context) error { <-end; return nil },
		"wild":    func(context.Context) error { panic("wild") },
	} {
		all = append(all, Validation{Validate: func(ctx context.Context, _ Token) error { return f(ctx) }, Key: key, Queue: key})
	}
	slices.SortFunc(all, func(v, w Validation) int { return strings.Compare(v.Key, w.Key) })
	return all
}
