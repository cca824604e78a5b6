package keys

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"

	"github.com/go-jose/go-jose/v4"
)

// MarshalPEM writes the private key as PKCS#8 in PEM (RFC 5958, RFC 7468). It
// holds neither algorithm nor kid.
func (k Key) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.Private())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// MarshalJWK writes the private key as JWK (RFC 7517), with kid and alg.
func (k Key) MarshalJWK() ([]byte, error) { return indented(k.jwk(k.Private())) }

// PublicPEM writes the public half as SubjectPublicKeyInfo in PEM (RFC 7468).
func (k Key) PublicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// PublicJWK writes the public half as JWK (RFC 7517), with kid, alg and use.
func (k Key) PublicJWK() ([]byte, error) { return indented(k.jwk(k.Public())) }

// JWKS writes the public halves as the set that an issuer publishes (RFC 7517
// section 5).
func JWKS(keys ...Key) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.jwk(k.Public()))
	}
	return indented(set)
}

// jwk is half, one of the key's two, as go-jose takes it.
func (k Key) jwk(half any) jose.JSONWebKey {
	return jose.JSONWebKey{Key: half, KeyID: k.id, Algorithm: k.algorithm, Use: "sig"}
}

func indented(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
