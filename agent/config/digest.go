package config

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// A digest gathers what a definition sets, evaluated: source, request and sinks. It leaves
// out defaults, so that another default changes no digest, and what only says when to
// renew, what becomes of a file in the end, and which hooks are run.
type digest struct {
	key  []byte
	text []byte
}

// sum is the keyed hash (HMAC-SHA256) of what was gathered. It reveals nothing.
func (d *digest) sum() []byte {
	h := hmac.New(sha256.New, d.key)
	h.Write(d.text)
	return h.Sum(nil)
}

func (d *digest) hex() string { return hex.EncodeToString(d.sum()) }

// sourceDigest is that of the source block s and of its signing key.
func (b *Block) sourceDigest(s Source) []byte {
	d := &digest{key: b.load.digestKey}
	d.block(b, append(s.Apart, "for_each")...)
	if mark := s.Key.Mark.Reveal(); mark != "" && !b.DefinitionsOnly() {
		d.text = appendText(append(d.text, 'k'), mark)
	}
	return d.sum()
}

// tokenDigest is that of a token block before its sinks are added.
func (b *Block) tokenDigest(from *source) *digest {
	d := &digest{key: b.load.digestKey}
	if from != nil {
		d.text = appendText(append(d.text, 'o'), string(from.digest))
	}
	d.block(b, "source", "for_each", "required", "on_expired", "on_remove")
	return d
}

// block adds the attributes that are set in a block, in the order of their
// names, except those named.
func (d *digest) block(b *Block, except ...string) {
	d.text = appendText(append(d.text, '{'), b.stanza.kind+" "+strings.Join(b.stanza.labels[:min(1, len(b.stanza.labels))], ""))
	attributes := slices.Clone(b.stanza.attributes)
	slices.SortFunc(attributes, func(a, b *attribute) int { return strings.Compare(a.name, b.name) })
	for _, a := range attributes {
		v := b.values[a.index]
		if slices.Contains(except, a.name) || !v.IsKnown() || v.IsNull() {
			continue
		}
		if p, ok := plain(v, func([]string, string) {}); ok {
			d.text = appendValue(appendText(d.text, a.name), p)
		}
	}
	d.text = append(d.text, '}')
}

// appendValue writes a plain value with a letter for its type, and its length, so that
// two different values never become the same bytes.
func appendValue(to []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendText(append(to, 's'), v)
	case bool:
		if v {
			return append(to, 't')
		}
		return append(to, 'f')
	case int64:
		return binary.BigEndian.AppendUint64(append(to, 'i'), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(to, 'd'), math.Float64bits(v))
	case []any:
		to = binary.BigEndian.AppendUint64(append(to, 'l'), uint64(len(v)))
		for _, e := range v {
			to = appendValue(to, e)
		}
		return to
	case map[string]any:
		to = binary.BigEndian.AppendUint64(append(to, 'm'), uint64(len(v)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			to = appendValue(appendText(to, k), v[k])
		}
		return to
	}
	panic(fmt.Sprintf("config: %T is not a plain value", v))
}

func appendText(to []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint64(to, uint64(len(text))), text...)
}
