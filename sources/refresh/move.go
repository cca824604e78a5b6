package refresh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A Former is where an older version kept the refresh tokens of all
// configurations: the token of a Store may still lie there.
type Former struct {
	Dirs func() []string                              // state folders to look in
	Lock func(dir string) (release func(), err error) // keeps the agents of other configurations from the folder
	Ours func(Token) bool                             // whether a token of that name is the one of this source
}

// Inherit makes s take its token from f when it has none: Read finds it there, and
// Lock moves it.
func (s *Store) Inherit(f Former) { s.former = f }

// Spent is the file of a refresh token in one of the state folders that began with
// the content, and that its issuer has replaced since; "" for none. An issuer that
// replaces them takes another use of the first one for theft.
func Spent(dirs []string, content []byte) (path string) {
	for _, dir := range dirs {
		all, _ := filepath.Glob(filepath.Join(dir, folderName, "*"+tokenSuffix))
		for _, path := range all {
			s := newStore(dir, strings.TrimSuffix(filepath.Base(path), tokenSuffix))
			if t, err := s.Read(); err == nil && t.From.Is(content) && t.Text.Reveal() != string(content) {
				return path
			}
		}
	}
	return ""
}

// stores are the Stores of the same name in the former folders.
func (s *Store) stores() (all []*Store) {
	if s.former.Dirs == nil {
		return nil
	}
	for _, dir := range s.former.Dirs() {
		all = append(all, newStore(dir, strings.TrimSuffix(filepath.Base(s.path), tokenSuffix)))
	}
	return all
}

// inherited is the first token of a former Store that is this source's.
func (s *Store) inherited() (t Token, from *Store) {
	for _, former := range s.stores() {
		if t, err := former.Read(); err == nil && s.former.Ours(t) {
			return t, former
		}
	}
	return Token{}, nil
}

// inherit moves the token here, by one rename: at no time there are two that could
// be used, which an issuer that rotates them takes for theft.
func (l *Lock) inherit(ctx context.Context) error {
	if _, err := os.Lstat(l.store.path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for end := time.Now().Add(busyPatience); ; time.Sleep(20 * time.Millisecond) {
		_, former := l.store.inherited()
		if former == nil {
			return nil
		}
		release, err := l.store.former.Lock(former.stateDir())
		if err == nil {
			defer release()
			return former.moveTo(ctx, l.store.path)
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("%s: an older version stored the refresh token of this source here, and it cannot be moved yet: %w", former.path, err)
		}
	}
}

// Is reports whether s is the Store of the source of that name.
func (s *Store) Is(name string) bool {
	return filepath.Base(s.path) == url.PathEscape(name)+tokenSuffix
}

func (s *Store) stateDir() string { return filepath.Dir(filepath.Dir(s.path)) }

// moveTo renames the file while nobody uses it.
func (s *Store) moveTo(ctx context.Context, path string) error {
	lock, err := s.Lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	err = os.Rename(s.path, path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // another configuration was faster
		return nil
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%s: it lies on another file system than %s; stop the agent and move the file there", s.path, path)
	case err != nil:
		return wrap(s.path, err)
	}
	return errors.Join(syncFolder(filepath.Dir(path)), syncFolder(filepath.Dir(s.path)))
}

// syncFolder has what was renamed in the folder on the disk.
func syncFolder(path string) error {
	if err := host.SyncFolder(path); err != nil {
		return wrap(path, err)
	}
	return nil
}

// busyPatience is how long the move of a token waits for who uses it or its folder.
const busyPatience = 2 * time.Second

// Evict moves the refresh tokens of one state folder to another, but for those that
// are kept. keep gets the name of the source, and the token; one that cannot be
// read stays, too.
func Evict(ctx context.Context, from, to string, keep func(name string, t Token) bool) error {
	all, _ := filepath.Glob(filepath.Join(from, folderName, "*"+tokenSuffix))
	var errs []error
	for _, path := range all {
		name, err := url.PathUnescape(strings.TrimSuffix(filepath.Base(path), tokenSuffix))
		if err != nil {
			continue // not a name of ours
		}
		s := NewStore(from, name)
		if t, err := s.Read(); err == nil && !keep(name, t) {
			errs = append(errs, s.evict(ctx, NewStore(to, name)))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) evict(ctx context.Context, to *Store) error {
	ctx, cancel := context.WithTimeout(ctx, busyPatience)
	defer cancel()
	if err := to.folder(); err != nil {
		return err
	}
	if _, err := os.Lstat(to.path); !errors.Is(err, fs.ErrNotExist) {
		return nil // it stays: there is another token of that name
	}
	return s.moveTo(ctx, to.path)
}
