package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
)

// A PublicJWK is the public half of a JWK (RFC 7517), as the verifiers of tokens
// read it: base64 may be padded, numbers may have too few or too many leading
// zeros, and what does not belong to the key, such as x5c, is not looked at.
type PublicJWK struct {
	ID        string           // kid; "" for none
	Algorithm string           // alg; "" for none
	Public    crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	Odd       []string         // what some verifiers refuse it for: "its kid is a number, …"
}

// ErrOtherUse is the error of a JWK that is for something else than to verify tokens.
// Nothing is wrong with it (RFC 7517 section 5).
var ErrOtherUse = errors.New("it is for another use")

// otherUse is an ErrOtherUse in other words.
type otherUse string

func (o otherUse) Error() string     { return string(o) }
func (o otherUse) Is(err error) bool { return err == ErrOtherUse }

// ReadPublicJWK reads a member of the list keys of a JWKS, as encoding/json decodes
// it. The error says why no signature can be verified with it; the ID is read even
// then. An error quotes nothing of the key.
func ReadPublicJWK(member any) (PublicJWK, error) {
	object, ok := member.(map[string]any)
	if !ok {
		return PublicJWK{}, errors.New("it is not a JSON object, as a JWK is, and python-jwt then refuses the whole set")
	}
	m := &members{object: object}
	k := PublicJWK{ID: m.id(), Algorithm: m.algorithm()}
	public, err := m.public()
	if err == nil {
		err = m.checkUse()
	}
	if err == nil {
		err = checkAlgorithm(public, k.Algorithm)
	}
	if m.has("d") {
		m.oddly("it holds the private half (d) too, so anybody can sign with it")
	}
	if err == nil && Demonstration(public) != "" {
		m.oddly("it is a demonstration key, which %s prints, so everybody can sign with it", Demonstration(public))
	}
	k.Public, k.Odd = public, m.odd
	return k, err
}

// members are those of a JWK; odd is what was found that not every verifier reads.
type members struct {
	object map[string]any
	odd    []string
}

func (m *members) has(name string) bool { return m.object[name] != nil }

func (m *members) oddly(format string, args ...any) {
	m.odd = append(m.odd, fmt.Sprintf(format, args...))
}

// id is the kid. A number counts as its digits.
func (m *members) id() string {
	switch id := m.object["kid"].(type) {
	case nil:
		return ""
	case string:
		return id
	case fmt.Stringer: // a json.Number, of any JSON package
		m.oddly("its kid is a number, and libscitokens and python-jwt look for text; publish it in quotes")
		return id.String()
	}
	m.oddly("its kid is not text, so a token cannot name it")
	return ""
}

// algorithm is the alg; one that is not text counts as none.
func (m *members) algorithm() string {
	alg, isText := m.object["alg"].(string)
	switch {
	case m.has("alg") && !isText:
		m.oddly("its alg is not text, and python-jwt then refuses the whole set")
	case isText && alg == "":
		m.oddly("its alg is empty, and libscitokens refuses the key")
	}
	return alg
}

// checkUse reads use and key_ops (RFC 7517 section 4.2 and 4.3). A key for encryption
// can be misused to sign, so it vouches for nothing, however its use is written.
func (m *members) checkUse() error {
	use, _ := m.object["use"].(string)
	switch {
	case slices.ContainsFunc(m.texts("use"), func(use string) bool { return strings.EqualFold(use, "enc") }):
		return otherUse("its use is enc, not sig")
	case m.has("use") && use != "sig":
		m.oddly("its use is not sig, and some verifiers refuse it")
	}
	ops := m.texts("key_ops")
	_, isList := m.object["key_ops"].([]any)
	switch {
	case !m.has("key_ops") || isList && slices.Contains(ops, "verify"):
		return nil
	case len(ops) == 0 || slices.Contains(ops, "sign") || slices.Contains(ops, "verify"):
		m.oddly("its key_ops do not have verify, and some verifiers refuse it")
		return nil
	}
	return otherUse("its key_ops do not have verify")
}

// texts are those of a list, or the only one.
func (m *members) texts(name string) (all []string) {
	list, isList := m.object[name].([]any)
	if !isList {
		list = []any{m.object[name]}
	}
	for _, element := range list {
		if text, isText := element.(string); isText {
			all = append(all, text)
		}
	}
	return all
}

// checkAlgorithm is an error where no verifier takes the algorithm for a key of this kind.
func checkAlgorithm(public crypto.PublicKey, alg string) error {
	const text = "its alg is for %s keys, and it is of another kind (kty)"
	_, isRSA := public.(*rsa.PublicKey)
	_, isEC := public.(*ecdsa.PublicKey)
	switch {
	case (strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")) && !isRSA:
		return fmt.Errorf(text, "RSA")
	case strings.HasPrefix(alg, "ES") && !isEC:
		return fmt.Errorf(text, "EC")
	}
	return nil
}

// kind is the kty; libscitokens takes it in small letters too.
func (m *members) kind() string {
	kty, _ := m.object["kty"].(string)
	for _, known := range []string{"RSA", "EC", "OKP"} {
		if kty != known && strings.EqualFold(kty, known) {
			m.oddly("its kty is not spelt %s, and python-jwt then refuses the whole set", known)
			return known
		}
	}
	return kty
}

// public is the public half.
func (m *members) public() (crypto.PublicKey, error) {
	switch kind := m.kind(); kind {
	case "RSA":
		return m.publicRSA()
	case "EC":
		return m.publicEC()
	case "OKP":
		return m.publicEd25519()
	case "oct":
		return nil, otherUse("it is a shared secret (kty oct), so everybody who verifies with it can sign too")
	case "":
		return nil, errors.New("it does not say its kind (kty): RSA, EC or OKP")
	}
	return nil, otherUse("its kind (kty) signs no tokens that are read here; RSA, EC and OKP keys do")
}

// octets decodes a member in base64url (RFC 7515 section 2). libscitokens and
// python-jwt take padding too, python-jwt also the letters of standard base64.
func (m *members) octets(name string) ([]byte, error) {
	text, isText := m.object[name].(string)
	switch {
	case !m.has(name):
		return nil, fmt.Errorf("its %s is missing", name)
	case !isText:
		return nil, fmt.Errorf("its %s is not text, which base64url is", name)
	case strings.ContainsAny(text, "+/"):
		m.oddly("its %s is in standard base64, which libscitokens refuses; base64url has - and _ in the place of + and /", name)
		text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	}
	if strings.ContainsAny(text, "\r\n") {
		m.oddly("its %s has line ends, for which libscitokens and python-jwt refuse it", name)
	}
	octets, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "=\r\n"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("its %s is not base64url", name)
	case len(octets) == 0:
		return nil, fmt.Errorf("its %s is empty", name)
	}
	return octets, nil
}

// sized decodes a member that has size bytes, of which leading zeros may be missing or
// too many (RFC 7518 section 6.2.1.2 wants just that size).
func (m *members) sized(name string, size int) ([]byte, error) {
	octets, err := m.octets(name)
	if err != nil {
		return nil, err
	}
	number := new(big.Int).SetBytes(octets)
	if number.BitLen() > 8*size {
		return nil, fmt.Errorf("its %s has %d bytes; its curve takes %d", name, len(octets), size)
	}
	if len(octets) != size {
		m.oddly("its %s has %d bytes instead of %d, for which python-jwt refuses it", name, len(octets), size)
	}
	return number.FillBytes(make([]byte, size)), nil
}

// mostRSA is how many bits an RSA key may have; larger ones take too long.
const mostRSA = 8192

// number decodes a member that is a number of at most mostRSA bits.
func (m *members) number(name string) (*big.Int, error) {
	octets, err := m.octets(name)
	if err != nil {
		return nil, err
	}
	n := new(big.Int).SetBytes(octets)
	if n.BitLen() > mostRSA {
		return nil, fmt.Errorf("its %s has %d bits; RSA keys of at most %d are taken", name, n.BitLen(), mostRSA)
	}
	return n, nil
}

func (m *members) publicRSA() (*rsa.PublicKey, error) {
	n, err := m.number("n")
	if err != nil {
		return nil, err
	}
	e, err := m.number("e")
	switch {
	case err != nil:
		return nil, err
	case e.Cmp(big.NewInt(2)) < 0 || e.Cmp(big.NewInt(math.MaxInt32)) > 0: // as crypto/rsa
		return nil, fmt.Errorf("its e is not between 2 and %d", math.MaxInt32)
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

// curves are those of RFC 7518 section 6.2.1.1, by the names that people write.
var curves = map[string]elliptic.Curve{
	"P-256": elliptic.P256(), "SECP256R1": elliptic.P256(), "PRIME256V1": elliptic.P256(),
	"P-384": elliptic.P384(), "SECP384R1": elliptic.P384(),
	"P-521": elliptic.P521(), "SECP521R1": elliptic.P521(),
}

// curve is that of an EC key. libscitokens goes by the alg and does not look at crv.
func (m *members) curve() (elliptic.Curve, error) {
	crv, _ := m.object["crv"].(string)
	if !m.has("crv") {
		crv = map[any]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[m.object["alg"]]
	}
	curve := curves[strings.ToUpper(crv)]
	if curve == nil {
		return nil, otherUse("its curve (crv) is not allowed; P-256, P-384 and P-521 are")
	}
	if name := curve.Params().Name; name != m.object["crv"] {
		m.oddly("its crv is not spelt %s, for which python-jwt refuses it", name)
	}
	return curve, nil
}

func (m *members) publicEC() (*ecdsa.PublicKey, error) {
	curve, err := m.curve()
	if err != nil {
		return nil, err
	}
	size := (curve.Params().BitSize + 7) / 8
	x, err := m.sized("x", size)
	if err != nil {
		return nil, err
	}
	y, err := m.sized("y", size)
	if err != nil {
		return nil, err
	}
	const uncompressed = 4 // SEC 1 section 2.3.3
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{uncompressed}, x, y))
	if err != nil {
		return nil, fmt.Errorf("its x and y are not a point of %s", curve.Params().Name)
	}
	return public, nil
}

func (m *members) publicEd25519() (ed25519.PublicKey, error) {
	if crv, _ := m.object["crv"].(string); crv != "Ed25519" {
		return nil, otherUse("its curve (crv) is not Ed25519, the only one of OKP keys that signs tokens here")
	}
	x, err := m.octets("x")
	switch {
	case err != nil:
		return nil, err
	case len(x) != ed25519.PublicKeySize:
		return nil, fmt.Errorf("its x has %d bytes; Ed25519 has %d", len(x), ed25519.PublicKeySize)
	}
	if _, err := thumbprint(ed25519.PublicKey(x)); err != nil { // go-jose knows these points
		return nil, errors.New("its x is a point of small order, for which anybody can sign")
	}
	return x, nil
}

// private is the private half, which the public one belongs to.
func (m *members) private() (crypto.Signer, error) {
	public, err := m.public()
	if err != nil {
		return nil, err
	}
	switch public := public.(type) {
	case *rsa.PublicKey:
		return m.privateRSA(public)
	case *ecdsa.PublicKey:
		return m.privateEC(public)
	default:
		return m.privateEd25519(public.(ed25519.PublicKey))
	}
}

func (m *members) privateEC(public *ecdsa.PublicKey) (*ecdsa.PrivateKey, error) {
	d, err := m.sized("d", (public.Curve.Params().N.BitLen()+7)/8)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.ParseRawPrivateKey(public.Curve, d)
	switch {
	case err != nil:
		return nil, errors.New("its d is not a private key of its curve")
	case !private.PublicKey.Equal(public):
		return nil, errors.New("its public half (x, y) does not belong to its private one (d)")
	}
	return private, nil
}

func (m *members) privateEd25519(public ed25519.PublicKey) (ed25519.PrivateKey, error) {
	d, err := m.octets("d")
	switch {
	case err != nil:
		return nil, err
	case len(d) != ed25519.SeedSize:
		return nil, fmt.Errorf("its d has %d bytes; Ed25519 has %d", len(d), ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(d)
	if !public.Equal(private.Public()) {
		return nil, errors.New("its public half (x) does not belong to its private one (d)")
	}
	return private, nil
}
