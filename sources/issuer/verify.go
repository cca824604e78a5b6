package issuer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// algorithms are those that a key set can verify (RFC 7518 section 3.1, RFC 8037).
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512,
	oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// types are the values of typ that an access token may have; many leave it out.
var types = []string{"", "jwt", "at+jwt", "application/at+jwt"} // RFC 7519 section 5.1, RFC 9068 section 2.1

// Verify holds the signature of a JWT against the issuer's keys, which are read
// again when they do not fit and kept when they cannot be read, and its claim iss
// against Address.Issuer. It looks at no other claim. The error of an opaque token
// wraps profile.ErrNoJWT; all of its errors are faults.
func (s *Server) Verify(ctx context.Context, token agent.Secret) (profile.Token, error) {
	t, err := profile.Decode(token.Reveal())
	if err != nil {
		return profile.Token{}, s.faultIn("token", misconfigured("%w", err))
	}
	if err := s.checkHeader(t); err != nil {
		return profile.Token{}, s.faultIn("token", err)
	}
	keys, err := s.keySet(ctx)
	if err != nil {
		return profile.Token{}, err
	}
	if err := keys.verify(ctx, token.Reveal(), t); err != nil {
		return profile.Token{}, s.faultIn("keys at "+keys.address, err)
	}
	return t, nil
}

// checkHeader refuses what no key of an issuer can vouch for, before any is asked
// for.
func (s *Server) checkHeader(t profile.Token) error {
	alg, _ := t.Header["alg"].(string)
	kind, _ := t.Header["typ"].(string)
	iss, _ := t.Claims["iss"].(string)
	switch {
	case strings.EqualFold(alg, "none") || alg == "":
		return misconfigured("alg: it is not signed, so anybody could have made it; the issuer must sign it")
	case strings.HasPrefix(alg, "HS"):
		return misconfigured("alg: it is signed with a shared secret (HS256 and its kin), which nobody else can verify; have the issuer sign with RS256 or ES256, or set verify = false")
	case !slices.Contains(algorithms, alg):
		return misconfigured("alg: it is none that can be verified; allowed are %s", strings.Join(algorithms, ", "))
	case !slices.Contains(types, strings.ToLower(kind)):
		return misconfigured("typ: it is %q, which is no access token's; allowed are JWT, at+jwt or none", cut(kind))
	case s.address.Issuer != "" && iss != s.address.Issuer:
		return misconfigured("iss: it is %q, another than the issuer that was asked; they must be equal, to the slash at the end", cut(iss))
	}
	return nil
}

// A keySet is the keys of an issuer, as go-oidc keeps them.
type keySet struct {
	address string
	remote  *oidc.RemoteKeySet
	read    *slot // what was last read
}

// keySet is the keys that the address names, or else the metadata.
func (s *Server) keySet(ctx context.Context) (*keySet, error) {
	address := s.address.JWKSURI
	if address == "" {
		m, err := s.Metadata(ctx)
		if err != nil {
			return nil, err
		}
		if address = m.JWKSURI; address == "" {
			return nil, s.faultIn("metadata", misconfigured("it names no jwks_uri, so no signature can be verified; set jwks_uri, or verify = false"))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil || s.keys.address != address {
		// The key set keeps the context for what it holds, not for when it ends.
		shared, read := withSlot(context.Background())
		remote := oidc.NewRemoteKeySet(oidc.ClientContext(shared, s.documentClient()), address)
		s.keys = &keySet{address, remote, read}
	}
	return s.keys, nil
}

// verify holds the token against the keys. A key that is not there yet may come,
// as when an issuer has just begun to sign with it; a signature that is wrong
// stays so.
func (k *keySet) verify(ctx context.Context, text string, t profile.Token) error {
	_, err := k.remote.VerifySignature(ctx, text)
	switch f, failed := errors.AsType[*agent.Fault](err); {
	case err == nil:
		return nil
	case failed:
		return f
	case ctx.Err() != nil:
		return unreachable(context.Cause(ctx), usual)
	}
	ids, isSet := k.ids()
	id, named := t.Header["kid"].(string)
	switch {
	case !isSet || strings.HasPrefix(err.Error(), "fetching keys"): // as go-oidc begins what it says of a set that it cannot read
		return transient("what lies there is no set of keys (JWKS, RFC 7517)")
	case named && !slices.Contains(ids, id):
		return transient("the key %q that signed the token is not among them yet; the issuer must publish it", cut(id))
	}
	return misconfigured("none of them has signed the token; see whether it comes from this issuer")
}

// ids are the kid of all keys; false where no set of keys was read.
func (k *keySet) ids() (ids []string, isSet bool) {
	r := k.read.Load()
	if r == nil {
		return nil, false
	}
	keys, isSet := r.object["keys"].([]any)
	for _, key := range keys {
		object, _ := key.(map[string]any)
		id, _ := object["kid"].(string)
		ids = append(ids, id)
	}
	return ids, isSet
}
