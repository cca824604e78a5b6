package keys

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
)

// Lines as gen-keypair prints them, and as cc-backend's environment file has
// them (JWT_PRIVATE_KEY).
var (
	privateLine = regexp.MustCompile(`(?m)^\s*(?:export )?(?:ED25519 |JWT_)?PRIVATE_KEY\s*=\s*["']?([A-Za-z0-9+/=]*)["']?\s*$`)
	publicLine  = regexp.MustCompile(`(?m)^\s*(?:export )?(?:ED25519 |JWT_)?PUBLIC_KEY\s*=`)
)

// parseClusterCockpit reads an Ed25519 key as base64 of seed and public half, or
// of the seed alone; bare, or as gen-keypair prints it.
func parseClusterCockpit(text string) (Key, error) {
	switch lines := privateLine.FindAllStringSubmatch(text, -1); {
	case len(lines) > 1:
		return Key{}, errors.New("it holds several private keys; it must hold the one to sign with")
	case len(lines) == 1:
		text = lines[0][1]
	case publicLine.MatchString(text):
		return Key{}, errors.New("it holds a public key; signing needs the private one")
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Key{}, errors.New("it is not a private key in a known format; PEM, JWK and ClusterCockpit's base64 are (DER becomes PEM with: openssl pkey -inform DER -in OLD -out NEW)")
	}
	switch len(raw) {
	case ed25519.SeedSize:
		return newKey(ed25519.NewKeyFromSeed(raw))
	case ed25519.PrivateKeySize:
		private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
		if !bytes.Equal(private, raw) {
			return Key{}, errors.New("its public half does not belong to its seed")
		}
		return newKey(private)
	default:
		return Key{}, fmt.Errorf("it is base64 of %d bytes; a ClusterCockpit key has 64 (seed and public half) or 32 (seed)", len(raw))
	}
}

// MarshalClusterCockpit writes an Ed25519 key in the two lines that gen-keypair
// prints; any other key is an error.
func (k Key) MarshalClusterCockpit() ([]byte, error) {
	public, err := k.PublicClusterCockpit()
	if err != nil {
		return nil, err
	}
	private := base64.StdEncoding.EncodeToString(k.Private().(ed25519.PrivateKey))
	return fmt.Appendf(public, "ED25519 PRIVATE_KEY=\"%s\"\n", private), nil
}

// PublicClusterCockpit writes the public half of an Ed25519 key as gen-keypair
// prints it, for the JWT_PUBLIC_KEY of cc-backend; any other key is an error.
func (k Key) PublicClusterCockpit() ([]byte, error) {
	public, ok := k.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("ClusterCockpit takes no %s key; Ed25519 (EdDSA) is needed", k.algorithm)
	}
	return fmt.Appendf(nil, "ED25519 PUBLIC_KEY=\"%s\"\n", base64.StdEncoding.EncodeToString(public)), nil
}
