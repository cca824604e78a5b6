package sources

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// Try is Look, and then asks the source for one token: that of the first of the
// renewers that use it. It says how the token compares with what the agent would
// install. The token itself goes nowhere.
func (q *Inquiry) Try(ctx context.Context, s agent.Source, users []agent.Renewer) []Finding {
	var requests []agent.Request
	for _, r := range users {
		requests = append(requests, r.Request)
	}
	found := q.Look(ctx, s, requests)
	if len(users) == 0 {
		return append(found, fine("token", "no token block uses this source, so it was not asked for one"))
	}
	t, err := users[0].Issue(ctx)
	if err != nil {
		return append(found, failed("token", fmt.Errorf("as for %s: %w", users[0].Name, err)))
	}
	return append(proven(found), describeIssued(t, users[0])...)
}

// describeIssued compares a token that was accepted with what was asked for.
func describeIssued(t agent.Token, r agent.Renewer) []Finding {
	found := []Finding{
		fine("token", "issued as for %s", r.Name),
		lifetimeGot(t, r.Request.Lifetime),
	}
	if t.Note != "" {
		found = append(found, warned("note", "%s", t.Note))
	}
	decoded, err := profile.Decode(t.Secret.Reveal())
	if err != nil {
		return append(found, fine("claims", "none that could be read: %v", err))
	}
	scope, audience := profile.Scope(r.Request.Profile, decoded), audienceOf(decoded)
	return append(found,
		compared("scope", scope, r.Request.Scope, profile.CompareScope(r.Request.Scope, scope)),
		compared("audience", audience, r.Request.Audience, profile.CompareAudience(r.Request.Audience, audience)),
	)
}

// enough is the part of the lifetime asked for that needs no warning.
const enough = 0.9

// lifetimeGot compares how long the token lives with what was asked for; zero for
// nothing. A token with a much shorter life is renewed more often than expected.
func lifetimeGot(t agent.Token, asked time.Duration) Finding {
	got := t.Lifetime().Round(time.Second)
	switch {
	case t.Expires.IsZero():
		return warned("lifetime", "unknown: neither the token nor its issuer says when it expires")
	case asked == 0:
		return fine("lifetime", "%s, as its issuer chose", config.Spoken(got))
	case (got - asked).Abs() <= 2*time.Second:
		return fine("lifetime", "%s, as asked", config.Spoken(asked))
	case got.Seconds() < enough*asked.Seconds():
		return warned("lifetime", "%s, and %s was asked for; it is renewed accordingly", config.Spoken(got), config.Spoken(asked))
	}
	return fine("lifetime", "%s; %s was asked for", config.Spoken(got), config.Spoken(asked))
}

// compared compares the words with those that were asked for. The configuration
// allows that some are missing, or the token would not have been accepted.
func compared(about string, got, asked []string, d profile.Difference) Finding {
	text := strings.Join(got, " ")
	switch {
	case len(d.Missing) > 0:
		return warned(about, "%s; %s was asked for", cmp.Or(text, "none"), strings.Join(asked, " "))
	case len(d.Wider)+len(d.Beside) > 0:
		return fine(about, "%s, more than was asked for", text)
	case len(asked) == 0:
		return fine(about, "%s", cmp.Or(text, "none"))
	}
	return fine(about, "%s, as asked", text)
}

// audienceOf are the entries of the claim aud, a string or an array of strings.
func audienceOf(t profile.Token) (entries []string) {
	if one, ok := t.Claims["aud"].(string); ok {
		return []string{one}
	}
	list, _ := t.Claims["aud"].([]any)
	for _, entry := range list {
		if text, ok := entry.(string); ok {
			entries = append(entries, text)
		}
	}
	return entries
}
