package state

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
)

// A Locked is the error of a folder that another process has open.
type Locked struct {
	Dir string
	PID int // zero: not known
}

// Error names the folder and what to do.
func (l *Locked) Error() string {
	who := "another agent"
	if l.PID > 0 {
		who = fmt.Sprintf("another agent (process %d)", l.PID)
	}
	return fmt.Sprintf("state folder %s: %s runs with it; for a configuration of its own write another name or state_dir in the agent block", l.Dir, who)
}

// inPlace reports whether the folder is still the one that this agent has locked.
func (s *State) inPlace() bool {
	s.holding.Lock()
	defer s.holding.Unlock()
	return s.holds()
}

// holds is inPlace for callers that have locked holding.
func (s *State) holds() bool { return sameFile(s.lock, filepath.Join(s.dir, lockName)) }

// ready makes the folder again if it was deleted. Its error is a [*Locked] where another
// agent has the folder by now: then nothing is written.
func (s *State) ready() error {
	s.holding.Lock()
	defer s.holding.Unlock()
	if s.holds() {
		return nil
	}
	gone := s.dir
	if _, err := os.Lstat(s.dir); err == nil {
		gone = filepath.Join(s.dir, lockName)
	}
	if err := makeSafe(s.dir); err != nil {
		return err
	}
	lock, err := takeLock(s.dir)
	if err != nil {
		return err
	}
	s.lock.Close()
	s.lock = lock
	s.warn("%s was deleted or replaced while this agent runs; it is made again", gone)
	return errors.Join(s.checkKey(), s.checkOwner())
}

// takeLock takes the lock of the folder. It ends when the file is closed.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	end := time.Now().Add(lockPatience)
	f, err := host.LockFile(path, func() error {
		if pid := host.Holder(path); !ended(pid) || time.Now().After(end) {
			return &Locked{dir, pid}
		}
		time.Sleep(10 * time.Millisecond)
		return nil
	})
	if locked, ok := errors.AsType[*Locked](err); ok {
		return nil, locked
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w; let the agent write there, or set another state_dir in the agent block", err)
	}
	host.SignLock(f)
	return f, nil
}

// lockFolder takes the lock of a folder for a moment. Its error is a [*Locked] where an agent
// uses the folder.
func lockFolder(dir string) (release func(), err error) {
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	return func() { lock.Close() }, nil
}

// lockPatience is how long to wait for the lock of an agent that was killed. A program that
// it was starting holds the lock until its first instruction: a while on a busy machine.
const lockPatience = 10 * time.Second

// ended reports whether the process has ended.
func ended(pid int) bool { return pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// makeSafe makes the folder, but as root only where nobody else can replace it or what is
// in it.
func makeSafe(dir string) error {
	if err := validateAsRoot(dir); err != nil {
		return err
	}
	if err := makeFolder(dir); err != nil {
		return fmt.Errorf("state folder %s: %w", dir, err)
	}
	return validateAsRoot(dir)
}

func validateAsRoot(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return validateFolder(dir)
}

// validateFolder is an error where somebody else could put files in place of ours: root
// would believe these files, and write where links lead. It looks at every component of
// the path, with each link and its folder.
func validateFolder(dir string) error {
	found, err := host.Trust{Users: []int{os.Geteuid()}}.Weaknesses(dir)
	switch {
	case len(found) > 0:
		return fmt.Errorf("state folder %s: %w; or name another state_dir", dir, found[0])
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("state folder %s: %w", dir, err)
	}
	return nil
}

// within returns what f returns, or after openLimit an error. What f returns later goes to
// late.
func within[T any](dir string, f func() (T, error), late func(T) error) (none T, err error) {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	opening := host.Begin(func() (r result) {
		r.value, r.err = f()
		return r
	})
	r, returned := opening.Wait(ctx)
	if !returned {
		opening.Late(func(r result) {
			if r.err == nil {
				_ = late(r.value) // nobody waits for it
			}
		})
		return none, fmt.Errorf("state folder %s: %w", dir, errSilent)
	}
	return r.value, r.err
}

// ignored is for what comes too late and need not be closed.
func ignored[T any](T) error { return nil }

// makeFolder makes the folder and those above it, durably.
func makeFolder(dir string) error {
	var parents []string
	for at := dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(at))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := host.SyncFolder(p); err != nil && !errors.Is(err, fs.ErrPermission) { // a folder that we may not read need not be ours
			return err
		}
	}
	return nil
}

var errSilent = errors.New("the file system does not answer")
