package keys

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/tokenagent/tokenagent/agent/host"
)

// ErrChoice is the error of a set of keys (JWKS, RFC 7517 section 5) of which a key ID
// must choose one, and does not. Its text lists the IDs.
var ErrChoice = errors.New("no key is chosen")

// choiceError is an ErrChoice in other words.
type choiceError string

func (e choiceError) Error() string     { return string(e) }
func (e choiceError) Is(err error) bool { return err == ErrChoice }

// An entry is a private key of a set, or why it cannot be read.
type entry struct {
	id    string // its kid, else its thumbprint; "" where neither can be read
	named bool   // it has a kid
	key   Key
	err   error
}

// privateIn are the private keys of a set that sign. Public keys, shared secrets and keys
// for encryption beside them are passed over.
func privateIn(keys any) (found []entry) {
	list, _ := keys.([]any)
	for _, member := range list {
		object, _ := member.(map[string]any)
		m := &members{object: object}
		if !m.has("d") || object["use"] == "enc" {
			continue
		}
		e := entry{id: m.id()}
		e.named = e.id != ""
		if e.key, e.err = readPrivateJWK(m); e.err == nil {
			e.id = e.key.ID()
		}
		found = append(found, e)
	}
	return found
}

// choose is the key with that ID, or else the only one.
func choose(found []entry, id string) (Key, error) {
	fitting := slices.DeleteFunc(slices.Clone(found), func(e entry) bool { return e.id != id })
	switch {
	case len(found) == 0:
		return Key{}, errors.New("it is a set of keys (JWKS) without a private one; signing needs one")
	case len(found) == 1 && (id == "" || !found[0].named):
		fitting = found
	case id == "":
		return Key{}, choiceError(fmt.Sprintf("it is a set of %d private keys; write the key ID of the one to sign with: %s", len(found), listed(found)))
	case len(fitting) == 0:
		return Key{}, choiceError("it is a set of keys, of which none has that key ID; it has " + listed(found))
	case len(fitting) > 1:
		return Key{}, choiceError("it is a set of keys, of which several have that key ID; give each its own")
	}
	if err := fitting[0].err; err != nil {
		return Key{}, fmt.Errorf("of its keys the chosen one cannot be used: %w", err)
	}
	return fitting[0].key, nil
}

// listed are the IDs of the keys, but not dozens, and why one cannot be used.
func listed(found []entry) string {
	var texts []string
	for _, e := range found {
		text := fmt.Sprintf("%q", e.id)
		switch {
		case e.id == "":
			text = "one without kid"
		case CheckID(e.id) != nil:
			text = "one whose kid cannot be shown"
		}
		if e.err != nil {
			text += fmt.Sprintf(" (cannot be used: %v)", e.err)
		}
		texts = append(texts, text)
	}
	return host.Few(texts, 10)
}

// ParseAll reads all private keys that data holds. A set may have several; every other
// format has one, as [Parse] reads it. A key that cannot be read is an error.
func ParseAll(data []byte) ([]Key, error) {
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '{' {
		object, err := decodeJWK(text)
		if err != nil {
			return nil, err
		}
		if list, isSet := object["keys"]; isSet {
			return all(privateIn(list))
		}
	}
	k, err := Parse(data, "")
	return []Key{k}, err
}

func all(found []entry) (keys []Key, err error) {
	for _, e := range found {
		if e.err != nil {
			return nil, errors.New("it is a set of keys, and one cannot be used: " + listed([]entry{e}))
		}
		keys = append(keys, e.key)
	}
	if len(keys) == 0 {
		_, err = choose(nil, "")
	}
	return keys, err
}
