package sources

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A presented token lies in a file that something else keeps fresh, such as one that
// Kubernetes projects into a pod, and is shown to an issuer. It is read again for each
// request.
type presented struct {
	what string // "subject token"
	path string
	jwt  bool // it must be one (RFC 7523)
}

// Read is what lies in the file now. One that is no token any more is not sent: an
// issuer would take it for the fault of the client.
func (p presented) Read(now time.Time) (agent.Secret, error) {
	data, info, err := readFollowed(p.path)
	if err != nil {
		return agent.Secret{}, &agent.Fault{Kind: kindOf(err), Err: fmt.Errorf("%s %w", p.what, err)}
	}
	text, err := taking{}.tokenIn(data)
	if err != nil {
		return agent.Secret{}, transientFault(fmt.Errorf("%s %s: %w; see to what keeps the file", p.what, p.path, err))
	}
	if p.jwt && !isJWT(text.Reveal()) {
		return agent.Secret{}, transientFault(fmt.Errorf("%s %s: it is not a JWT (RFC 7523); see to what keeps the file", p.what, p.path))
	}
	expires, err := taking{}.expiryIn(text, now)
	if end, _ := toldIn(data).end(info.ModTime()); err != nil || expires.IsZero() {
		expires = end
	}
	if !expires.IsZero() && !expires.After(now) {
		return agent.Secret{}, transientFault(fmt.Errorf("%s %s: it expired at %s; see to what keeps the file", p.what, p.path, expires.UTC().Format(time.RFC3339)))
	}
	return text, nil
}

// isJWT reports whether it is one, signed or encrypted.
func isJWT(text string) bool {
	const dotsOfJWE = 4
	return profile.Form(text) > 0 || strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == dotsOfJWE
}

// kindOf is that of a fault.
func kindOf(err error) agent.Kind {
	f, _ := errors.AsType[*agent.Fault](err)
	return f.Kind
}

// found says whether there is one now.
func (p presented) found(now time.Time) Finding {
	if _, err := p.Read(now); err != nil {
		return failed(p.what, err)
	}
	return fine(p.what, "one lies in %s", p.path)
}
