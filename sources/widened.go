package sources

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A widening is the attribute on_widened: what becomes of a token that lets its
// bearer do more than the token block asks for.
type widening string

const (
	refuseWidened widening = "refuse"
	warnOfWidened widening = "warn"
)

// validate reports a value that there is not.
func (w widening) validate(b *config.Block) {
	if w != refuseWidened && w != warnOfWidened {
		b.Fault("on_widened", fmt.Sprintf("unknown on_widened %q", string(w)), `it is "refuse" or "warn"`)
	}
}

// apply compares the token with req. said are the words of its scope that its
// issuer told beside it. What came beside, and grants nothing, is kept in t.Beside.
// What grants more is an error, or with "warn" a part of t.Note; from says in the
// error who could give less.
func (w widening) apply(t *agent.Token, decoded profile.Token, said []string, req agent.Request, from string) error {
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
	if w == warnOfWidened {
		t.Note = strings.Join(slices.DeleteFunc([]string{t.Note, text}, func(s string) bool { return s == "" }), "; ")
		return nil
	}
	return fmt.Errorf(`%s; %s, add what is wanted to scope or audience in the token block, or write on_widened = "warn" in the source to take it`, text, from)
}
