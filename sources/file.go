package sources

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// A fileCopy source copies a token that something else keeps fresh, to sinks with
// other owners, modes or formats:
//
//	source "file" "credmon" {
//	  path            = "/var/lib/condor/oauth_credentials/robot/vault.use"
//	  token_format    = "jwt"  # or "opaque"; default: found out
//	  on_widened      = "warn" # of one that allows more than the token block says; default: "refuse"
//	  assume_lifetime = "20m"  # after the file changed, of a token whose end nothing tells; default: it never expires
//	}
//
// The file holds a token in any format of the file sink; of several lines the
// first counts. What JSON says of its end counts too (see told). The file is read again
// when it changes, and once a minute, as a file server (NFS) tells of no change.
type fileCopy struct {
	Path string `hcl:"path,path"`
	taking
}

func decodeFile(b *config.Block) config.Source {
	s := fileCopy{taking: takingDefaults()}
	b.Decode(&s)
	s.taking.validate(b)
	inspectFollowed(b, "path", s.Path)
	return s.facts(config.Source{Source: s})
}

// Follows is the file, whose change is a new token.
func (s fileCopy) Follows() (path string, copied bool) { return s.Path, true }

// Issue reads the file. Its token was issued when it was read, as far as anybody
// needs to know: so its successor is looked for at half of what is left of it.
func (s fileCopy) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	if err := ctx.Err(); err != nil {
		return agent.Token{}, err
	}
	now := agent.Now(ctx)
	data, info, err := readFollowed(s.Path)
	if err != nil {
		return agent.Token{}, err
	}
	text, err := s.tokenIn(data)
	if err != nil {
		return agent.Token{}, transientFault(fmt.Errorf("%s: %w; see to what keeps the file", s.Path, err))
	}
	expires, err := s.expiryIn(text, now)
	if err != nil {
		return agent.Token{}, about(s.Path, err)
	}
	end, note := toldIn(data).end(info.ModTime())
	switch {
	case !end.IsZero() && (expires.IsZero() || end.Before(expires)):
		expires = end
	case expires.IsZero() && s.AssumeLifetime > 0:
		expires = info.ModTime().Add(s.AssumeLifetime)
	}
	t := agent.Token{Secret: text, Issued: now, Expires: expires, Note: note}
	if t.Expired(now) {
		return agent.Token{}, transientFault(fmt.Errorf("%s: the token in it expired at %s; see to what keeps the file", s.Path, expires.UTC().Format(time.RFC3339)))
	}
	if err := s.compareCopied(&t, req); err != nil {
		return agent.Token{}, configurationFault(fmt.Errorf("%s: %w", s.Path, err))
	}
	return t, nil
}

// compareCopied is an error where a token that something else got allows more than
// req says. An opaque one tells nothing.
func (w taking) compareCopied(t *agent.Token, req agent.Request) error {
	decoded, err := w.decode(t.Secret)
	if err != nil || decoded.Claims == nil {
		return err
	}
	return w.apply(t, decoded, nil, req, "have whatever gets it ask for less")
}

// expiryIn is the claim exp of a JWT; the zero time where there is none, or where
// the text is not a JWT. Its errors are faults, that of a JWT which readers do not take
// yet a transient one.
func (w taking) expiryIn(text agent.Secret, now time.Time) (time.Time, error) {
	decoded, err := w.decode(text)
	if err != nil {
		return time.Time{}, configurationFault(fmt.Errorf("the token in it: %w", err))
	}
	if err := checkBegun(decoded.Claims, now); err != nil {
		return time.Time{}, err
	}
	expires, err := expiryClaim(decoded.Claims)
	if err != nil {
		return time.Time{}, configurationFault(err)
	}
	return expires, nil
}

// about says what the fault is about.
func about(what string, err error) error {
	f, _ := errors.AsType[*agent.Fault](err)
	return &agent.Fault{Kind: f.Kind, Err: fmt.Errorf("%s: %w", what, f.Err)}
}
