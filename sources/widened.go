package sources

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A taking has the attributes of all kinds whose tokens somebody else makes. It is embedded in
// the structs of their blocks.
type taking struct {
	TokenFormat    string        `hcl:"token_format,optional"`    // "jwt", "opaque", or "": found out
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
	if b.Has("token_format") {
		b.OneOf("token_format", w.TokenFormat, "jwt", "opaque")
	}
}

// opaque reports whether nothing in a token is to be read.
func (w taking) opaque() bool { return w.TokenFormat == "opaque" }

// decode reads a token as token_format has it. One that is opaque (RFC 6749 section 1.4)
// has no claims. Without token_format a token that begins like a JWT must be a whole one:
// half of a JWT is of no use to those who read it.
func (w taking) decode(text agent.Secret) (profile.Token, error) {
	if w.opaque() {
		return profile.Token{}, nil
	}
	decoded, err := profile.Decode(text.Reveal())
	switch {
	case err == nil && (profile.HoldsNUL(decoded.Header) || profile.HoldsNUL(decoded.Claims)):
		return decoded, fmt.Errorf("%w; its issuer must leave it out", profile.ErrNUL)
	case err == nil:
		return decoded, nil
	case w.TokenFormat == "jwt":
		return decoded, fmt.Errorf(`%w; token_format = "jwt" in the source takes nothing else`, err)
	case errors.Is(err, profile.ErrNoJWT):
		return profile.Token{}, nil
	}
	return decoded, fmt.Errorf(`%w; it begins like a JWT: if these tokens are none, write token_format = "opaque" in the source`, err)
}

// check returns what is asked for in req and no token of the issuer, "" for any, can have.
func (w taking) check(issuer string, req agent.Request) []profile.Problem {
	if !w.opaque() {
		return unattainable(issuer, req)
	}
	var problems []profile.Problem
	if req.Profile != "" {
		problems = append(problems, profile.Problem{Text: fmt.Sprintf("the profile %s is for JWTs, and the source has token_format = \"opaque\"; leave out one of both", req.Profile)})
	}
	for _, claim := range slices.Sorted(maps.Keys(req.Claims)) {
		problems = append(problems, unread(claim))
	}
	if req.Subject != "" {
		problems = append(problems, unread("sub"))
	}
	return problems
}

// unread warns of a claim that a definition demands of opaque tokens.
func unread(claim string) profile.Problem {
	return profile.Problem{Claim: claim, Warning: true, Text: `nothing compares it, since the source has token_format = "opaque"; leave it out`}
}

// refuseOrWarn reports a value that is neither.
func refuseOrWarn(b *config.Block, attr, value string) {
	if value != "refuse" && value != "warn" {
		b.Fault(attr, fmt.Sprintf("unknown %s %q", attr, value), `it is "refuse" or "warn"`)
	}
}

// apply compares the token with req. said are further words of its scope, which its issuer told
// beside it. Words that came beside and grant nothing go to t.Beside. What grants more is an
// error, or with "warn" a part of t.Note. from says in the error who could give less.
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
		t.Note = joined(t.Note, text)
		return nil
	}
	return fmt.Errorf(`%s; %s, add what is wanted to scope or audience in the token block, or write on_widened = "warn" in the source to take it`, text, from)
}

// joined is both texts, each of which may be "".
func joined(first, second string) string {
	if first == "" || second == "" {
		return first + second
	}
	return first + "; " + second
}

// facts are those of a source, with what its taking decides.
func (w taking) facts(of config.Source) config.Source {
	of.Check = func(req agent.Request) []profile.Problem { return w.check("", req) }
	of.Opaque = w.opaque()
	if !w.opaque() {
		of.Form = func(s agent.Secret) int { return profile.Form(s.Reveal()) }
	}
	return of
}
