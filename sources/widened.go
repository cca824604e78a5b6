package sources

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A taking is what the blocks of all kinds have in common whose tokens somebody else
// makes, embedded in the structs that these are decoded into.
type taking struct {
	OnWidened      string        `hcl:"on_widened,optional"`      // "refuse" or "warn": of a token that lets its bearer do more than the token block asks for
	AssumeLifetime time.Duration `hcl:"assume_lifetime,optional"` // of a token that does not say when it expires
}

// takingDefaults are the values of what a block leaves out.
func takingDefaults() taking { return taking{OnWidened: "refuse"} }

const leastAssumed = 30 * time.Second

// validate reports values that are not allowed.
func (w taking) validate(b *config.Block) {
	if b.Has("assume_lifetime") && (w.AssumeLifetime < leastAssumed || w.AssumeLifetime > agent.MaxLife) {
		b.Fault("assume_lifetime", "assume_lifetime is out of range", `it is at least "30s" and at most ten years`)
	}
	refuseOrWarn(b, "on_widened", w.OnWidened)
}

// refuseOrWarn reports a value that is neither.
func refuseOrWarn(b *config.Block, attr, value string) {
	if value != "refuse" && value != "warn" {
		b.Fault(attr, fmt.Sprintf("unknown %s %q", attr, value), `it is "refuse" or "warn"`)
	}
}

// apply compares the token with req. said are the words of its scope that its
// issuer told beside it. What came beside, and grants nothing, is kept in t.Beside.
// What grants more is an error, or with "warn" a part of t.Note; from says in the
// error who could give less.
func (w taking) apply(t *agent.Token, decoded profile.Token, said []string, req agent.Request, from string) error {
	more := profile.Exceeds(decoded, said, req)
	if len(more.Beside) > 0 {
		t.Beside = "beside what was asked for came " + strings.Join(more.Beside, " and ")
	}
	if len(more.Wider) == 0 {
		return nil
	}
	var texts []string
	for _, p := range more.Wider {
		texts = append(texts, "the token's "+p.String())
	}
	text := strings.Join(texts, "; ")
	if w.OnWidened == "warn" {
		t.Note = strings.Join(slices.DeleteFunc([]string{t.Note, text}, func(s string) bool { return s == "" }), "; ")
		return nil
	}
	return fmt.Errorf(`%s; %s, add what is wanted to scope or audience in the token block, or write on_widened = "warn" in the source to take it`, text, from)
}
