// Package hooks decides which hook is due: a program that is run when something happens to a
// token. It knows no clock, no log and no agent.
package hooks

import (
	"context"
	"time"
)

// An Event is what happened to a token.
type Event string

// The events that a Hook can be run for.
const (
	OnFirst    Event = "on_first"    // a token was written where no acceptable one lay before
	OnChange   Event = "on_change"   // a changed file was written, the first included
	OnFailure  Event = "on_failure"  // a token began to fail
	OnRecover  Event = "on_recover"  // that came to an end
	OnExpiring Event = "on_expiring" // the token in a file has less than Hook.Before left
)

// Events are in the order in which hooks run that are due together.
var Events = []Event{OnFirst, OnChange, OnFailure, OnRecover, OnExpiring}

// A Hook is run when something happens to its token. Hooks with the same Event and Key that
// are due within a second are run once, for all their tokens.
type Hook struct {
	Event   Event
	Key     string        // equal for hooks that do the same
	Before  time.Duration // of OnExpiring alone
	Command Command
}

// An ID is equal for Hooks that are run together.
type ID struct {
	Event Event
	Key   string
}

// ID is the Event and Key of the Hook.
func (h Hook) ID() ID { return ID{h.Event, h.Key} }

// A Command is what a Hook runs: a program. Its error is best an agent.Fault; any
// other is taken for a transient one. It is run again until it succeeds.
type Command interface {
	Run(ctx context.Context, e Event, about []Notice) error
}

// A Notice tells a hook of one file.
type Notice struct {
	Token   string    `json:"token"`            // the name of the Renewer
	Path    string    `json:"path"`             // of a failure: of the first file that cannot be written, else of the first
	Expires time.Time `json:"expires,omitzero"` // of the token in the file
}
