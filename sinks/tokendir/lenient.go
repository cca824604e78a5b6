package tokendir

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tokenagent/tokenagent/agent/profile"
)

// decodeLenient reads a token as HTCondor's parser does, jwt-cpp with picojson. Of two
// members of the same name the last counts, texts need not be UTF-8, numbers may begin
// with zeros, base64url may have bits left over, and something may follow an object. No
// token is too large.
func decodeLenient(text string) (profile.Token, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || strings.ContainsAny(text, "\r\n") { // which package base64 skips
		return profile.Token{}, false
	}
	header, isHeader := lenientObject(parts[0])
	claims, isClaims := lenientObject(parts[1])
	_, err := base64.RawURLEncoding.DecodeString(parts[2])
	return profile.Token{Header: header, Claims: claims}, isHeader && isClaims && err == nil
}

func lenientObject(part string) (map[string]any, bool) {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, false
	}
	r := lenientReader{text: string(data), depth: lenientDepth}
	v, err := r.value()
	object, ok := v.(map[string]any)
	return object, err == nil && ok
}

const (
	// lenientDepth is how deep picojson lets lists nest.
	lenientDepth = 100
	// mostNested keeps the stack small. HTCondor reads 20,000 nested objects, and crashes
	// on 50,000.
	mostNested = 20_000
)

// A lenientReader reads the first JSON value of a text as picojson does. Numbers are
// float64: only their size matters here.
type lenientReader struct {
	text   string
	at     int
	depth  int // how many more lists may nest
	nested int // how deep the reader is
}

var errNotJSON = errors.New("HTCondor's parser of JSON refuses it, as it does a number beyond 1e308 or half of a surrogate pair")

// next takes the next byte; 0 at the end.
func (r *lenientReader) next() byte {
	if r.at >= len(r.text) {
		return 0
	}
	r.at++
	return r.text[r.at-1]
}

// take skips blanks, and takes the byte if it comes next.
func (r *lenientReader) take(c byte) bool {
	r.blanks()
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *lenientReader) blanks() {
	for r.at < len(r.text) && strings.IndexByte(" \t\n\r", r.text[r.at]) >= 0 {
		r.at++
	}
}

func (r *lenientReader) value() (any, error) {
	r.blanks()
	for word, v := range map[string]any{"true": true, "false": false, "null": nil} {
		if strings.HasPrefix(r.text[r.at:], word) {
			r.at += len(word)
			return v, nil
		}
	}
	switch c := r.next(); {
	case c == '"':
		return r.string()
	case c == '{':
		return r.within(0, r.object)
	case c == '[':
		return r.within(1, r.list)
	case c == '-' || '0' <= c && c <= '9':
		r.at--
		return r.number()
	}
	return nil, errNotJSON
}

// within reads an object or a list. picojson limits the depth, and counts lists alone
// (seen with 23.9.6).
func (r *lenientReader) within(uses int, read func() (any, error)) (any, error) {
	if r.depth == 0 || r.nested == mostNested {
		return nil, errNotJSON
	}
	r.depth -= uses
	r.nested++
	defer func() { r.depth += uses; r.nested-- }()
	return read()
}

func (r *lenientReader) object() (any, error) {
	object := map[string]any{}
	err := r.items('}', func() error {
		if !r.take('"') {
			return errNotJSON
		}
		name, err := r.string()
		if err != nil || !r.take(':') {
			return errNotJSON
		}
		object[name], err = r.value()
		return err
	})
	return object, err
}

func (r *lenientReader) list() (any, error) {
	list := []any{}
	err := r.items(']', func() error {
		v, err := r.value()
		list = append(list, v)
		return err
	})
	return list, err
}

// items reads what an object or a list has, up to its end.
func (r *lenientReader) items(end byte, one func() error) error {
	if r.take(end) {
		return nil
	}
	for {
		if err := one(); err != nil {
			return err
		}
		if r.take(end) {
			return nil
		}
		if !r.take(',') {
			return errNotJSON
		}
	}
}

// number is what strtod(3) makes of the characters that a number may have.
func (r *lenientReader) number() (any, error) {
	end := r.at
	for end < len(r.text) && strings.IndexByte("0123456789+-.eE", r.text[end]) >= 0 {
		end++
	}
	n, err := strconv.ParseFloat(r.text[r.at:end], 64)
	r.at = end
	if err != nil || math.IsInf(n, 0) {
		return nil, errNotJSON
	}
	return n, nil
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// string reads a text behind its first quotation mark.
func (r *lenientReader) string() (string, error) {
	var text strings.Builder
	for {
		c := r.next()
		switch {
		case c < ' ':
			return "", errNotJSON
		case c == '"':
			return text.String(), nil
		case c != '\\':
			text.WriteByte(c)
			continue
		}
		c = r.next()
		if plain, ok := escapes[c]; ok {
			text.WriteByte(plain)
			continue
		}
		point, err := r.codePoint(c)
		if err != nil {
			return "", err
		}
		text.WriteRune(point)
	}
}

// codePoint reads \uXXXX behind the backslash, and the second half of a pair. A
// half alone is an error.
func (r *lenientReader) codePoint(u byte) (rune, error) {
	first, err := r.hex(u)
	switch {
	case err != nil:
		return 0, err
	case !utf16.IsSurrogate(first):
		return first, nil
	case r.next() != '\\':
		return 0, errNotJSON
	}
	second, err := r.hex(r.next())
	if err != nil {
		return 0, err
	}
	if point := utf16.DecodeRune(first, second); point != utf8.RuneError {
		return point, nil
	}
	return 0, errNotJSON
}

func (r *lenientReader) hex(u byte) (rune, error) {
	if u != 'u' || len(r.text)-r.at < 4 {
		return 0, errNotJSON
	}
	n, err := strconv.ParseUint(r.text[r.at:r.at+4], 16, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: \\u", errNotJSON)
	}
	r.at += 4
	return rune(n), nil
}
