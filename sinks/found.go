package sinks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// Records are what a state folder that no agent has locked says of files, by the name
// of the sink.
type Records map[string]agent.Record

// RecordsOf are those of the records that say how the file was written.
func RecordsOf(all []agent.Record) Records {
	r := Records{}
	for _, one := range all {
		if one.Mark != nil {
			r[one.Name] = one
		}
	}
	return r
}

// Leftovers are the records of files that no renewer has, and that still lie there as
// they were written; in the order of their names.
func (r Records) Leftovers(ctx context.Context, renewers []agent.Renewer) (all []agent.Record) {
	known := map[string]bool{}
	for _, renewer := range renewers {
		for _, t := range renewer.Sinks {
			known[t.Path] = true
		}
	}
	for name, record := range r {
		if !known[name] && asWritten(ctx, Leftover(record), record) {
			all = append(all, record)
		}
	}
	slices.SortFunc(all, func(a, b agent.Record) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func asWritten(ctx context.Context, t agent.Target, r agent.Record) bool {
	store, ok := t.Sink.(agent.Store)
	if !ok {
		return false
	}
	difference, err := store.Adopt(ctx, r.Mark)
	return err == nil && difference == ""
}

// Renewal is when an agent that starts now would renew the token; zero for at once.
func (r Records) Renewal(ctx context.Context, renewer agent.Renewer) time.Time {
	var token agent.Token
	for i, t := range renewer.Sinks {
		record, known := r[t.Name]
		one := agent.Token{Issued: record.Issued, Expires: record.Expires, AskBy: record.AskBy}
		if !known || record.Digest != renewer.Digest || i > 0 && one != token || !asWritten(ctx, t, record) {
			return time.Time{}
		}
		token = one
	}
	return renewer.Schedule.Next(token)
}

// Status is the state of the renewer's token at that time, by its files and records.
func (r Records) Status(ctx context.Context, renewer agent.Renewer, now time.Time) agent.Status {
	all := agent.Status{Name: renewer.Name, State: agent.Valid, Required: renewer.Required, Sinks: []agent.SinkStatus{}}
	for _, t := range renewer.Sinks {
		one := r.Look(ctx, t, now)
		all.Sinks = append(all.Sinks, one)
		if all.State == agent.Valid || one.State == agent.Missing {
			all.State = one.State
		}
		if all.Failing == nil {
			all.Failing = one.Failing
		}
		if all.Expires.IsZero() || !one.Expires.IsZero() && one.Expires.Before(all.Expires) {
			all.Expires = one.Expires
		}
	}
	return all
}

// Look reads one sink's file. The record says when its token ends if the file is as it
// was written; else the token itself does, without being verified.
func (r Records) Look(ctx context.Context, t agent.Target, now time.Time) agent.SinkStatus {
	one := agent.SinkStatus{Name: t.Name, State: agent.Missing}
	store, ok := t.Sink.(agent.Store)
	if !ok {
		return one
	}
	text, err := store.Read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return one
	}
	record, known := r[t.Name]
	opaque := errors.Is(err, agent.ErrNotReadBack)
	same := known && (err == nil || opaque) && asWritten(ctx, t, record)
	if same {
		one.KeyID = record.KeyID
	}
	switch {
	case same && !record.Expires.IsZero():
		one.Expires, err = record.Expires, nil
	case err == nil:
		one.Expires, err = expiry(text.Reveal())
	case opaque && known && !same:
		err = fmt.Errorf("%s: it is not as it was written", t.Name)
	case opaque:
		err = nil
	}
	if err != nil {
		one.Failing = &agent.Failing{Kind: agent.Writing.String(), Error: err.Error(), Failures: 1}
		return one
	}
	one.State = agent.Valid
	if (agent.Token{Expires: one.Expires}).Expired(now) {
		one.State = agent.Expired
	}
	return one
}

// expiry is the time in the claim exp; zero for a token without it, and for one that
// is not a JWT.
func expiry(text string) (time.Time, error) {
	t, err := profile.Decode(text)
	if errors.Is(err, profile.ErrNoJWT) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	at, _ := profile.Instant(t.Claims["exp"])
	return at, nil
}
