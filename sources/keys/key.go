// Package keys reads, makes and converts the private keys that sign tokens.
//
// A file holds one key, as PKCS#8, PKCS#1 or SEC1 in PEM, as JWK (RFC 7517), or
// as ClusterCockpit's gen-keypair prints it. No key is ever printed by accident,
// and no error quotes what a file holds.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/go-jose/go-jose/v4"
)

// LeastRSA is how many bits an RSA key must have (RFC 7518 section 3.3).
const LeastRSA = 2048

// A Key is a private key together with the algorithm it signs with and the name
// by which verifiers find its public half. It prints as "ES256 key NAME". The
// zero Key holds no key.
type Key struct {
	private   *crypto.Signer // a pointer, so that %+v of whatever holds a Key shows an address
	algorithm string
	id        string
}

// newKey takes an *rsa.PrivateKey, *ecdsa.PrivateKey or ed25519.PrivateKey.
func newKey(private crypto.Signer) (Key, error) {
	algorithms, err := algorithmsOf(private)
	if err != nil {
		return Key{}, err
	}
	id, err := thumbprint(private.Public())
	return Key{private: &private, algorithm: algorithms[0], id: id}, err
}

// Algorithm is the value of the header parameter alg (RFC 7518, RFC 8037):
// unless WithAlgorithm says otherwise RS256, ES256, ES384, ES512 or EdDSA, by the
// kind of the key.
func (k Key) Algorithm() string { return k.algorithm }

// ID is the value of the header parameter kid: unless WithID says otherwise the
// kid of the JWK it was read from, or else the thumbprint of RFC 7638.
func (k Key) ID() string { return k.id }

// IsZero reports whether k holds no key.
func (k Key) IsZero() bool { return k.private == nil }

// Private returns the private key itself: *rsa.PrivateKey, *ecdsa.PrivateKey or
// ed25519.PrivateKey. It is for signing; do not print it. With the zero Key it panics.
func (k Key) Private() crypto.Signer { return *k.private }

// Public returns the public half: *rsa.PublicKey, *ecdsa.PublicKey or
// ed25519.PublicKey.
func (k Key) Public() crypto.PublicKey { return k.Private().Public() }

// longestID is how many bytes a kid may have.
const longestID = 255

// CheckID is an error unless id may be a kid: verifiers, logs and people are shown
// it. The error does not quote it.
func CheckID(id string) error {
	if len(id) > longestID {
		return fmt.Errorf("its kid has %d bytes; at most %d are allowed", len(id), longestID)
	}
	if strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("its kid has a character that cannot be printed; printable ones are allowed")
	}
	return nil
}

// WithID returns the key under another kid, as [CheckID] takes it; "" leaves it as
// it is.
func (k Key) WithID(id string) Key {
	if id != "" {
		k.id = id
	}
	return k
}

// SignatureSize is how many bytes its signatures have (RFC 7518 section 3, RFC
// 8037 section 3.1); 0 of the zero Key.
func (k Key) SignatureSize() int {
	if k.IsZero() {
		return 0
	}
	switch public := k.Public().(type) {
	case *rsa.PublicKey:
		return public.Size()
	case *ecdsa.PublicKey:
		return 2 * ((public.Curve.Params().BitSize + 7) / 8)
	default:
		return ed25519.SignatureSize
	}
}

// WithAlgorithm returns the key for signing with another algorithm; "" leaves it
// as it is. One that the key cannot sign with is an error.
func (k Key) WithAlgorithm(name string) (Key, error) {
	if name == "" {
		return k, nil
	}
	able, err := algorithmsOf(k.Private())
	if err != nil {
		return Key{}, err
	}
	if !slices.Contains(able, name) {
		return Key{}, fmt.Errorf("%s does not sign with %s; allowed is %s", describe(k.Private()), name, strings.Join(able, ", "))
	}
	k.algorithm = name
	return k, nil
}

// String is what may be shown: the algorithm and the kid.
func (k Key) String() string {
	if k.IsZero() {
		return "no key"
	}
	return k.algorithm + " key " + k.id
}

// Format writes String, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// Algorithms returns those that Generate takes.
func Algorithms() []string {
	return []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "EdDSA"}
}

// Generate makes a new key for the algorithm; an RSA key has LeastRSA bits.
func Generate(algorithm string) (Key, error) {
	private, err := generate(algorithm)
	if err != nil {
		return Key{}, err
	}
	k, err := newKey(private)
	if err != nil {
		return Key{}, err
	}
	return k.WithAlgorithm(algorithm)
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "RS256", "RS384", "RS512", "PS256":
		return rsa.GenerateKey(rand.Reader, LeastRSA)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	default:
		return nil, fmt.Errorf("there is no algorithm %q; allowed are %s", algorithm, strings.Join(Algorithms(), ", "))
	}
}

// algorithmsOf returns what the key can sign with, the usual one first.
func algorithmsOf(private crypto.Signer) ([]string, error) {
	switch private := private.(type) {
	case *rsa.PrivateKey:
		if bits := private.N.BitLen(); bits < LeastRSA {
			return nil, fmt.Errorf("the RSA key has %d bits; at least %d are needed", bits, LeastRSA)
		}
		return []string{"RS256", "RS384", "RS512", "PS256"}, nil
	case *ecdsa.PrivateKey:
		switch private.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, fmt.Errorf("no algorithm of RFC 7518 uses the curve %s; allowed are P-256, P-384 and P-521", private.Curve.Params().Name)
	case ed25519.PrivateKey:
		return []string{"EdDSA"}, nil
	default:
		return nil, errKind
	}
}

// describe names the kind of a key.
func describe(private crypto.Signer) string {
	switch private := private.(type) {
	case *rsa.PrivateKey:
		return "an RSA key"
	case *ecdsa.PrivateKey:
		return "a key on the curve " + private.Curve.Params().Name
	default:
		return "an Ed25519 key"
	}
}

// Unnamed reports whether the key goes by its thumbprint (RFC 7638): nobody has given it
// another kid.
func (k Key) Unnamed() bool {
	id, err := thumbprint(k.Public())
	return err == nil && id == k.ID()
}

// thumbprint is the one of RFC 7638, with SHA-256.
func thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}
