// Package refresh keeps the refresh tokens (RFC 6749 section 1.5) of sources, each
// in a file of its own that only the agent's user can read, and lets one process
// at a time use it: an issuer that rotates them takes a second use of the same one
// for theft, and ends all that came of it.
package refresh

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// A Token is a refresh token, and whom it is for.
type Token struct {
	Text     agent.Secret
	Issuer   string      // who gave it: its identifier, or the URL of its token endpoint
	ClientID string      // the client that it was given to
	From     Fingerprint // of the file that the first of its line came from, as it was then; zero: it came from nobody's file
	Expires  time.Time   // as the issuer said; zero: it did not, as of one that never ends
	Fixed    bool        // its use has not moved that end
	Stored   time.Time   // by Keep
}

// IsZero reports whether t is no refresh token.
func (t Token) IsZero() bool { return t.Text == agent.Secret{} }

// Same reports whether both are the same refresh token, for the same use, with the same end.
func (t Token) Same(other Token) bool {
	return t.Text.Equal(other.Text) && t.Issuer == other.Issuer && t.ClientID == other.ClientID && t.From.equal(other.From) &&
		t.Expires.Equal(other.Expires) && t.Fixed == other.Fixed
}

// A Fingerprint recognizes the content of a file without telling it. The zero
// Fingerprint recognizes none.
type Fingerprint struct {
	Salt []byte `json:"salt,omitempty"`
	Sum  []byte `json:"sum,omitempty"` // HMAC-SHA256 of the content under the salt
}

// FingerprintOf is a Fingerprint of the content, each time another one.
func FingerprintOf(content []byte) Fingerprint {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails, see crypto/rand
	return Fingerprint{salt, sum(salt, content)}
}

// Is reports whether f is of that content.
func (f Fingerprint) Is(content []byte) bool {
	return len(f.Sum) > 0 && hmac.Equal(f.Sum, sum(f.Salt, content))
}

func (f Fingerprint) equal(other Fingerprint) bool {
	return bytes.Equal(f.Sum, other.Sum) // which differ where the salts do
}

func sum(salt, content []byte) []byte {
	h := hmac.New(sha256.New, salt)
	h.Write(content)
	return h.Sum(nil)
}

// A Store is where the refresh token of one source is kept.
type Store struct {
	path  string // of the file
	lock  string // the file that is locked, for the other one is replaced
	queue string // is locked by who is the next to have the lock

	former Former
}

const (
	folderName  = "refresh" // in the state folder
	tokenSuffix = ".json"
	version     = 1
)

// NewStore returns the Store for the source of that name in the state folder,
// whose path is absolute. Nothing is made or read yet.
func NewStore(stateDir, name string) *Store {
	return newStore(stateDir, url.PathEscape(name))
}

func newStore(stateDir, fileName string) *Store {
	base := filepath.Join(stateDir, folderName, fileName)
	return &Store{path: base + tokenSuffix, lock: base + ".lock", queue: base + ".queue"}
}

// Path is the file that the token is stored in.
func (s *Store) Path() string { return s.path }

// CheckName says why no file can have the name of a source; "" when one can.
func CheckName(name string) string {
	return safefile.CheckName(filepath.Base(NewStore("/", name).path))
}

// Read returns the token that is stored, for those who only look: whoever uses
// it reads it under the lock. The error of a store without one is fs.ErrNotExist.
func (s *Store) Read() (Token, error) {
	content, err := s.file().Read()
	if errors.Is(err, fs.ErrNotExist) {
		if t, former := s.inherited(); former != nil {
			return t, nil
		}
	}
	if err != nil {
		return Token{}, advised(err)
	}
	t, err := parse(content)
	if err != nil {
		return Token{}, fmt.Errorf("%s: %w", s.path, err)
	}
	return t, nil
}

// file is that of the token, as it is written. It is not for several goroutines.
func (s *Store) file() *safefile.File {
	self := host.Self()
	return safefile.New(safefile.Target{Path: s.path, Owner: self, Group: self.GID, Mode: 0o600})
}

// document is what is written. It is the one place where a refresh token is in
// clear.
type document struct {
	Version  int         `json:"version"`
	Issuer   string      `json:"issuer"`
	ClientID string      `json:"client_id"`
	Text     string      `json:"refresh_token"`
	From     Fingerprint `json:"from"`
	Expires  time.Time   `json:"expires,omitzero"`
	Fixed    bool        `json:"fixed,omitempty"`
	Stored   time.Time   `json:"stored"`
}

func parse(content []byte) (Token, error) {
	var d document
	if err := json.Unmarshal(content, &d); err != nil { // whose error may hold a part of the content
		return Token{}, errors.New("it is not a stored refresh token")
	}
	switch {
	case d.Version != version:
		return Token{}, fmt.Errorf("it has version %d, and this agent knows version %d", d.Version, version)
	case d.Text == "":
		return Token{}, errors.New("there is no refresh token in it")
	}
	return Token{agent.NewSecret(d.Text), d.Issuer, d.ClientID, d.From, d.Expires, d.Fixed, d.Stored}, nil
}

func (t Token) content() ([]byte, error) {
	var content bytes.Buffer
	e := json.NewEncoder(&content)
	e.SetEscapeHTML(false) // which could make it six times as long, and longer than is read back
	err := e.Encode(document{version, t.Issuer, t.ClientID, t.Text.Reveal(), t.From, t.Expires, t.Fixed, t.Stored})
	return content.Bytes(), err
}
