package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Parse reads the one private key that data holds, in any of the formats of
// this package.
func Parse(data []byte) (Key, error) {
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		return Key{}, errors.New("it is empty")
	case bytes.Contains(text, []byte("-----BEGIN ")):
		return parsePEM(text)
	case text[0] == '{':
		return parseJWK(text)
	default:
		return parseClusterCockpit(string(text))
	}
}

// parsePEM takes the only private key among the blocks; certificates, public
// keys and curve names beside it are passed over.
func parsePEM(data []byte) (Key, error) {
	var found *pem.Block
	var others []string
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			others = append(others, block.Type)
			continue
		}
		if found != nil {
			return Key{}, errors.New("it holds several private keys; it must hold the one to sign with")
		}
		found = block
	}
	switch {
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return Key{}, errors.New("it is damaged or cut short; a block that begins with -----BEGIN does not end as PEM does")
	case found == nil:
		return Key{}, noPrivateKey(others)
	}
	return parseBlock(found)
}

// noPrivateKey says what a file without a private key holds instead.
func noPrivateKey(blocks []string) error {
	for _, block := range blocks {
		switch {
		case strings.HasSuffix(block, "PUBLIC KEY"):
			return errors.New("it holds a public key; signing needs the private one")
		case block == "CERTIFICATE":
			return errors.New("it holds a certificate; signing needs the private key")
		}
	}
	return errors.New("it holds no private key")
}

func parseBlock(block *pem.Block) (Key, error) {
	_, encrypted := block.Headers["DEK-Info"]
	if encrypted || block.Type == "ENCRYPTED PRIVATE KEY" {
		return Key{}, errors.New("it is encrypted, and an agent has nobody to ask for the passphrase; decrypt it with: (umask 077; openssl pkey -in OLD -out NEW)")
	}
	private, err := parseDER(block)
	if err != nil {
		return Key{}, err
	}
	return newKey(private)
}

func parseDER(block *pem.Block) (crypto.Signer, error) {
	var private any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case "OPENSSH PRIVATE KEY":
		return nil, errors.New("it is in OpenSSH's own format; rewrite a copy of it with: ssh-keygen -p -N '' -m PKCS8 -f COPY")
	default:
		return nil, errKind
	}
	if err != nil {
		return nil, whyNot(block.Bytes)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, errKind
	}
	return signer, nil
}

// errKind does not name the kind: a file may call it anything.
var errKind = errors.New("a key of this kind signs no tokens; RSA, P-256, P-384, P-521 and Ed25519 keys do")

// oidSecp256k1 is the curve of ES256K, encoded: the one that people take for P-256.
var oidSecp256k1 = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a}

// whyNot says why a key could not be read, in our words: those of crypto/x509 may
// quote what they met.
func whyNot(der []byte) error {
	if bytes.Contains(der, oidSecp256k1) {
		return errors.New("its curve secp256k1 is not allowed; P-256, P-384 and P-521 are")
	}
	return errors.New("it is damaged, or of a kind that signs no tokens; RSA, P-256, P-384, P-521 and Ed25519 keys do")
}

// parseJWK reads a private key of RFC 7517; its own kid and alg count.
func parseJWK(data []byte) (Key, error) {
	var shape struct {
		Kty, Crv string
		D        *json.RawMessage
		Keys     *json.RawMessage
	}
	if err := json.Unmarshal(data, &shape); err != nil {
		return Key{}, errors.New("it begins like a JWK, but is no valid JSON")
	}
	switch {
	case shape.Keys != nil:
		return Key{}, errors.New("it is a set of keys (JWKS); it must hold the one JWK to sign with")
	case shape.Kty == "oct":
		return Key{}, errors.New("it holds a shared secret (kty oct); signing needs an RSA, EC or OKP key")
	case shape.Kty == "EC" && shape.Crv != "P-256" && shape.Crv != "P-384" && shape.Crv != "P-521":
		return Key{}, errors.New("its curve (crv) is not allowed; P-256, P-384 and P-521 are")
	case shape.D == nil:
		return Key{}, errors.New("it holds a public key, for it has no d; signing needs the private one")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(data); err != nil { // which may quote what it met
		return Key{}, errors.New("it is no valid JWK of an RSA, EC or Ed25519 key (RFC 7518 section 6); a member is missing, damaged, or does not belong to the others")
	}
	return keyOfJWK(jwk)
}

// keyOfJWK is the key under the kid and alg that its file gives it.
func keyOfJWK(jwk jose.JSONWebKey) (Key, error) {
	private, err := usable(jwk.Key)
	if err != nil {
		return Key{}, err
	}
	k, err := newKey(private)
	if err != nil {
		return Key{}, err
	}
	if err := CheckID(jwk.KeyID); err != nil {
		return Key{}, err
	}
	if jwk.Algorithm != "" && !slices.Contains(Algorithms(), jwk.Algorithm) {
		return Key{}, fmt.Errorf("its alg is not allowed; allowed are %s", strings.Join(Algorithms(), ", "))
	}
	return k.WithID(jwk.KeyID).WithAlgorithm(jwk.Algorithm)
}

// usable finishes a key as go-jose reads it: RSA is not ready to sign fast, and
// of EC nobody has looked whether the public half belongs to the private one.
func usable(key any) (crypto.Signer, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		key.Precompute()
		return key, nil
	case *ecdsa.PrivateKey:
		d, err := key.Bytes()
		if err != nil {
			return nil, errors.New("its d is no private key of its curve")
		}
		own, err := ecdsa.ParseRawPrivateKey(key.Curve, d)
		if err != nil || !own.PublicKey.Equal(&key.PublicKey) {
			return nil, errors.New("its public half (x, y) does not belong to its private one (d)")
		}
		return own, nil
	case crypto.Signer:
		return key, nil
	default:
		return nil, errKind
	}
}
