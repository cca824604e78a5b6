package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources"
)

// tryOut asks the source of the renewers for one token, that of the first of
// them, and holds it against what the agent would install; given says that it would.
// The token itself goes nowhere.
func tryOut(ctx context.Context, users []agent.Renewer) (found []sources.Finding, given bool) {
	if len(users) == 0 {
		return []sources.Finding{fine("token", "no token block uses this source, so it was not asked for one")}, false
	}
	r := users[0]
	t, err := r.Issue(ctx)
	if err != nil {
		return []sources.Finding{{
			Mark: sources.Wrong, Transient: sources.IsTransient(err),
			About: "token", Text: fmt.Sprintf("as for %s: %v", r.Name, err),
		}}, false
	}
	return describeIssued(t, r), true
}

// describeIssued says of a token that was accepted what it is, beside what was
// asked for.
func describeIssued(t agent.Token, r agent.Renewer) []sources.Finding {
	found := []sources.Finding{
		fine("token", "issued as for %s", r.Name),
		lifetimeGot(t, r.Request.Lifetime),
	}
	if t.Note != "" {
		found = append(found, sources.Finding{Mark: sources.Warning, About: "note", Text: t.Note})
	}
	decoded, err := profile.Decode(t.Secret.Reveal())
	if err != nil {
		return append(found, fine("claims", "none that could be read: %v", err))
	}
	scope, _ := decoded.Claims["scope"].(string)
	return append(found,
		compared("scope", strings.Fields(scope), r.Request.Scope),
		compared("audience", audienceOf(decoded), r.Request.Audience),
	)
}

func fine(about, format string, args ...any) sources.Finding {
	return sources.Finding{Mark: sources.Fine, About: about, Text: fmt.Sprintf(format, args...)}
}

// enough is the part of the lifetime asked for that is let pass without a word.
const enough = 0.9

// lifetimeGot compares how long the token lives with what was asked for, zero for
// nothing. One that lives much shorter is renewed more often than somebody thinks.
func lifetimeGot(t agent.Token, asked time.Duration) sources.Finding {
	got := t.Lifetime().Round(time.Second)
	switch {
	case t.Expires.IsZero():
		return sources.Finding{Mark: sources.Warning, About: "lifetime", Text: "unknown: neither the token nor its issuer says when it expires"}
	case asked == 0:
		return fine("lifetime", "%s, as its issuer likes", config.Spoken(got))
	case (got - asked).Abs() <= 2*time.Second:
		return fine("lifetime", "%s, as asked", config.Spoken(asked))
	case got.Seconds() < enough*asked.Seconds():
		return sources.Finding{Mark: sources.Warning, About: "lifetime",
			Text: fmt.Sprintf("%s, and %s was asked for; it is renewed accordingly", config.Spoken(got), config.Spoken(asked))}
	}
	return fine("lifetime", "%s; %s was asked for", config.Spoken(got), config.Spoken(asked))
}

// compared says what came of the words that were asked for. That some are
// missing was let pass, or the token would not have been accepted.
func compared(about string, got, asked []string) sources.Finding {
	lacks := func(have []string) func(string) bool {
		return func(word string) bool { return !slices.Contains(have, word) }
	}
	text := strings.Join(got, " ")
	switch {
	case slices.ContainsFunc(asked, lacks(got)):
		return sources.Finding{Mark: sources.Warning, About: about, Text: fmt.Sprintf("%s; %s was asked for", cmp.Or(text, "none"), strings.Join(asked, " "))}
	case slices.ContainsFunc(got, lacks(asked)):
		return fine(about, "%s, more than was asked for", text)
	}
	if len(asked) == 0 {
		return fine(about, "%s", cmp.Or(text, "none"))
	}
	return fine(about, "%s, as asked", text)
}

// audienceOf are the entries of the claim aud, which is a string or an array of
// them.
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
