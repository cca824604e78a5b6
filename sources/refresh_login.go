package sources

import (
	"context"
	"fmt"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// A LoginSource is a source that a person logs in to once. Then it gets tokens by itself.
type LoginSource interface {
	agent.Source
	// Login asks to let the source in for what req says, has show tell the person
	// what to do, waits for them, and stores what it was given in the file that it
	// names. It works beside a running agent.
	Login(ctx context.Context, req agent.Request, show func(Prompt)) (file string, err error)
}

// A Prompt is what a person has to do to log a source in: open an address and enter a code (the
// device flow, RFC 8628), or have an administrator approve a request.
type Prompt struct {
	issuer.Device        // zero for a request
	Request       string // the number of the request; "" for an address
	Approve       string // what an administrator types to approve it
}

// Login gets the source a refresh token of its own.
func (s *refreshToken) Login(ctx context.Context, req agent.Request, show func(Prompt)) (file string, err error) {
	if s.store == nil {
		return "", errNoFolder
	}
	if err := s.storable(ctx); err != nil {
		return "", err
	}
	answer, err := s.server.Device(ctx, s.client, req.Scope, s.form(req, "", nil), func(d issuer.Device) { show(Prompt{Device: d}) })
	if err != nil {
		return "", err
	}
	if answer.Refresh.Reveal() == "" {
		return "", fmt.Errorf("%s let this client in, but gave no refresh token; ask for the scope that it gives one for (offline_access at most issuers), and have it allow this client the grant refresh_token", s.server.Name())
	}
	return s.store.Path(), s.settle(ctx, refresh.Token{Text: answer.Refresh, Issuer: s.server.Name(), ClientID: s.client.ID, Expires: answer.RefreshExpires})
}

// storable is an error unless a refresh token can be stored.
func (s *refreshToken) storable(ctx context.Context) error {
	lock, err := s.store.Lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	return lock.Ready()
}

// settle stores a token that a person has got. The refresh_token_file, as it is now, no longer
// counts.
func (s *refreshToken) settle(ctx context.Context, t refresh.Token) error {
	if s.file != "" {
		if content, err := readRefreshToken(s.file); err == nil {
			t.From = refresh.FingerprintOf([]byte(content))
		}
	}
	lock, err := s.store.Lock(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer lock.Release()
	return lock.Keep(t)
}
