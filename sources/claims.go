package sources

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// early is how long before iat a token is valid, for verifiers whose clocks are slow.
const early = time.Minute

// requested are the claims of any token of ours: those that req asks for, iss
// where issuer is not "", and what is new in each token signed at the time now.
func requested(issuer string, req agent.Request, now time.Time) map[string]any {
	claims := map[string]any{
		"iat": now.Unix(),
		"nbf": now.Add(-early).Unix(),
		"exp": expiry(now, req.Lifetime).Unix(),
		"jti": newID(),
	}
	setText(claims, "iss", issuer)
	setText(claims, "sub", req.Subject)
	setText(claims, "scope", strings.Join(req.Scope, " "))
	if aud := audience(req.Audience); aud != nil {
		claims["aud"] = aud
	}
	return claims
}

// addFurther adds further claims to those set. One that is set already must be
// equal; the times and jti are new in each token, and never are.
func addFurther(set, further map[string]any) []profile.Problem {
	var problems []profile.Problem
	for _, name := range slices.Sorted(maps.Keys(further)) {
		own, taken := set[name]
		switch {
		case !taken:
			set[name] = further[name]
		case name == "iat" || name == "nbf" || name == "exp" || name == "jti":
			problems = append(problems, profile.Problem{Claim: name, Text: "it is new in each token; leave it out of the further claims"})
		case !profile.Same(name, own, further[name]):
			text := fmt.Sprintf("a further claim says %v, but it is set to %v; leave it out of the further claims", further[name], own)
			problems = append(problems, profile.Problem{Claim: name, Text: text})
		}
	}
	return problems
}

// unwritable says why t, with a signature of so many bytes, makes no token: it is
// no JSON, or too much of it.
func unwritable(t profile.Token, signature int) []profile.Problem {
	header, errHeader := json.Marshal(t.Header)
	payload, errPayload := json.Marshal(t.Claims)
	if err := errors.Join(errHeader, errPayload); err != nil {
		return []profile.Problem{{Text: "the claims cannot be written as JSON; " + err.Error()}}
	}
	size := len("..")
	for _, part := range []int{len(header), len(payload), signature} {
		size += base64.RawURLEncoding.EncodedLen(part)
	}
	if size > agent.MaxText {
		text := fmt.Sprintf("the token would have %d bytes; readers take at most %d", size, agent.MaxText)
		return []profile.Problem{{Text: text}}
	}
	return nil
}

// issueSigned signs a token for req with what claims says of it, unless a problem
// there is an error. Its exp is the whole second that Expires says.
func issueSigned(ctx context.Context, signer jose.Signer, req agent.Request, claims func(agent.Request, time.Time) (map[string]any, []profile.Problem)) (agent.Token, error) {
	if err := ctx.Err(); err != nil {
		return agent.Token{}, err
	}
	now := agent.Now(ctx)
	set, problems := claims(req, now)
	for _, p := range problems {
		if !p.Warning {
			return agent.Token{}, configurationFault(errors.New(p.String()))
		}
	}
	text, err := sign(signer, set)
	if err != nil {
		return agent.Token{}, configurationFault(err)
	}
	return agent.Token{Secret: agent.NewSecret(text), Issued: now, Expires: expiry(now, req.Lifetime)}, nil
}

// sign writes the claims as a JWS in compact form; signer is nil without a key.
func sign(signer jose.Signer, claims map[string]any) (string, error) {
	if signer == nil {
		return "", errors.New("the key was not read; only definitions were looked at")
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return jws.CompactSerialize()
}

func configurationFault(err error) error {
	return &agent.Fault{Kind: agent.Configuration, Err: err}
}

// expiry is the whole second at which a token signed at the time now ends: exp
// and the agent's own idea of it must agree, for verifiers give no leeway.
func expiry(now time.Time, lifetime time.Duration) time.Time {
	return time.Unix(now.Unix()+int64(lifetime/time.Second), 0)
}

// newID is a fresh jti in the form that HTCondor uses: 32 lower-case
// hexadecimal digits.
func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails, as crypto/rand says
	return hex.EncodeToString(id[:])
}

func setText(claims map[string]any, name, text string) {
	if text != "" {
		claims[name] = text
	}
}

// audience is one entry as a string, several as an array (RFC 7519 section
// 4.1.3), and nil for none.
func audience(entries []string) any {
	switch len(entries) {
	case 0:
		return nil
	case 1:
		return entries[0]
	}
	list := make([]any, len(entries))
	for i, entry := range entries {
		list[i] = entry
	}
	return list
}
