package sources

import (
	"context"
	"fmt"
	"os"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// A Logout is what became of the refresh token of a source.
type Logout struct {
	Removed string // the file that it was stored in; "": none was stored
	Revoked bool   // the issuer takes it no longer; false: it was not asked
	Left    string // the refresh_token_file, which holds a token still; "": there is none
}

// LogOut has the issuer of a source "refresh_token" revoke the refresh token that counts
// (RFC 7009), and one that is stored beside a newer refresh_token_file, and removes what is
// stored. With local the issuer is not asked. After an error nothing is removed, unless it
// is one of the removal. It works beside a running agent.
func LogOut(ctx context.Context, of agent.Source, local bool) (Logout, error) {
	s, ok := of.(*refreshToken)
	if !ok {
		return Logout{}, fmt.Errorf("it keeps no refresh token")
	}
	lock, err := s.hold(ctx)
	if err != nil {
		return Logout{}, err
	}
	defer lock.Release()
	var out Logout
	if !local {
		if err := s.revoke(ctx, lock); err != nil {
			return out, err
		}
		out.Revoked = true
	}
	if _, err := os.Lstat(s.store.Path()); err == nil {
		if err := lock.Remove(); err != nil {
			return out, writingFault(err)
		}
		out.Removed = s.store.Path()
	}
	if _, err := os.Lstat(s.file); s.file != "" && err == nil {
		out.Left = s.file
	}
	return out, nil
}

// revoke has the issuer revoke what is stored and the refresh token that counts, which may
// be another.
func (s *refreshToken) revoke(ctx context.Context, lock *refresh.Lock) error {
	stored, err := lock.Read()
	if err != nil {
		return err
	}
	used, err := s.counts(stored)
	if err != nil {
		return err
	}
	ctx, cancel := withGrace(ctx)
	defer cancel()
	if s.gave(stored) && !stored.Text.Equal(used.Text) {
		if err := s.server.Revoke(ctx, s.client, stored.Text); err != nil {
			return err
		}
	}
	return s.server.Revoke(ctx, s.client, used.Text)
}
