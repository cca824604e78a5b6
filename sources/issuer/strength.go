package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// weakness says why a signature by the key proves nothing; "" where it does. Package keys
// has refused keys that are too large, have an exponent of one, or are points of small order.
func weakness(public crypto.PublicKey) string {
	k, isRSA := public.(*rsa.PublicKey)
	switch {
	case !isRSA:
		return ""
	case k.N.BitLen() < keys.LeastRSA:
		return fmt.Sprintf("it is an RSA key of %d bits; at least %d are needed (RFC 7518 section 3.3)", k.N.BitLen(), keys.LeastRSA)
	case k.N.Bit(0) == 0 || k.E%2 == 0:
		return "it is an RSA key whose modulus or exponent is even, which no real one is"
	}
	return ""
}

// fits reports whether the key is for the algorithm: by its own alg (RFC 7517
// section 4.4), and by its kind and curve (RFC 7518 section 3.1, RFC 8037 section 3.1).
func (k Key) fits(alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg && !(k.Algorithm == "Ed25519" && alg == "EdDSA") { // RFC 9864 renames it
		return false
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return alg == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// fitting are the keys that are for the algorithm of the token.
func fitting(all []Key, t profile.Token) []Key {
	alg, _ := t.Header["alg"].(string)
	return slices.DeleteFunc(slices.Clone(all), func(k Key) bool { return !k.fits(alg) })
}

// misfit says why no key of the set with that kid can have signed the token; "" where one
// can, or where no key has that kid.
func (s KeySet) misfit(id string, t profile.Token) string {
	alg, _ := t.Header["alg"].(string)
	named := withID(s.Keys, id)
	if len(fitting(named, t)) > 0 {
		return ""
	}
	if len(named) > 0 {
		if k := named[0]; k.Algorithm != "" && k.Algorithm != alg {
			return fmt.Sprintf("the key %q that the token names is for the algorithm %s, and the token is signed with %s; the issuer must sign with the algorithm that it publishes", cut(id), cut(k.Algorithm), alg)
		}
		return fmt.Sprintf("the key %q that the token names is of another kind than %s, with which the token is signed; the issuer must publish the key that it signs with", cut(id), alg)
	}
	for _, u := range s.Unusable {
		if u.ID == id && id != "" {
			advice := map[bool]string{true: "correct what it publishes", false: "sign with another"}[u.Broken]
			return fmt.Sprintf("the key %q that the token names cannot be used: %s; the issuer must %s", cut(id), u.Why, advice)
		}
	}
	return ""
}
