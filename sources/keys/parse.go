package keys

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/json"
)

// Parse reads the private key that data holds, in any of the formats of this package.
// id is the kid that it goes by; "" for its own. Of a set with several private keys it
// chooses one, and where none has it the error is an [ErrChoice].
func Parse(data []byte, id string) (Key, error) {
	k, err := parse(data, id)
	if err != nil {
		return Key{}, err
	}
	return k.WithID(id), nil
}

func parse(data []byte, id string) (Key, error) {
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		return Key{}, errors.New("it is empty")
	case bytes.Contains(text, []byte("-----BEGIN ")):
		return parsePEM(text)
	case text[0] == '{':
		return parseJWK(text, id)
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
		return Key{}, errors.New("it is encrypted, and an agent cannot ask for the passphrase; decrypt it with: (umask 077; openssl pkey -in OLD -out NEW)")
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

// parseJWK reads a private key of RFC 7517, or that of a set which the ID chooses.
func parseJWK(data []byte, id string) (Key, error) {
	object, err := decodeJWK(data)
	if err != nil {
		return Key{}, err
	}
	if list, isSet := object["keys"]; isSet {
		return choose(privateIn(list), id)
	}
	return readPrivateJWK(&members{object: object})
}

// decodeJWK decodes an object in which no name stands twice: two readers may take
// different ones.
func decodeJWK(data []byte) (map[string]any, error) {
	object := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.SetNumberType(json.UnmarshalJSONNumber)
	err := decoder.Decode(&object)
	if err != nil || !errors.Is(decoder.Decode(new(any)), io.EOF) { // the error may quote what it met
		return nil, errors.New("it begins like a JWK, but is not one JSON object in which each name stands once")
	}
	return object, nil
}

// readPrivateJWK reads a private key; its own kid and alg count.
func readPrivateJWK(m *members) (Key, error) {
	switch {
	case m.object["kty"] == "oct":
		return Key{}, errors.New("it holds a shared secret (kty oct); signing needs an RSA, EC or OKP key")
	case !m.has("d"):
		return Key{}, errors.New("it holds a public key, for it has no d; signing needs the private one")
	}
	private, err := m.private()
	if err != nil {
		return Key{}, err
	}
	k, err := newKey(private)
	if err != nil {
		return Key{}, err
	}
	id, alg := m.id(), m.algorithm()
	if alg == "Ed25519" && k.algorithm == "EdDSA" { // RFC 9864 renames it
		alg = "EdDSA"
	}
	if err := CheckID(id); err != nil {
		return Key{}, err
	}
	if alg != "" && !slices.Contains(Algorithms(), alg) {
		return Key{}, fmt.Errorf("its alg is not allowed; allowed are %s", strings.Join(Algorithms(), ", "))
	}
	return k.WithID(id).WithAlgorithm(alg)
}
