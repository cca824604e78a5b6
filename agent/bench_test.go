package agent

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// instant is a source and a sink that take no time, so that what is measured
// is the scheduler.
type instant struct {
	Store // for what nobody asks of it
	path  string
}

var instantSecret = NewSecret("token")

func (instant) Issue(context.Context, Request) (Token, error) {
	now := time.Now()
	return Token{Secret: instantSecret, Issued: now, Expires: now.Add(time.Hour)}, nil
}
func (i instant) Put(context.Context, Token) (Written, error) { return Written{Changed: true}, nil }
func (i instant) Look(context.Context) (string, error)        { return "", nil }
func (i instant) Path() string                                { return i.path }

func instants(n int) (r []Renewer) {
	for i := range n {
		s := instant{path: fmt.Sprintf("/t/%d/x", i%100)}
		r = append(r, Renewer{Name: fmt.Sprint(i), Source: s, Sinks: targets(instant{path: fmt.Sprintf("/t/%d/%d", i%100, i)})})
	}
	return r
}

// BenchmarkScheduler measures what the scheduler adds to one renewal, issued
// and written, with so many tokens at once; and one reload that changes none.
func BenchmarkScheduler(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		renewers := instants(n)
		b.Run(fmt.Sprintf("renewal/%d", n), func(b *testing.B) {
			for b.Loop() {
				New(hostClock, silent(), renewers).Once(b.Context())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/token")
		})
		b.Run(fmt.Sprintf("reload/%d", n), func(b *testing.B) {
			a := New(hostClock, silent(), renewers)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			go a.Run(ctx)
			for b.Loop() {
				a.Replace(ctx, renewers)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/token")
		})
	}
}

// BenchmarkHooks measures one renewal of so many tokens at once, without hooks and
// with two: what each token costs must not grow with their number.
func BenchmarkHooks(b *testing.B) {
	for _, events := range [][]hooks.Event{nil, {hooks.OnFirst, hooks.OnChange}} {
		for _, n := range []int{4_000, 8_000, 16_000} {
			renewers := hooked(instants(n), &fakeCommand{}, events...)
			b.Run(fmt.Sprintf("%d/%d", len(events), n), func(b *testing.B) {
				for b.Loop() {
					New(hostClock, silent(), renewers).Once(b.Context())
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/token")
			})
		}
	}
}
