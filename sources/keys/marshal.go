package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"

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

// MarshalPKCS1 writes an RSA key as PKCS#1 in PEM (RFC 8017 appendix A.1.2), for programs
// that read nothing else; any other key is an error.
func (k Key) MarshalPKCS1() ([]byte, error) {
	private, ok := k.Private().(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("PKCS#1 holds RSA keys alone, and this is %s; pem (PKCS#8) holds every kind", describe(k.Private()))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}), nil
}

// MarshalSEC1 writes an elliptic curve key as SEC1 in PEM (RFC 5915), for programs that read
// nothing else; any other key is an error.
func (k Key) MarshalSEC1() ([]byte, error) {
	private, ok := k.Private().(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("SEC1 holds keys on P-256, P-384 and P-521 alone, and this is %s; pem (PKCS#8) holds every kind", describe(k.Private()))
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// PrivateJWKS writes private keys as a set (RFC 7517 section 5), each with its kid and alg.
func PrivateJWKS(keys ...Key) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.jwk(k.Private()))
	}
	return indented(set)
}
