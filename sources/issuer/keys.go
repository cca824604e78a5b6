package issuer

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A Key is the public half of a key that tokens are signed with.
type Key struct {
	ID        string           // kid; "" for one without
	Algorithm string           // alg; "" where it does not say
	Public    crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// An Unusable is a key of a set that no signature can be verified with here.
type Unusable struct {
	ID  string // kid; "" for one without
	Why string // "it is an RSA key of 1024 bits; …"
}

// ParseKeys reads a set of keys (JWKS, RFC 7517 section 5), and of these what a
// signature can be verified with. Others are passed over, as that section wants.
func ParseKeys(jwks []byte) ([]Key, error) {
	object, err := decodeObject(jwks)
	if err != nil {
		return nil, err
	}
	set, err := readKeySet(object)
	return set.keys, err
}

// A keySet is what an issuer publishes.
type keySet struct {
	keys     []Key
	unusable []Unusable
}

// mostKeys is how many keys a set may have: far more than an issuer needs, and few
// enough to try them all with a token that names none.
const mostKeys = 200

func readKeySet(object map[string]any) (keySet, error) {
	list, ok := object["keys"].([]any)
	if !ok {
		return keySet{}, errors.New("it is no set of keys (JWKS, RFC 7517): it has no list named keys")
	}
	if len(list) > mostKeys {
		return keySet{}, fmt.Errorf("it has %d keys; a set that can be used has at most %d", len(list), mostKeys)
	}
	set := keySet{keys: []Key{}}
	for _, member := range list {
		k, why := readKey(member)
		if why == "" {
			set.keys = append(set.keys, k)
		} else {
			set.unusable = append(set.unusable, Unusable{k.ID, why})
		}
	}
	return set, nil
}

// readKey reads one key; why says why it cannot be used, "" where it can.
func readKey(member any) (k Key, why string) {
	object, _ := member.(map[string]any)
	k.ID, _ = object["kid"].(string)
	data, err := json.Marshal(member)
	if err != nil {
		return k, "it is no JWK (RFC 7517)"
	}
	var parsed jose.JSONWebKey
	switch {
	case parsed.UnmarshalJSON(data) != nil || !parsed.Valid():
		return k, "it is no JWK of a kind that signs tokens (RFC 7517, RFC 7518 section 6)"
	case parsed.Use != "" && parsed.Use != "sig":
		return k, "its use is not sig"
	case !isForVerifying(object["key_ops"]):
		return k, "its key_ops do not have verify"
	}
	parsed = parsed.Public() // whoever publishes the private half has other worries
	k.Algorithm, k.Public = parsed.Algorithm, parsed.Key
	return k, weakness(k.Public)
}

// isForVerifying reads key_ops (RFC 7517 section 4.3).
func isForVerifying(ops any) bool {
	list, _ := ops.([]any)
	return ops == nil || slices.Contains(list, any("verify"))
}

// Keys are those of the issuer that can verify a signature, asked for now, and
// where they are. Its errors are faults.
func (s *Server) Keys(ctx context.Context) (keys []Key, address string, err error) {
	address, err = s.keysAddress(ctx)
	switch {
	case err != nil:
		return nil, "", err
	case address == "":
		return nil, "", s.faultIn("metadata", misconfigured("it names no jwks_uri, so nobody can verify its tokens"))
	}
	set, _, err := s.readKeys(ctx, address)
	return set.keys, address, err
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

func (s *Server) readKeys(ctx context.Context, address string) (keySet, *reply, error) {
	answer, err := s.fetch(ctx, address)
	if err != nil {
		return keySet{}, nil, s.faultIn("keys at "+address, err)
	}
	set, err := readKeySet(answer.object)
	if err != nil {
		return keySet{}, nil, s.faultIn("keys at "+address, err)
	}
	return set, answer, nil
}

// VerifyWith holds the signature of a JWT against keys that are at hand: those of
// its kid where it names one. As for [Server.Verify], a signature by a secret that
// is shared is none. It looks at no claim.
func VerifyWith(keys []Key, token agent.Secret) error {
	t, err := profile.Decode(token.Reveal())
	if err != nil {
		return err
	}
	if err := new(Server).checkHeader(t); err != nil {
		return err
	}
	id, named := t.Header["kid"].(string)
	switch {
	case len(keys) == 0:
		return errors.New("there is no key to verify it with; the issuer must publish its keys")
	case named && len(withID(keys, id)) == 0:
		return fmt.Errorf("the key %q that it says it is signed with is not among them; the issuer must publish it", cut(id))
	case named && len(fitting(withID(keys, id), t)) == 0:
		return errors.New(keySet{keys: keys}.misfit(id, t))
	case !signedBy(keys, token, t):
		return errors.New("its signature is not by the key that it names, so somebody has made or changed it who does not have that")
	}
	return nil
}
