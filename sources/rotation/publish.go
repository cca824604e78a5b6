package rotation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A Site is the folder that a web server shows at the URL of an issuer.
type Site struct {
	URL   string
	Root  string        // the folder, absolute
	Deep  bool          // Root lies in the state folder, and is made with the folders above it; else it alone is
	Owner host.Identity // of the files
	Group int
	Mode  fs.FileMode
	Also  []string // files with sets of public keys (JWKS) of others who sign for the issuer

	files map[string]*safefile.File
}

// mostDocument is how many bytes a set of keys may have.
const mostDocument = 1 << 20

// A Publication is what a Site is to hold.
type Publication struct {
	files  map[string][]byte
	public []crypto.PublicKey
}

// Digest is equal for equal publications.
func (p Publication) Digest() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		fmt.Fprintf(h, "%s %d\n", name, len(p.files[name]))
		h.Write(p.files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Prepare makes what the site is to hold: our keys but those that are revoked, and the keys
// that others sign with. A revoked key is left out of theirs too.
func (s *Site) Prepare(all []Key) (Publication, error) {
	var others []alsoKey
	for _, path := range s.Also {
		more, err := readSet(path, false)
		if err != nil {
			return Publication{}, fmt.Errorf("also_publish %s: %w", path, err)
		}
		others = append(others, more...)
	}
	return s.prepare(all, others)
}

// Keep is Prepare where a file of Also cannot be used: the keys of others stay that are
// published now, as far as verifiers can use them.
func (s *Site) Keep(all []Key) (Publication, error) {
	others, err := readSet(filepath.Join(s.Root, KeysFile), true)
	if err != nil {
		return Publication{}, err
	}
	return s.prepare(all, others)
}

func (s *Site) prepare(all []Key, others []alsoKey) (Publication, error) {
	var p Publication
	var members []json.RawMessage
	ids, algorithms := map[string]crypto.PublicKey{}, map[string]bool{}
	add := func(k keys.PublicJWK, member json.RawMessage) error {
		if first := ids[k.ID]; first != nil && !samePublic(first, k.Public) {
			return fmt.Errorf("another key has the kid %q", k.ID)
		} else if first != nil {
			return nil
		}
		ids[k.ID] = k.Public
		if k.Algorithm != "" {
			algorithms[k.Algorithm] = true
		}
		p.public, members = append(p.public, k.Public), append(members, member)
		return nil
	}
	var ours []crypto.PublicKey
	for _, k := range all {
		jwk, err := k.jwk()
		if err == nil {
			ours = append(ours, jwk.Public)
		}
		if k.Stage() == Revoked {
			continue
		}
		if err == nil {
			jwk.ID = k.ID
			err = add(jwk, k.Public)
		}
		if err != nil {
			return Publication{}, fmt.Errorf("key %q: %w", k.ID, err)
		}
	}
	for _, o := range others {
		if slices.ContainsFunc(ours, func(k crypto.PublicKey) bool { return samePublic(k, o.Public) }) {
			continue // it is there already, or was revoked
		}
		if err := add(o.PublicJWK, o.member); err != nil {
			return Publication{}, fmt.Errorf("also_publish %s: %w", o.file, err)
		}
	}
	p.files = Documents(s.URL, slices.Sorted(maps.Keys(algorithms)), members)
	return p, nil
}

// An alsoKey is a key of a file that also_publish names.
type alsoKey struct {
	keys.PublicJWK
	member json.RawMessage // its public half alone
	file   string
}

// readSet reads a set of keys that others sign with. A key that verifiers could not use is
// an error, since it is in the file to be published, unless it may be left out.
func readSet(path string, leaveOut bool) (all []alsoKey, err error) {
	content, _, err := host.ReadFile(path, mostDocument)
	if err != nil {
		return nil, host.WithoutPath(err)
	}
	var set struct {
		Keys []any `json:"keys"`
	}
	if err := json.Unmarshal(content, &set); err != nil || set.Keys == nil {
		return nil, errors.New(`it is not a set of public keys (JWKS, RFC 7517): {"keys": [ … ]}; key public prints one`)
	}
	for _, member := range set.Keys {
		k, err := keys.ReadPublicJWK(member)
		if err == nil && k.ID == "" {
			err = errors.New("it has no kid, so no token can name it")
		}
		if err == nil && keys.Demonstration(k.Public) != "" {
			err = fmt.Errorf("it is a demonstration key, which %s prints, so everybody can sign with it", keys.Demonstration(k.Public))
		}
		if err != nil && leaveOut {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		public, err := publicMember(member)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		all = append(all, alsoKey{k, public, path})
	}
	return all, nil
}

// publicMember is the JWK without what is private in it (RFC 7518 sections 6.2.2, 6.3.2).
func publicMember(member any) (json.RawMessage, error) {
	object, ok := member.(map[string]any)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	object = maps.Clone(object)
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		delete(object, private)
	}
	return json.Marshal(object)
}

// Strange names the keys of a document that the publication does not have: to publish it
// would take them from verifiers.
func (p Publication) Strange(document []issuer.Key) (ids []string) {
	for _, k := range document {
		if !slices.ContainsFunc(p.public, func(own crypto.PublicKey) bool { return samePublic(own, k.Public) }) {
			ids = append(ids, fmt.Sprintf("%q", k.ID))
		}
	}
	return ids
}

// Published are the keys that the files of the site hold now; none where there are no files.
func (s *Site) Published() ([]issuer.Key, error) {
	content, _, err := host.ReadFile(filepath.Join(s.Root, KeysFile), mostDocument)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(s.Root, KeysFile), host.WithoutPath(err))
	}
	set, err := issuer.ParseKeys(content)
	if err != nil {
		return nil, nil // no verifier can use it either
	}
	return set.Keys, nil
}

// Write makes the files of the site as the publication says: the keys first, and then what
// says where they are. It reports whether it changed anything.
func (s *Site) Write(ctx context.Context, p Publication) (changed bool, err error) {
	for _, name := range []string{KeysFile, OpenIDFile, OAuthFile} {
		file := s.file(name)
		same := false
		if file.Record() == (safefile.Record{}) { // of an earlier process: to write it again changes nothing
			before, err := file.Read()
			same = err == nil && bytes.Equal(before, p.files[name])
		}
		r, err := file.Write(ctx, p.files[name])
		if changed = changed || r.Changed && !same; err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// file is one file of the site. What was written there is remembered.
func (s *Site) file(name string) *safefile.File {
	if s.files == nil {
		s.files = map[string]*safefile.File{}
	}
	if s.files[name] == nil {
		s.files[name] = safefile.New(safefile.Target{Path: filepath.Join(s.Root, name), Owner: s.Owner, Group: s.Group, Mode: s.Mode, CreateDir: true, CreateParents: s.Deep, FolderMode: s.Mode | (s.Mode&0o444)>>2})
	}
	return s.files[name]
}
