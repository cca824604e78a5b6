package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks"
	"github.com/tokenagent/tokenagent/sources"
)

const (
	examinedAtOnce = 16              // subjects
	sayEvery       = 3 * time.Second // what check still waits for
	sourceGrace    = 7 * time.Second // a little more than a source needs to end an attempt
)

// An outcome is what was found of one subject.
type outcome struct {
	Name     string            `json:"name"`            // a source, or a token and its sink
	Place    string            `json:"place,omitempty"` // FILE:LINE, of a source
	Findings []sources.Finding `json:"findings"`
}

// print writes one line for each finding.
func (s outcome) print(w io.Writer) {
	var text strings.Builder
	title := plain(s.Name)
	if s.Place != "" {
		title += " (" + plain(s.Place) + ")"
	}
	fmt.Fprintln(&text, title)
	width := 0
	for _, f := range s.Findings {
		width = max(width, len(plain(f.About)))
	}
	for _, f := range s.Findings {
		fmt.Fprintf(&text, "  %-7s  %-*s  %s\n", f.Mark, width, plain(f.About), plain(f.Text))
	}
	io.WriteString(w, text.String())
}

// A subject is something that takes time to look at: a source with its issuer, or a
// sink.
type subject struct {
	outcome
	look func(ctx context.Context) []sources.Finding // no findings: it is not shown
}

// subjects are all that there is to look at online. Known is what the agent remembers of
// the files.
func (f *checkFlags) subjects(cfg *config.Config, known sinks.Records) []subject {
	inquiry := sources.Inquiry{Issuers: issuersOf(cfg.Sources)}
	var all []subject
	for _, s := range cfg.Sources {
		users := usersOf(s.Source, cfg.Renewers)
		look := func(ctx context.Context) []sources.Finding {
			if f.issue {
				return inquiry.Try(ctx, s.Source, users)
			}
			return inquiry.Look(ctx, s.Source, requestsOf(users))
		}
		all = append(all, subject{outcome{Name: s.Name, Place: s.Place}, look})
	}
	folders := &folders{known: known}
	for _, r := range cfg.Renewers {
		for _, s := range r.Sinks {
			look := func(ctx context.Context) []sources.Finding { return folders.lookAt(ctx, s) }
			all = append(all, subject{outcome{Name: "token " + r.Name}, look})
		}
	}
	return all
}

// issuersOf are the issuers that the sources ask.
func issuersOf(all []config.Source) (issuers []string) {
	for _, s := range all {
		if s.Issuer.Name != "" {
			issuers = append(issuers, s.Issuer.Name)
		}
	}
	return issuers
}

// usersOf are the renewers that the source issues for.
func usersOf(s agent.Source, all []agent.Renewer) (users []agent.Renewer) {
	for _, r := range all {
		if r.Source == s {
			users = append(users, r)
		}
	}
	return users
}

func requestsOf(renewers []agent.Renewer) (all []agent.Request) {
	for _, r := range renewers {
		all = append(all, r.Request)
	}
	return all
}

// examine looks at all subjects, several at a time, and returns the outcomes in their
// order. It shows each as soon as those before it are known. If it takes long, a line
// on stderr says what it waits for.
func examine(ctx context.Context, all []subject, show func(outcome), stderr io.Writer) []outcome {
	done := beginAll(ctx, all)
	told := time.NewTicker(sayEvery)
	defer told.Stop()
	outcomes := []outcome{}
	for i := 0; i < len(all); {
		select {
		case s := <-done[i]:
			if len(s.Findings) > 0 {
				outcomes = append(outcomes, s)
				show(s)
			}
			i++
		case <-told.C:
			fmt.Fprintf(stderr, "tokenagent: %d of %d looked at; waiting for %s\n", i, len(all), plain(all[i].Name))
		}
	}
	return outcomes
}

// beginAll starts to look at the subjects. Each sends its outcome to its own channel.
func beginAll(ctx context.Context, all []subject) []chan outcome {
	done := make([]chan outcome, len(all))
	for i := range done {
		done[i] = make(chan outcome, 1)
	}
	go func() {
		room := make(chan struct{}, examinedAtOnce)
		for i, s := range all {
			room <- struct{}{} // at the latest when ctx is done
			go func() {
				found, ended := lookUntil(ctx, sourceGrace, s.look)
				if s.Findings = found; !ended {
					s.Findings = late(ctx)
				}
				done[i] <- s.outcome
				<-room
			}()
		}
	}()
	return done
}

// lookUntil returns what look finds before ctx is done and the grace after that is
// over: a source that uses its refresh token must finish, or its next one is lost. A
// look that hangs, as in a folder whose server is gone, is left alone.
func lookUntil(ctx context.Context, grace time.Duration, look func(context.Context) []sources.Finding) (found []sources.Finding, ended bool) {
	if ctx.Err() != nil {
		return nil, false
	}
	looking := host.Begin(func() []sources.Finding { return look(ctx) })
	if found, ended = looking.Wait(ctx); ended {
		return found, true
	}
	within, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return looking.Wait(within)
}

// late is the Finding of a look that had not ended when ctx was done.
func late(ctx context.Context) []sources.Finding {
	text := "no answer in time; see what hangs, or allow more with --timeout"
	if errors.Is(ctx.Err(), context.Canceled) {
		text = "interrupted"
	}
	return []sources.Finding{{Mark: sources.Wrong, Transient: true, About: "answer", Text: text}}
}
