package keys

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// PoolKey is the name of the key that HTCondor gives every pool; what is signed
// with it has this kid.
const PoolKey = "POOL"

// A CondorKey is a key that signs HTCondor's IDTOKENs, together with the name by
// which the pool's servers find it. It prints as "HS256 key NAME". The zero
// CondorKey is none.
type CondorKey struct {
	signing *string // 32 bytes; a pointer, so that %+v of whatever holds a CondorKey shows an address
	id      string
}

// ReadCondor reads the key that the file at path is under the name id. The file
// must be as [ReadSecretFile] demands, and nobody but its owner may have any
// permission, for HTCondor passes over others. Errors begin with "key PATH: ".
func ReadCondor(path, id string) (CondorKey, error) {
	data, err := readKept(path, refusesShared)
	if err != nil {
		return CondorKey{}, fmt.Errorf("key %w", err)
	}
	k, err := DeriveCondor(data, id)
	if err != nil {
		return CondorKey{}, fmt.Errorf("key %s: %w", path, err)
	}
	return k, nil
}

// DeriveCondor makes the key named id of what its file holds, as HTCondor does.
// Every byte counts, a line end too.
func DeriveCondor(content []byte, id string) (CondorKey, error) {
	if len(content) == 0 {
		return CondorKey{}, errors.New("it is empty, so that anybody could sign as the pool; copy the pool's key to it")
	}
	if err := CheckID(id); err != nil {
		return CondorKey{}, err
	}
	seed := scramble(content)
	if id == PoolKey {
		seed = append(seed, seed...)
	}
	signing, err := hkdf.Key(sha256.New, seed, []byte("htcondor"), "master jwt", sha256.Size)
	if err != nil {
		return CondorKey{}, fmt.Errorf("deriving the signing key: %w", err)
	}
	text := string(signing)
	return CondorKey{signing: &text, id: id}, nil
}

// scramble turns what a key's file holds into the key, or the other way round:
// HTCondor keeps its secrets so, that nobody reads them over a shoulder.
func scramble(content []byte) []byte {
	mask := [4]byte{0xde, 0xad, 0xbe, 0xef}
	plain := make([]byte, len(content))
	for i, b := range content {
		plain[i] = b ^ mask[i%len(mask)]
	}
	return plain
}

// ID is the value of the header parameter kid.
func (k CondorKey) ID() string { return k.id }

// IsZero reports whether k holds no key.
func (k CondorKey) IsZero() bool { return k.signing == nil }

// Signing returns the 32 bytes that HMAC-SHA256 signs with; nil of the zero
// CondorKey. Whatever prints them shows them.
func (k CondorKey) Signing() []byte {
	if k.IsZero() {
		return nil
	}
	return []byte(*k.signing)
}

// Signed reports whether the token, a JWT in compact form, is signed with the key
// by HS256 (RFC 7515 section 5.2). The zero CondorKey has signed none.
func (k CondorKey) Signed(token string) bool {
	end := strings.LastIndexByte(token, '.')
	if k.IsZero() || end < 0 {
		return false
	}
	mac := hmac.New(sha256.New, k.Signing())
	mac.Write([]byte(token[:end]))
	return hmac.Equal([]byte(token[end+1:]), []byte(base64.RawURLEncoding.EncodeToString(mac.Sum(nil))))
}

// String is what may be shown: the algorithm and the kid.
func (k CondorKey) String() string {
	if k.IsZero() {
		return "no key"
	}
	return "HS256 key " + k.id
}

// Format writes String, whatever the verb.
func (k CondorKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }
