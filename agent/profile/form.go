package profile

import "strings"

// The lengths of signatures in bytes (RFC 7518 section 3.1, RFC 8037 section 3.1).
var signatureLengths = map[string]int{
	"HS256": 32, "HS384": 48, "HS512": 64, "ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64, "Ed25519": 64,
}

// Form says how much of a JWT the text is: 2 for a whole one, 1 for one whose signature
// is not as long as its algorithm makes it, such as one that was cut off while it was
// written, and 0 for anything else.
func Form(text string) int {
	t, err := Decode(text)
	if err != nil {
		return 0
	}
	algorithm, _ := t.Header["alg"].(string)
	signature, _ := decodeBase64(text[strings.LastIndexByte(text, '.')+1:])
	if fits(algorithm, len(signature)) {
		return 2
	}
	return 1
}

// fits reports whether the algorithm makes signatures of so many bytes. One of RSA is as
// long as the key, which is a multiple of 256 bits.
func fits(algorithm string, length int) bool {
	if strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS") {
		return length >= 128 && length%32 == 0
	}
	return length == signatureLengths[algorithm]
}
