package issuer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A KeySet is what an issuer publishes (JWKS, RFC 7517 section 5).
type KeySet struct {
	Keys     []Key // those that a signature can be verified with
	Unusable []Unusable
}

// A Key is the public half of a key that tokens are signed with.
type Key struct {
	ID        string           // kid; "" for one without
	Algorithm string           // alg; "" where it does not say
	Public    crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	Odd       string           // what some verifiers refuse it for, as in [keys.PublicJWK]; "": nothing
}

// An Unusable is a key of a set that no signature can be verified with here.
type Unusable struct {
	ID     string // kid; "" for one without
	Why    string // "it is an RSA key of 1024 bits; …"
	Broken bool   // the issuer should correct it; else it is weak, or meant for another use
}

// ParseKeys reads a set of keys.
func ParseKeys(jwks []byte) (KeySet, error) {
	object, err := decodeObject(jwks)
	if err != nil {
		return KeySet{}, err
	}
	return readKeySet(object)
}

// mostKeys is how many keys a set may have: far more than an issuer needs, and few
// enough to try them all with a token that names none.
const mostKeys = 200

func readKeySet(object map[string]any) (KeySet, error) {
	list, ok := object["keys"].([]any)
	switch {
	case !ok && object["kty"] != nil:
		return KeySet{}, errors.New(`it is one key (JWK), and a set is wanted (JWKS, RFC 7517 section 5): {"keys": [ … ]}`)
	case !ok:
		return KeySet{}, errors.New("it is not a set of keys (JWKS, RFC 7517): it has no list named keys")
	case len(list) > mostKeys:
		return KeySet{}, fmt.Errorf("it has %d keys; a set that can be used has at most %d", len(list), mostKeys)
	}
	set := KeySet{Keys: []Key{}}
	for _, member := range list {
		set.add(member)
	}
	return set, nil
}

// add reads one key.
func (s *KeySet) add(member any) {
	jwk, err := keys.ReadPublicJWK(member)
	if err != nil {
		s.Unusable = append(s.Unusable, Unusable{jwk.ID, err.Error(), !errors.Is(err, keys.ErrOtherUse)})
		return
	}
	if why := weakness(jwk.Public); why != "" {
		s.Unusable = append(s.Unusable, Unusable{jwk.ID, why, false})
		return
	}
	if jwk.ID != "" && s.has(jwk.ID) {
		jwk.Odd = append(jwk.Odd, "a key before it has the same kid, and libscitokens and python-jwt take that one alone")
	}
	s.Keys = append(s.Keys, Key{jwk.ID, jwk.Algorithm, jwk.Public, strings.Join(jwk.Odd, "; ")})
}

// has reports whether a key of the set has that kid, be it usable or not.
func (s KeySet) has(id string) bool {
	return slices.ContainsFunc(s.Keys, func(k Key) bool { return k.ID == id }) ||
		slices.ContainsFunc(s.Unusable, func(u Unusable) bool { return u.ID == id })
}

// Broken are the keys of the set that the issuer should correct.
func (s KeySet) Broken() []Unusable {
	return slices.DeleteFunc(slices.Clone(s.Unusable), func(u Unusable) bool { return !u.Broken })
}

// describe is the key's name and why it cannot be used: `"2026-11" (its n is missing)`.
func (u Unusable) describe() string {
	if u.ID == "" {
		return "one without kid (" + u.Why + ")"
	}
	return fmt.Sprintf("%q (%s)", cut(u.ID), u.Why)
}

// Describe names keys that cannot be used, but not dozens; "" for none.
func Describe(unusable []Unusable) string {
	var texts []string
	for _, u := range unusable {
		texts = append(texts, u.describe())
	}
	return host.Few(texts, 5)
}

// untried names for the end of an error the keys that could not be tried, though they
// may have signed the token: of a token that names a key, those without kid.
func (s KeySet) untried(id string) string {
	left := slices.DeleteFunc(s.Broken(), func(u Unusable) bool { return id != "" && u.ID != "" })
	if len(left) == 0 {
		return ""
	}
	return ". Of what it publishes this cannot be used: " + Describe(left)
}

// Keys are those of the issuer, asked for now, and where they are. Its errors are
// faults.
func (s *Server) Keys(ctx context.Context) (set KeySet, address string, err error) {
	address, err = s.keysAddress(ctx)
	switch {
	case err != nil:
		return KeySet{}, "", err
	case address == "":
		return KeySet{}, "", s.faultIn("metadata", misconfigured("it names no jwks_uri, so its tokens cannot be verified"))
	}
	set, _, err = s.readKeys(ctx, address)
	return set, address, err
}

// keysAddress is where the keys are: as configured, or else as the metadata says;
// "" where that says nothing.
func (s *Server) keysAddress(ctx context.Context) (string, error) {
	if s.address.JWKSURI != "" {
		return s.address.JWKSURI, nil
	}
	m, err := s.Metadata(ctx)
	return m.JWKSURI, err
}

func (s *Server) readKeys(ctx context.Context, address string) (KeySet, *reply, error) {
	answer, err := s.fetch(ctx, address)
	if err != nil {
		return KeySet{}, nil, s.faultIn("keys at "+address, err)
	}
	set, err := readKeySet(answer.object)
	if err != nil {
		return KeySet{}, nil, s.faultIn("keys at "+address, err)
	}
	return set, answer, nil
}

// Verify checks the signature of a JWT with the keys of the set: those of its kid where it
// names one. Like [Server.Verify] it refuses signatures by a shared secret. It looks at no
// claim. It returns the key that has signed the token.
func (s KeySet) Verify(token agent.Secret) (Key, error) {
	t, err := profile.Decode(token.Reveal())
	if err != nil {
		return Key{}, err
	}
	if err := new(Server).checkHeader(t); err != nil {
		return Key{}, err
	}
	if k, ok := s.signer(token, t); ok {
		return k, nil
	}
	id, named := t.Header["kid"].(string)
	switch why := s.misfit(id, t); {
	case named && why != "":
		return Key{}, errors.New(why)
	case len(s.Keys) == 0:
		return Key{}, errors.New("there is no key to verify it with; the issuer must publish its keys" + s.untried(""))
	case named && len(withID(s.Keys, id)) == 0:
		return Key{}, fmt.Errorf("the key %q that it says it is signed with is not among them; the issuer must publish it%s", cut(id), s.untried(id))
	case !named:
		return Key{}, errors.New("none of the keys has signed it" + s.untried(""))
	}
	return Key{}, errors.New("its signature is not by the key that it names, so the token was made or changed by somebody without that key")
}
