// Package control is both ends of the socket through which people and programs talk to the
// running agent: HTTP with JSON over a unix socket.
//
//	GET  /status?name=NAME…   the state of each token      200 [agent.Status]
//	POST /refresh?name=NAME…  asks now, tells the outcome  200 [agent.Status]
//	GET  /leftovers           files without a definition   200 [Leftover]
//	GET  /refused             since when is it refused     200 time, zero for not
//	GET  /heartbeat           when the loop went round     200 time, zero for never
//	GET  /configuration       what the agent follows       200 [string]
//	POST /reload              reads the configuration      200 agent.Replaced
//	POST /keep                sees to the issuers' keys    200 true
//
// A caller that may open the socket may use all of them. No token goes through it.
package control

import (
	"context"
	"errors"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// ErrNoAgent is the error of a Client whose socket nobody answers.
var ErrNoAgent = errors.New("no agent answers")

// Answers are the running agent's answers. All may be called at the same time.
type Answers struct {
	Status    func(ctx context.Context, names ...string) ([]agent.Status, error)
	Refresh   func(ctx context.Context, names ...string) ([]agent.Status, error)
	Reload    func(ctx context.Context) (agent.Replaced, error)
	Keep      func(ctx context.Context) error // looks after the keys of the issuers now
	Refused   func() time.Time                // since when the configuration on disk is refused; zero: it is the one in use
	Leftovers func(ctx context.Context) ([]Leftover, error)
	Heartbeat func() time.Time // when the loop last went round; it must not need the loop
	Follows   func() []string  // the absolute paths, without symbolic links, of the files and folders with its configuration
}

// A Leftover is one of the agent's files that no definition has any more.
type Leftover struct {
	Token string `json:"token"` // the name of the definition that it was of
	Path  string `json:"path"`
}

// A Refusal is the answer to a question that makes no sense until the names or the
// configuration change. It passes through the socket as it is; of any other error only the
// text does.
type Refusal struct {
	Reason Reason `json:"reason"`
	Text   string `json:"text"` // complete, for a person; may have several lines
}

// A Reason says what has to change before a refused question is asked again.
type Reason string

// The reasons of a Refusal.
const (
	UnknownToken  Reason = "unknown token" // the name selects nothing
	Configuration Reason = "configuration" // the new configuration has faults; the old one goes on
)

// Error is the refusal's text.
func (r *Refusal) Error() string { return r.Text }
