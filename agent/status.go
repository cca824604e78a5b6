package agent

import (
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

// A State is what the readers of a token find.
type State string

// The states of a token, over all of its sinks.
const (
	Valid   State = "valid"   // every sink holds a token that has not expired
	Expired State = "expired" // a sink holds a token that has expired
	Missing State = "missing" // a sink holds no token
)

// A Status is the state of one token at one time.
type Status struct {
	Name        string       `json:"name"`
	State       State        `json:"state"`
	Required    bool         `json:"required"`
	Expires     time.Time    `json:"expires,omitzero"`  // of the token in the sinks; the earliest, if they differ
	Renew       time.Time    `json:"renew_at,omitzero"` // when its source is asked next
	Failing     *Failing     `json:"failing,omitempty"` // nil: nothing fails
	Waiting     bool         `json:"waiting,omitempty"` // a new token waits to be validated, and the one before is in the sinks
	Sinks       []SinkStatus `json:"sinks"`
	Unvalidated string       `json:"unvalidated,omitempty"` // why the token in the sinks was installed without a validation that succeeded; "": it was not
	Hooks       []HookStatus `json:"hooks,omitempty"`       // those that fail
}

// A HookStatus is a hook that fails.
type HookStatus struct {
	Event   hooks.Event `json:"event"`
	Command string      `json:"command"` // see Hook.Key
	Failing Failing     `json:"failing"`
	Early   bool        `json:"too_early,omitempty"` // it is only too early, and nothing is wrong; see Fault.Expected
}

// A SinkStatus is what lies in one sink.
type SinkStatus struct {
	Name    string    `json:"path,omitempty"` // of the Target; empty where it has none
	State   State     `json:"state"`
	Expires time.Time `json:"expires,omitzero"`
	KeyID   string    `json:"kid,omitempty"` // that the token was signed with, as it says
	Failing *Failing  `json:"failing,omitempty"`
}

// A Failing is what fails, since when, and when it is tried again.
type Failing struct {
	Kind     string    `json:"kind"` // transient, configuration or writing
	Error    string    `json:"error"`
	Since    time.Time `json:"since,omitzero"`
	Failures int       `json:"failures"`
	Retry    time.Time `json:"retry_at,omitzero"`
}

func (e *entry) status() Status {
	s := Status{Name: e.Name, State: Valid, Required: e.Required, Renew: e.renewal.NextAt(), Sinks: []SinkStatus{}, Hooks: e.failingHooks()}
	s.Failing = e.renewal.failing()
	if s.Failing == nil {
		s.Failing = e.renewal.waits()
	}
	if s.Waiting = e.trial.waits(); s.Waiting && s.Failing == nil {
		s.Failing = e.trial.failing()
	}
	if e.trial != nil {
		s.Unvalidated = e.trial.unvalidated
	}
	for _, p := range e.sinks {
		one := SinkStatus{Name: p.Name, State: p.state(), Expires: p.inPlace.Expires, KeyID: p.inPlace.KeyID, Failing: p.failing()}
		s.Sinks = append(s.Sinks, one)
		s.State = worse(s.State, one.State)
		if s.Failing == nil {
			s.Failing = one.Failing
		}
	}
	if at := e.expiry(); at != never {
		s.Expires = at
	}
	return s
}

func (p *placement) state() State {
	switch {
	case p.inPlace.IsZero() || p.lost:
		return Missing
	case p.inPlace.Expired(p.now):
		return Expired
	default:
		return Valid
	}
}

func worse(s, t State) State {
	rank := map[State]int{Valid: 0, Expired: 1, Missing: 2}
	if rank[t] > rank[s] {
		return t
	}
	return s
}
