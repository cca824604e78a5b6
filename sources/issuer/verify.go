package issuer

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// algorithms are those that a key set can verify (RFC 7518 section 3.1, RFC 8037).
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
	jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
}

func allowedAlgorithms() string {
	var names []string
	for _, a := range algorithms {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

// types are the values of typ that an access token may have; many leave it out.
var types = []string{"", "jwt", "application/jwt", "at+jwt", "application/at+jwt"} // RFC 7519 section 5.1, RFC 9068 section 2.1

// Verify checks the signature of a JWT with the issuer's keys, and its claim iss, which
// must be Address.Issuer. It looks at no other claim. The keys are read again when none
// fits. When they cannot be read, the last ones are used. The error of an opaque token
// wraps profile.ErrNoJWT; all of its errors are faults.
func (s *Server) Verify(ctx context.Context, token agent.Secret) (profile.Token, error) {
	t, err := profile.Decode(token.Reveal())
	if err != nil {
		return profile.Token{}, s.faultIn("token", misconfigured("%w", err))
	}
	if profile.HoldsNUL(t.Header) || profile.HoldsNUL(t.Claims) {
		return profile.Token{}, s.faultIn("token", misconfigured("%w; the issuer must leave it out", profile.ErrNUL))
	}
	if err := s.checkHeader(t); err != nil {
		return profile.Token{}, s.faultIn("token", err)
	}
	address, err := s.keysAddress(ctx)
	switch {
	case err != nil:
		return profile.Token{}, err
	case address == "":
		return profile.Token{}, s.faultIn("metadata", misconfigured("it names no jwks_uri, so no signature can be verified; set jwks_uri, or verify = false"))
	}
	if err := s.verifySignature(ctx, address, token, t); err != nil {
		return profile.Token{}, err
	}
	return t, nil
}

// checkHeader refuses a token that no key of the issuer can verify, before the keys are
// read.
func (s *Server) checkHeader(t profile.Token) error {
	alg, _ := t.Header["alg"].(string)
	kind, isText := t.Header["typ"].(string)
	iss, _ := t.Claims["iss"].(string)
	_, named := t.Header["kid"].(string)
	switch {
	case strings.EqualFold(alg, "none") || alg == "":
		return misconfigured("alg: it is not signed, so anybody could have made it; the issuer must sign it")
	case strings.HasPrefix(alg, "HS"):
		return misconfigured("alg: it is signed with a shared secret (HS256 and its kin), which others cannot verify; have the issuer sign with RS256 or ES256, or set verify = false")
	case !slices.Contains(algorithms, jose.SignatureAlgorithm(alg)):
		return misconfigured("alg: it cannot be verified; allowed are %s", allowedAlgorithms())
	case t.Header["typ"] != nil && !isText:
		return misconfigured("typ: it is not text; allowed are JWT, at+jwt or none")
	case !slices.Contains(types, strings.ToLower(kind)):
		return misconfigured("typ: it is %q, which is not that of an access token; allowed are JWT, at+jwt or none", cut(kind))
	case t.Header["kid"] != nil && !named:
		return misconfigured("kid: it is not text, which verifiers want (RFC 7515 section 4.1.4); have the issuer write it in quotes")
	case has(t.Header, "crit") || has(t.Header, "b64"):
		return misconfigured("crit: it has extensions that a reader must understand (RFC 7515 section 4.1.11), and those of tokens understand none; have the issuer leave them out")
	case s.address.Issuer != "" && iss != s.address.Issuer:
		return misconfigured("iss: it is %q, another than the issuer that was asked; they must be equal, to the slash at the end", cut(iss))
	}
	return nil
}

func has(members map[string]any, name string) bool {
	_, there := members[name]
	return there
}

// A keyring is the keys of an issuer as they were last read.
type keyring struct {
	KeySet
	address string
	until   time.Time // then they are read again, since one may have been withdrawn
}

// verifySignature tries the keys that are known, and then reads them again. A key that is
// missing may still be published, as when an issuer has just begun to sign with it. A
// wrong signature stays wrong.
func (s *Server) verifySignature(ctx context.Context, address string, token agent.Secret, t profile.Token) error {
	s.mu.Lock()
	ring := s.keys
	s.mu.Unlock()
	fits := ring.address == address && ring.signed(token, t)
	if fits && time.Now().Before(ring.until) {
		return nil
	}
	set, err := s.freshKeys(ctx, address)
	switch {
	case err != nil && fits:
		return nil
	case err != nil:
		return err
	case set.signed(token, t):
		return nil
	}
	id, named := t.Header["kid"].(string)
	if why := set.misfit(id, t); named && why != "" {
		return s.faultIn("keys at "+address, misconfigured("%s", why))
	}
	if named && len(withID(set.Keys, id)) == 0 {
		return patient(s.faultIn("keys at "+address, transient("the key %q that signed the token is not among them yet; the issuer must publish it%s", cut(id), set.untried(id))))
	}
	return s.faultIn("keys at "+address, misconfigured("none of them has signed the token; see whether it comes from this issuer%s", set.untried("")))
}

// freshKeys are the keys as they are now; those known are kept where they cannot be
// read. Several who want them ask once.
func (s *Server) freshKeys(ctx context.Context, address string) (KeySet, error) {
	return shared(ctx, s, "keys at "+address, func(ctx context.Context) (KeySet, error) {
		set, _, err := s.readKeys(ctx, address)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.keys.until = time.Now().Add(metadataAgain)
			return KeySet{}, patient(err)
		}
		s.keys = keyring{set, address, time.Now().Add(metadataLife)}
		return set, nil
	})
}

// withID are the keys with that kid.
func withID(keys []Key, id string) []Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return k.ID != id })
}

func (s KeySet) signed(token agent.Secret, t profile.Token) bool {
	_, ok := s.signer(token, t)
	return ok
}

// signer is the key that has signed the token: one for its algorithm, and with its kid,
// if it names one.
func (s KeySet) signer(token agent.Secret, t profile.Token) (Key, bool) {
	keys := s.Keys
	if id, named := t.Header["kid"].(string); named {
		keys = withID(keys, id)
	}
	keys = fitting(keys, t)
	signed, err := jose.ParseSignedCompact(token.Reveal(), algorithms)
	if err != nil {
		return Key{}, false
	}
	i := slices.IndexFunc(keys, func(k Key) bool {
		_, err := signed.Verify(k.Public)
		return err == nil
	})
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}
