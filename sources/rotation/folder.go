package rotation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// The files of a keys folder that hold no key.
const (
	memoryFile = "keys.json"  // the Life of the keys
	agentLock  = "agent.lock" // held by the agent that keeps the keys
	keysLock   = "keys.lock"  // held while memoryFile is read and written again
)

// revokedEnd is what the name of a key's file gets at its end when the key is revoked, so
// that nothing takes it for a key again.
const revokedEnd = ".revoked"

// mostMemory is how many bytes memoryFile may have: hundreds of keys.
const mostMemory = 1 << 20

// A folder is where the private keys of an issuer are.
type folder struct {
	path  string
	fault func(step, file string) error // in tests, what a step fails with
}

// step is called before each change on the disk.
func (f folder) step(what, file string) error {
	if f.fault == nil {
		return nil
	}
	return f.fault(what, file)
}

func (f folder) file(name string) string { return filepath.Join(f.path, name) }

// target is a file in the folder as it is to be: only its owner can read it.
func (f folder) target(name string) *safefile.File {
	return safefile.New(safefile.Target{Path: f.file(name), Owner: host.Self(), Group: os.Getegid(), Mode: 0o600})
}

// ready makes the folder if it is missing, and refuses one that others could change.
func (f folder) ready() error {
	warnings, err := f.target(memoryFile).Check()
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(f.path, 0o700); err == nil {
			warnings, err = f.target(memoryFile).Check()
		}
	}
	if err == nil && len(warnings) > 0 {
		err = errors.New(warnings[0])
	}
	if err == nil {
		return nil
	}
	if other := f.ofAnother(); other != "" {
		return fmt.Errorf("keys_dir %s: it belongs to user %s, whose agent keeps these keys; do this as that user, or give it to %s with chown -R", f.path, other, (&host.Database{}).NameOf(host.Self().UID))
	}
	return fmt.Errorf("keys_dir %s: %w", f.path, host.WithoutPath(err))
}

// ofAnother is the user whose folder it is; "" where that is the user of this process.
func (f folder) ofAnother() string {
	info, err := os.Stat(f.path)
	if err != nil {
		return ""
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != host.Self().UID {
		return (&host.Database{}).NameOf(uid)
	}
	return ""
}

// write replaces a file of the folder, durably.
func (f folder) write(name string, content []byte) error {
	if err := f.step("write", name); err != nil {
		return err
	}
	_, err := f.target(name).Write(context.Background(), content) // a change that has begun is not cancelled
	return err
}

// load reads what is remembered of the keys. known is false where nothing is.
func (f folder) load() (l Life, known bool, err error) {
	content, _, err := host.ReadFile(f.file(memoryFile), mostMemory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Life{}, false, nil
	case err != nil:
		return Life{}, false, fmt.Errorf("%s: %w", f.file(memoryFile), host.WithoutPath(err))
	}
	if l, err = parseLife(content); err != nil {
		return Life{}, false, fmt.Errorf("%s: %w; put it right, or move it away: then what it says is found out again from the keys and the published document", f.file(memoryFile), err)
	}
	return l, true, nil
}

// parseLife reads the content of memoryFile.
func parseLife(content []byte) (l Life, err error) {
	d := json.NewDecoder(bytes.NewReader(content))
	if err := d.Decode(&l); err != nil {
		return Life{}, fmt.Errorf("it cannot be read as JSON: %w", err)
	}
	ids := map[string]bool{}
	for _, k := range l.Keys {
		switch {
		case keys.CheckID(k.ID) != nil || k.ID == "" || ids[k.ID]:
			return Life{}, errors.New("a key in it has no usable id of its own")
		case k.File == "" || k.File != filepath.Base(k.File) || !isKeyFile(k.File):
			return Life{}, fmt.Errorf("the key %q has no usable file", k.ID)
		}
		if _, err := k.jwk(); err != nil {
			return Life{}, fmt.Errorf("the public half of the key %q: %w", k.ID, err)
		}
		ids[k.ID] = true
	}
	return l, nil
}

// save remembers the keys, durably.
func (f folder) save(l Life) error {
	content, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return f.write(memoryFile, append(content, '\n'))
}

// create makes a new key, and its file.
func (f folder) create(algorithm string, now time.Time) (Key, error) {
	private, err := keys.Generate(algorithm)
	if err != nil {
		return Key{}, err
	}
	chance := make([]byte, 5)
	rand.Read(chance)
	id := now.UTC().Format(time.DateOnly) + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(chance))
	private = private.WithID(id)
	content, err := private.MarshalJWK()
	if err != nil {
		return Key{}, err
	}
	name := id + ".jwk"
	if err := f.write(name, append(content, '\n')); err != nil {
		return Key{}, err
	}
	return newKey(private, name, now)
}

func newKey(private keys.Key, file string, created time.Time) (Key, error) {
	public, err := private.PublicJWK()
	return Key{ID: private.ID(), Public: public, File: file, Created: created.UTC().Round(time.Second)}, err
}

// jwk is the public half of the key, as verifiers read it.
func (k Key) jwk() (keys.PublicJWK, error) {
	var member any
	if err := json.Unmarshal(k.Public, &member); err != nil {
		return keys.PublicJWK{}, err
	}
	return keys.ReadPublicJWK(member)
}

func samePublic(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool }) // as every public key is
	return ok && comparable.Equal(b)
}

// private reads the private half of the key.
func (f folder) private(k Key) (keys.Key, error) {
	private, err := keys.Read(f.file(k.File), "")
	if err != nil {
		return keys.Key{}, err
	}
	jwk, err := k.jwk()
	if err == nil && samePublic(private.Public(), jwk.Public) {
		return private.WithID(k.ID), nil
	}
	return keys.Key{}, fmt.Errorf("key %s: it holds another key than the one that is published as %q; put that one back", f.file(k.File), k.ID)
}

// isKeyFile reports whether a file of that name is taken for a key.
func isKeyFile(name string) bool {
	return slices.Contains([]string{".pem", ".key", ".jwk", ".jwks"}, filepath.Ext(name)) && !strings.HasPrefix(name, ".")
}

// strange are the private keys in files that life does not know, each with its file. A key
// that cannot be read is a warning.
func (f folder) strange(l Life) (found []strangeKey, warnings []string, err error) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil, nil, fmt.Errorf("keys_dir %s: %w", f.path, host.WithoutPath(err))
	}
	for _, entry := range entries {
		name := entry.Name()
		if !isKeyFile(name) || slices.ContainsFunc(l.Keys, func(k Key) bool { return k.File == name }) {
			continue
		}
		private, err := keys.Read(f.file(name), "")
		if err != nil { // of a file with several keys too: one that is revoked takes its file along
			warnings = append(warnings, err.Error()+". The file is not used")
			continue
		}
		info, err := entry.Info()
		if err != nil {
			continue // it has just gone
		}
		found = append(found, strangeKey{private, name, info.ModTime()})
	}
	slices.SortStableFunc(found, func(a, b strangeKey) int { return a.changed.Compare(b.changed) })
	return found, warnings, nil
}

// A strangeKey is a key that somebody put into the folder, or whose memory was lost.
type strangeKey struct {
	keys.Key
	file    string
	changed time.Time
}

// setAside sees to it that nothing takes the file of a revoked key for a key again.
func (f folder) setAside(l Life) error {
	for _, k := range l.Keys {
		if k.Stage() != Revoked {
			continue
		}
		if _, err := os.Lstat(f.file(k.File)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := f.change("revoke", k.File, func(path string) error { return os.Rename(path, path+revokedEnd) }); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the files of a key that nobody needs any more.
func (f folder) remove(k Key) error {
	for _, name := range []string{k.File, k.File + revokedEnd} {
		if err := f.change("remove", name, os.Remove); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// change changes what the folder says of a file, durably.
func (f folder) change(what, name string, do func(path string) error) error {
	if err := f.step(what, name); err != nil {
		return err
	}
	if err := do(f.file(name)); err != nil {
		return fmt.Errorf("%s: %w", f.file(name), host.WithoutPath(err))
	}
	return host.SyncFolder(f.path)
}
