// Package control is the socket through which a person, or a program, speaks
// with the running agent: HTTP with JSON over a unix socket, both ends of it.
//
//	GET  /status?name=NAME…   every token's state        200 [agent.Status]
//	POST /refresh?name=NAME…  asks now, with the verdict 200 [agent.Status]
//	GET  /leftovers           files without a definition 200 [Leftover]
//	GET  /refused             when a configuration was   200 time, zero for none
//	GET  /heartbeat           when the loop went round   200 time, zero for not yet
//	GET  /configuration       what the agent follows     200 [string]
//	POST /reload              reads the configuration    200 agent.Replaced
//
// Who may open the socket may use all of them; no token ever goes through it.
package control

import (
	"context"
	"errors"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// ErrNoAgent is the error of a Client whose socket nobody answers.
var ErrNoAgent = errors.New("no agent answers")

// Answers is what the running agent says to each question. All may be
// called at the same time.
type Answers struct {
	Status    func(ctx context.Context, names ...string) ([]agent.Status, error)
	Refresh   func(ctx context.Context, names ...string) ([]agent.Status, error)
	Reload    func(ctx context.Context) (agent.Replaced, error)
	Refused   func() time.Time // since when the configuration on disk is refused; zero: it is the one in use
	Leftovers func(ctx context.Context) ([]Leftover, error)
	Heartbeat func() time.Time // when the loop last went round; it must answer also when the loop hangs
	Follows   func() []string  // the absolute paths, without symbolic links, of the files and folders with its configuration
}

// A Leftover is a file of the agent's that no definition has any more.
type Leftover struct {
	Token string `json:"token"` // the name of the definition that it was of
	Path  string `json:"path"`
}

// A Refusal is an answer that is no: what was asked cannot be done as long as
// the names or the configuration stay as they are. It passes through the
// socket as it is; of any other error only the text does.
type Refusal struct {
	Reason Reason `json:"reason"`
	Text   string `json:"text"` // complete, for a person; may have several lines
}

// A Reason says who has to change what before a refused question is asked again.
type Reason string

// The reasons of a Refusal.
const (
	UnknownToken  Reason = "unknown token" // the name selects nothing
	Configuration Reason = "configuration" // the new configuration has faults; the old one goes on
)

// Error is the refusal's text.
func (r *Refusal) Error() string { return r.Text }
