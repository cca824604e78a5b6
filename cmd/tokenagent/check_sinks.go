package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sinks"
	"github.com/tokenagent/tokenagent/sources"
)

// sinkPatience is how long a folder may take to answer. If its server is gone, it
// never does.
const sinkPatience = 5 * time.Second

// folders remembers which folders did not answer: each is waited for once, however
// many sinks write there. The zero value is ready.
type folders struct {
	known sinks.Records // what the agent remembers of the files

	mu   sync.Mutex
	hung map[string]bool
}

// lookAt says what lies in the sink, and whether it can be written there. Who owns
// the folders was checked when the configuration was loaded.
func (f *folders) lookAt(ctx context.Context, s agent.Target) []sources.Finding {
	if s.Path == "" {
		return nil
	}
	path, folder := s.Path, filepath.Dir(s.Path)
	if f.hangs(folder) {
		return []sources.Finding{unanswered(path)}
	}
	patient, cancel := context.WithTimeout(ctx, sinkPatience)
	defer cancel()
	found, ended := lookUntil(patient, 0, func(ctx context.Context) []sources.Finding {
		if fault, ok := folderFault(path); ok {
			return []sources.Finding{fault}
		}
		return []sources.Finding{whatLies(f.known.Look(ctx, s, wall()), path, wall())}
	})
	switch {
	case ended:
		return found
	case ctx.Err() == nil:
		f.hang(folder)
	}
	return []sources.Finding{unanswered(path)}
}

func (f *folders) hangs(folder string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hung[folder]
}

func (f *folders) hang(folder string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hung == nil {
		f.hung = map[string]bool{}
	}
	f.hung[folder] = true
}

func unanswered(path string) sources.Finding {
	f := said(sources.Wrong, path, "the folder does not answer; is the server behind it gone?")
	f.Transient = true
	return f
}

// folderFault is the Finding of a file that cannot be written, or whose folder is
// missing; false when there is more to look at.
func folderFault(path string) (sources.Finding, bool) {
	folder := filepath.Dir(path)
	err := writable(folder)
	switch {
	case err == nil:
		return sources.Finding{}, false
	case errors.Is(err, fs.ErrNotExist):
		return said(sources.Fine, path, "nothing lies there yet, and its folder is missing"), true // check has already warned where that is a fault
	case errors.Is(err, unix.EROFS):
		return said(sources.Wrong, path, "the file system of %s is read-only; mount it otherwise, or choose another folder", folder), true
	case errors.Is(err, fs.ErrPermission):
		return said(sources.Wrong, path, "user %d, who runs this check, may not write in %s; run it as the agent's user, or chown the folder", os.Geteuid(), folder), true
	}
	return said(sources.Wrong, path, "%s: %v", folder, err), true
}

// writable is why nothing can be written in the folder, as far as can be known
// without writing. Below another user's folder root writes as that user, who may be
// allowed what root is not.
func writable(folder string) error {
	var system unix.Statfs_t
	err := unix.Statfs(folder, &system)
	asRoot := os.Geteuid() == 0
	switch {
	case err == nil && system.Flags&unix.ST_RDONLY != 0:
		return unix.EROFS
	case asRoot && errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil || asRoot:
		return err
	}
	return unix.Faccessat(unix.AT_FDCWD, folder, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

// whatLies says what lies at the path.
func whatLies(s agent.SinkStatus, path string, now time.Time) sources.Finding {
	switch {
	case s.Failing != nil:
		return said(sources.Warning, path, "what lies there cannot be read as a token, and is replaced: %s", s.Failing.Error)
	case s.State == agent.Missing:
		return said(sources.Fine, path, "nothing lies there yet")
	case s.State == agent.Expired:
		return said(sources.Warning, path, "a token lies there that expired %s; is the agent running?", away(s.Expires, now))
	case s.Expires.IsZero():
		return said(sources.Fine, path, "a token lies there that does not say when it expires")
	}
	return said(sources.Fine, path, "a token lies there that expires %s", away(s.Expires, now))
}

func said(mark sources.Mark, about, format string, args ...any) sources.Finding {
	return sources.Finding{Mark: mark, About: about, Text: fmt.Sprintf(format, args...)}
}
