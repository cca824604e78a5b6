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
	"github.com/tokenagent/tokenagent/sources"
)

// sinkPatience is how long a folder may take to answer; one whose server is gone
// never does.
const sinkPatience = 5 * time.Second

// folders are those that sinks write to. One that does not answer is waited for
// once, however many sinks write there.
type folders struct {
	mu   sync.Mutex
	hung map[string]bool
}

// lookAt says what lies in the sink, and whether it can be written there. Whose
// the folders are was judged when the configuration was loaded.
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
		return []sources.Finding{whatLies(inFile(ctx, s, nil), path, wall())}
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
	return sources.Finding{Mark: sources.Wrong, Transient: true, About: path,
		Text: "the folder does not answer; is the server behind it gone?"}
}

// folderFault is the Finding of a file that could not be written, or whose folder
// is not there; false when there is more to look at.
func folderFault(path string) (sources.Finding, bool) {
	folder := filepath.Dir(path)
	err := writable(folder)
	f := sources.Finding{Mark: sources.Wrong, About: path}
	switch {
	case err == nil:
		return f, false
	case errors.Is(err, fs.ErrNotExist):
		return fine(path, "nothing lies there yet, nor is there its folder"), true // what check has to say of that, it has said
	case errors.Is(err, unix.EROFS):
		f.Text = "the file system of " + folder + " is read-only; mount it otherwise, or choose another folder"
	case errors.Is(err, fs.ErrPermission):
		f.Text = fmt.Sprintf("user %d, who runs this check, may not write in %s; run it as the agent's user, or chown the folder", os.Geteuid(), folder)
	default:
		f.Text = folder + ": " + err.Error()
	}
	return f, true
}

// writable says why nothing can be written in the folder, as far as can be told
// without trying. Below a folder of somebody else's root writes as that user, who
// may do what it may not.
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

// whatLies says in words what lies at the path.
func whatLies(s agent.SinkStatus, path string, now time.Time) sources.Finding {
	switch {
	case s.Failing != nil:
		return sources.Finding{Mark: sources.Warning, About: path, Text: "what lies there cannot be read as a token, and is replaced: " + s.Failing.Error}
	case s.State == agent.Missing:
		return fine(path, "nothing lies there yet")
	case s.State == agent.Expired:
		return sources.Finding{Mark: sources.Warning, About: path,
			Text: fmt.Sprintf("a token lies there that expired %s; is the agent running?", away(s.Expires, now))}
	case s.Expires.IsZero():
		return fine(path, "a token lies there that does not say when it expires")
	}
	return fine(path, "a token lies there that expires %s", away(s.Expires, now))
}
