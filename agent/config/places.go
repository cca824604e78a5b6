package config

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	lookPatience = 2 * time.Second
	mostHung     = 3 // folders that one load waits for
)

// places are the files and folders that the blocks of one load use.
type places struct {
	definitions bool                // no folder is looked at
	hung        map[string]bool     // folders that did not answer
	files       map[location]writer // the first that writes or reads each
	folders     map[location]writer // see Block.Reserve
}

// A location is where a file lies, however its path is spelt: the folder that
// exists by device and inode, and what of the path follows it.
type location struct {
	device, inode uint64
	rest          string
}

// A writer is what writes or reads a file first.
type writer struct {
	what string // token pilot["ce1"], or source.local_key.ospool
	read bool
	at   hcl.Range
}

func newPlaces(definitions bool) *places {
	return &places{definitions: definitions, hung: map[string]bool{}, files: map[location]writer{}, folders: map[location]writer{}}
}

// look is Block.Look.
func (p *places) look(folder string, f func()) (answered bool) {
	if p.hung[folder] || len(p.hung) >= mostHung {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookPatience)
	defer cancel()
	_, answered = host.Await(ctx, func() struct{} { f(); return struct{}{} })
	if !answered {
		p.hung[folder] = true
	}
	return answered
}

// locate finds the folder of a path, as far as root and this user alone decide where the
// path leads: others could make two paths one by a symbolic link, and so keep the agent
// from starting. Where only definitions are checked, or the folder hangs, a path counts as
// it is spelt.
func (p *places) locate(path string) location {
	var found location
	if p.definitions || !p.look(filepath.Dir(path), func() { found = locate(path) }) {
		return location{rest: path}
	}
	return found
}

func locate(path string) location {
	end := 0 // of the last folder that is decided
	for i, c := range path {
		if c == '/' && i > 0 {
			if !decided(path[:i]) {
				break
			}
			end = i
		}
	}
	info, err := os.Stat(path[:max(end, 1)])
	if err != nil {
		return location{rest: path}
	}
	stat := info.Sys().(*syscall.Stat_t)
	return location{stat.Dev, stat.Ino, path[end+1:]}
}

// decided reports whether the folder, or the link, exists and belongs to root or to
// this user.
func decided(folder string) bool {
	info, err := os.Lstat(folder)
	if err != nil {
		return false
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	return owner == 0 || owner == os.Geteuid()
}

// locateFolder is the location of a folder that may not exist yet.
func (p *places) locateFolder(folder string) location { return p.locate(filepath.Join(folder, "*")) }

// readBy notes files that are read: no token may be written over them.
func (p *places) readBy(who string, at hcl.Range, paths ...string) {
	for _, path := range paths {
		where := p.locate(absolute(path))
		if _, known := p.files[where]; !known {
			p.files[where] = writer{who, true, at}
		}
	}
}

// absolute is the path from the root on. It stays relative where the working folder is not
// known.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
