package agent

import (
	"context"
	"strings"

	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/queue"
)

// A Renewer ties a source to the sinks of its tokens. It is one token block, or one instance of
// a block with for_each.
type Renewer struct {
	Name          string // as people write it: pilot, or pilot["ce1.example.org"]
	Source        Source
	Issuer        queue.Issuer // the server that Source asks: all that ask it share one queue; the zero Issuer: Source asks no server
	Request       Request
	Sinks         []Target
	Schedule      Schedule
	Required      bool                        // whether readiness waits for it
	Hooks         []hooks.Hook                // what is run when something happens to the token
	Decode        func(Secret) (Token, error) // reads the times and IDs of a token that lies in a sink; nil: nobody can
	Form          func(Secret) int            // how much of a token is there: it must not take the place of one with a higher number; nil: it may be anything
	Accept        func(Token) error           // what else a token must fulfil to be installed; nil: nothing
	Validation    Validation                  // tries each new token before it replaces one that works
	RemoveExpired bool                        // a token that has expired is taken away, as in a directory where it would hide a good one
	DeleteRemoved bool                        // the files go when the Renewer does
	Digest        string                      // equal for equal definitions, signing key included; see Agent.Replace
}

// Issue asks the source for one token that is not kept fresh. It returns none that the Agent
// would not install; the error says why.
func (r Renewer) Issue(ctx context.Context) (Token, error) {
	t, err := r.Source.Issue(ctx, r.Request)
	if err == nil && r.Accept != nil {
		err = r.Accept(t)
	}
	if err == nil {
		err = admit(t, Now(ctx))
	}
	if err != nil {
		return Token{}, err
	}
	return t, nil
}

// Selects reports whether selector, as a person types it, names this Renewer:
// its Name, the block's name for all instances (pilot), or pilot/ce1 for one
// instance without the shell's quoting.
func (r Renewer) Selects(selector string) bool {
	if selector == r.Name {
		return true
	}
	block, rest, instance := strings.Cut(r.Name, `["`)
	if !instance {
		return false
	}
	key := strings.TrimSuffix(rest, `"]`)
	return selector == block || selector == block+"/"+key
}
