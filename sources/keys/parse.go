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
		return nil, fmt.Errorf("a %.40q signs no tokens; RSA, P-256, P-384, P-521 and Ed25519 keys do", block.Type)
	}
	if err != nil {
		return nil, whyNot(block.Bytes, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("a key of this kind signs no tokens; RSA, P-256, P-384, P-521 and Ed25519 do")
	}
	return signer, nil
}

// oidSecp256k1 is the curve of ES256K, encoded: the one that people take for P-256.
var oidSecp256k1 = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a}

// whyNot says in our words why a key could not be read, where they are better.
func whyNot(der []byte, err error) error {
	if bytes.Contains(der, oidSecp256k1) {
		return errors.New("its curve secp256k1 is not allowed; P-256, P-384 and P-521 are")
	}
	return fmt.Errorf("it is damaged, or of a kind that signs no tokens: %w", err)
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
		return Key{}, fmt.Errorf("its curve %.20q is not allowed; P-256, P-384 and P-521 are", shape.Crv)
	case shape.D == nil:
		return Key{}, errors.New("it holds a public key, for it has no d; signing needs the private one")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(data); err != nil {
		return Key{}, fmt.Errorf("it is no valid JWK: %w", err)
	}
	private, err := usable(jwk.Key)
	if err != nil {
		return Key{}, err
	}
	k, err := newKey(private)
	if err != nil {
		return Key{}, err
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
		return nil, errors.New("a key of this kind signs no tokens; RSA, P-256, P-384, P-521 and Ed25519 do")
	}
}
