package profile

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenagent/tokenagent/agent"
)

// ErrNoJWT says that a text does not look like header.claims.signature: it may
// still be an opaque token (RFC 6750), of which nothing can be read.
var ErrNoJWT = errors.New("it is not a JWT, which is three parts of base64url with dots between them")

// Decode reads a signed JWT in compact form (RFC 7519, RFC 7515 section 7.1)
// without verifying it. It is strict: three parts in base64url without padding,
// two JSON objects in UTF-8 in which no name occurs twice, and at most agent.MaxText
// bytes. Blanks around the text are an error too: the text is what readers
// present. No error quotes the text.
//
// The error is ErrNoJWT for an opaque token, also for one with two dots: the header
// of a JWT is a JSON object, so what does not begin like one was never a JWT.
func Decode(text string) (Token, error) {
	if len(text) > agent.MaxText {
		return Token{}, fmt.Errorf("it has %d bytes; readers take at most %d", len(text), agent.MaxText)
	}
	parts := strings.Split(text, ".")
	switch {
	case len(parts) == 2 && isHeader(parts[0]):
		return Token{}, errors.New("signature: it is missing")
	case len(parts) != 3:
		return Token{}, ErrNoJWT
	}
	header, err := decodePart(parts[0])
	switch {
	case err != nil && !beginsObject(parts[0]):
		return Token{}, ErrNoJWT
	case err != nil:
		return Token{}, fmt.Errorf("header: %w", err)
	}
	claims, err := decodePart(parts[1])
	if err != nil {
		return Token{}, fmt.Errorf("claims: %w", err)
	}
	if _, err := decodeBase64(parts[2]); err != nil {
		return Token{}, fmt.Errorf("signature: %w", err)
	}
	return Token{Header: header, Claims: claims}, nil
}

// isHeader reports whether the part is the header of a JWT, which names an algorithm.
func isHeader(part string) bool {
	header, err := decodePart(part)
	return err == nil && header["alg"] != nil
}

// beginsObject reports whether the text is base64url that begins with the byte "{".
func beginsObject(text string) bool {
	return len(text) > 1 && text[0] == 'e' && strings.IndexByte("wxyz0123456789-_", text[1]) >= 0
}

func decodePart(text string) (map[string]any, error) {
	data, err := decodeBase64(text)
	if err != nil {
		return nil, err
	}
	return decodeObject(data)
}

// decodeBase64 is strict where the library is not: it skips line ends.
func decodeBase64(text string) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("it is not base64url without padding (RFC 7515)")
	}
	return data, nil
}

func decodeObject(data []byte) (map[string]any, error) {
	v, err := decodeOne(data, "object")
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("it is not a JSON object")
	}
	return object, nil
}

// DecodeValue reads a claim's value, or all claims, from one JSON value (RFC
// 8259) as strictly as [Decode]: in UTF-8, no name twice in an object, and
// nothing behind the value. Numbers are json.Number. No error quotes the data.
func DecodeValue(data []byte) (any, error) { return decodeOne(data, "value") }

// decodeOne reads the one value, which errors call what it is to be.
func decodeOne(data []byte, what string) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := decodeValue(dec, deepest)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something follows the JSON %s", what)
	}
	return v, nil
}

// deepest is how far values may lie within each other: a stranger's megabyte of
// brackets would take hundreds of megabytes of stack.
const deepest = 100

// decodeValue reads the next value; unlike Decoder.Decode it refuses an object
// that says a name twice, of which two readers may take different ones.
func decodeValue(dec *json.Decoder, deep int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, errors.New("it is not valid JSON")
	}
	_, opens := token.(json.Delim)
	switch {
	case opens && deep == 0:
		return nil, fmt.Errorf("its values lie more than %d deep within each other", deepest)
	case token == json.Delim('{'):
		return decodeMembers(dec, deep-1)
	case token == json.Delim('['):
		return decodeElements(dec, deep-1)
	default:
		return token, nil
	}
}

func decodeMembers(dec *json.Decoder, deep int) (any, error) {
	object := map[string]any{}
	for dec.More() {
		key, err := dec.Token()
		name, isText := key.(string)
		if err != nil || !isText {
			return nil, errors.New("it is not valid JSON")
		}
		if _, twice := object[name]; twice {
			return nil, errors.New("a name occurs twice in an object")
		}
		if object[name], err = decodeValue(dec, deep); err != nil {
			return nil, err
		}
	}
	return object, decodeEnd(dec)
}

func decodeElements(dec *json.Decoder, deep int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := decodeValue(dec, deep)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, decodeEnd(dec)
}

// decodeEnd reads the bracket that closes an object or a list.
func decodeEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return errors.New("it is not valid JSON")
	}
	return nil
}

// HoldsNUL reports whether a text in the decoded value, or the name of a member,
// has the character U+0000. Programs in C read it only up to there: "root\u0000x"
// is root to them.
func HoldsNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "\x00")
	case []any:
		return slices.ContainsFunc(v, HoldsNUL)
	case map[string]any:
		for name, member := range v {
			if HoldsNUL(name) || HoldsNUL(member) {
				return true
			}
		}
	}
	return false
}

// ErrNUL is the error of a text for which HoldsNUL.
var ErrNUL = errors.New("a text in it holds the character NUL (\\u0000), at which some readers cut it")

// Instant reads a NumericDate (RFC 7519, section 2) of a decoded token, such as
// the claim exp; false for what is none, or is too large for one (see [Distant]).
func Instant(claim any) (time.Time, bool) {
	n, ok := claim.(json.Number)
	if !ok || Distant(n) {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || seconds < 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// Distant reports whether the claim is a number too large for a time in seconds,
// which has ten digits until the year 2286; milliseconds have thirteen.
func Distant(claim any) bool {
	const latest = 9_999_999_999
	n, ok := float(claim)
	return ok && n > latest
}
