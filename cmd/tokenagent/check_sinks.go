package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources"
)

// sinkPatience is how long a folder may take to answer; one whose server is gone
// never does.
const sinkPatience = 5 * time.Second

// lookAtSink says what lies in the sink, and whether it can be written there. Whose
// the folders are was judged when the configuration was loaded.
func lookAtSink(ctx context.Context, s agent.Sink) []sources.Finding {
	path := "sink"
	if l, ok := s.(agent.Located); ok {
		path = l.Path()
	}
	ctx, cancel := context.WithTimeout(ctx, sinkPatience)
	defer cancel()
	return lookUntil(ctx, 0, func(ctx context.Context) []sources.Finding {
		if f, ok := folderFault(path); ok {
			return []sources.Finding{f}
		}
		return []sources.Finding{whatLies(inFile(ctx, s), path, time.Now())}
	})
}

// folderFault is the Finding of a file that could not be written; false when
// nothing is seen that would keep it from being written.
func folderFault(path string) (sources.Finding, bool) {
	folder := filepath.Dir(path)
	if !filepath.IsAbs(folder) {
		return sources.Finding{}, false // not a file
	}
	err := writable(folder)
	f := sources.Finding{Mark: sources.Wrong, About: path}
	switch {
	case err == nil:
		return f, false
	case errors.Is(err, fs.ErrNotExist):
		f.Mark, f.Text = sources.Warning, "the folder "+folder+" is not there; make it, unless create_dir does"
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
	if err := unix.Statfs(folder, &system); err != nil {
		return err
	}
	if system.Flags&unix.ST_RDONLY != 0 {
		return unix.EROFS
	}
	if os.Geteuid() == 0 {
		return nil
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
