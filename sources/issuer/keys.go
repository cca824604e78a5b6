package issuer

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A Key is the public half of a key that tokens are signed with.
type Key struct {
	ID        string           // kid; "" for one without
	Algorithm string           // alg; "" where it does not say
	Public    crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// ParseKeys reads a set of keys (JWKS, RFC 7517 section 5), and of these what a
// signature can be verified with. Others are passed over, as that section wants.
func ParseKeys(jwks []byte) ([]Key, error) {
	object, err := decodeObject(jwks)
	if err != nil {
		return nil, err
	}
	return readKeySet(object)
}

// mostKeys is how many keys a set may have: far more than an issuer needs, and few
// enough to try them all with a token that names none.
const mostKeys = 200

func readKeySet(object map[string]any) ([]Key, error) {
	list, ok := object["keys"].([]any)
	if !ok {
		return nil, errors.New("it is no set of keys (JWKS, RFC 7517): it has no list named keys")
	}
	if len(list) > mostKeys {
		return nil, fmt.Errorf("it has %d keys; a set that can be used has at most %d", len(list), mostKeys)
	}
	keys := []Key{}
	for _, member := range list {
		if k, usable := readKey(member); usable {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func readKey(member any) (Key, bool) {
	data, err := json.Marshal(member)
	if err != nil {
		return Key{}, false
	}
	var k jose.JSONWebKey
	if k.UnmarshalJSON(data) != nil || !k.Valid() || k.Use != "" && k.Use != "sig" {
		return Key{}, false
	}
	k = k.Public() // whoever publishes the private half has other worries
	if weak, ok := k.Key.(*rsa.PublicKey); ok && weak.N.BitLen() < keys.LeastRSA {
		return Key{}, false // RFC 7518 section 3.3
	}
	return Key{k.KeyID, k.Algorithm, k.Key}, k.Key != nil
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
	keys, _, err = s.readKeys(ctx, address)
	return keys, address, err
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

func (s *Server) readKeys(ctx context.Context, address string) ([]Key, *reply, error) {
	answer, err := s.fetch(ctx, address)
	if err != nil {
		return nil, nil, s.faultIn("keys at "+address, err)
	}
	keys, err := readKeySet(answer.object)
	if err != nil {
		return nil, nil, s.faultIn("keys at "+address, err)
	}
	return keys, answer, nil
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
	case !signedBy(keys, token, t):
		return errors.New("its signature is not by the key that it names, so somebody has made or changed it who does not have that")
	}
	return nil
}
