package refresh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// patience is how long a use of the token waits for another: longer than any
// issuer may take to answer.
const patience = time.Minute

// A Lock is the right to use the token of a Store. One process has it at a time,
// and in that process one Lock.
type Lock struct {
	store *Store
	file  *os.File
}

// Lock waits for the right to use the token, for a minute at most, and makes the
// folder if it is missing. Who waits longest comes first, so that an agent with a
// thousand tokens to fetch lets a person with a login in. The error begins with a
// path, and says who holds the lock, or what is wrong with the folder.
func (s *Store) Lock(ctx context.Context) (*Lock, error) {
	if err := s.folder(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	next, err := s.flock(ctx, s.queue, deadline)
	if err != nil {
		return nil, err
	}
	defer next.Close()
	file, err := s.flock(ctx, s.lock, deadline)
	if err != nil {
		return nil, err
	}
	l := &Lock{s, file}
	host.SignLock(file)
	l.sweep(ctx)
	if err := l.inherit(ctx); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// folder validates the folder, as who could put another file in the place of ours
// would have root follow it, and makes it if it is missing, but not among the files
// of somebody else, who could not write into it.
func (s *Store) folder() error {
	warnings, err := s.file().Check()
	if errors.Is(err, fs.ErrNotExist) { // nobody else's folder was on the way
		folder := filepath.Dir(s.path)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return wrap(folder, err)
		}
		warnings, err = s.file().Check()
	}
	if err == nil && len(warnings) > 0 && os.Geteuid() == 0 {
		err = errors.New(warnings[0])
	}
	return advised(err)
}

// advised is err, with what to do about somebody else's folder.
func advised(err error) error {
	if foreign, ok := errors.AsType[*safefile.Foreign](err); ok {
		return fmt.Errorf("%w; run this as that user, or name another state_dir", foreign)
	}
	return err
}

// flock takes the lock of the file, which goes with the descriptor.
func (s *Store) flock(ctx context.Context, path string, deadline time.Time) (*os.File, error) {
	const shortest, longest = time.Millisecond, 50 * time.Millisecond
	wait := shortest
	file, err := host.LockFile(path, func() error {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s uses the refresh token for longer than %v; if that one hangs, end it", s.holder(), patience)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s, which uses the refresh token: %w", s.holder(), ctx.Err())
		case <-time.After(wait):
		}
		wait = min(2*wait, longest)
		return nil
	})
	if err != nil {
		return nil, wrap(path, err)
	}
	return file, nil
}

// holder is the process that has the lock, in words.
func (s *Store) holder() string {
	switch pid := host.Holder(s.lock); pid {
	case 0:
		return "another process"
	case os.Getpid():
		return fmt.Sprintf("this process (%d) itself", pid)
	default:
		return fmt.Sprintf("process %d", pid)
	}
}

// sweep takes away what killed processes have left of their writes: it may hold a
// token. What cannot be taken away harms nobody else.
func (l *Lock) sweep(ctx context.Context) {
	own := filepath.Base(l.store.path)
	_, _ = l.store.file().Sweep(ctx, func(name string) bool { return name == own })
}

// Release gives the lock to the next one.
func (l *Lock) Release() {
	os.Remove(l.room())
	l.file.Close()
}

// Read returns the token that is stored; the zero Token when there is none.
func (l *Lock) Read() (Token, error) {
	t, err := l.store.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, nil
	}
	return t, err
}

// reserve is how many bytes Ready keeps room for.
const reserve = 16 << 10

// Ready makes sure that a token can be stored, as far as can be known, and keeps
// room for it until Keep or Release: the one that is in use is worth nothing any
// more once the issuer has rotated it, and the disk may fill meanwhile.
func (l *Lock) Ready() error {
	room := l.room()
	if err := os.Remove(room); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a killed process
		return wrap(room, err)
	}
	f, err := os.OpenFile(room, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return wrap(room, err)
	}
	_, err = f.Write(make([]byte, reserve))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(room)
		return wrap(room, err)
	}
	return nil
}

// room is the file that keeps the room.
func (l *Lock) room() string {
	return filepath.Join(filepath.Dir(l.store.path), "."+filepath.Base(l.store.path)+".room")
}

// Keep stores the token in the place of the one before, durably: it is on the
// disk, under its name, when Keep returns nil. Nothing cancels it.
func (l *Lock) Keep(t Token) error {
	t.Stored = time.Now().Round(0)
	content, err := t.content()
	if err != nil {
		return wrap(l.store.path, err)
	}
	os.Remove(l.room()) // where there is none, there is room without, or there is not
	_, err = l.store.file().Write(context.Background(), content)
	return err
}

// Remove removes the token that is stored, durably. Nothing cancels it.
func (l *Lock) Remove() error {
	if err := os.Remove(l.store.path); err != nil {
		return wrap(l.store.path, err)
	}
	return syncFolder(filepath.Dir(l.store.path))
}

// wrap puts the path before an error that os has put it into the middle of.
func wrap(path string, err error) error {
	return fmt.Errorf("%s: %w", path, host.WithoutPath(err))
}
