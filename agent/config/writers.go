package config

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/hcl/v2"

	"github.com/tokenagent/tokenagent/agent"
)

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

// locate finds the folder of a path, as far as only root and this user decide what
// the path stands for: whoever else could make two paths one by a symbolic link would
// keep the agent from starting. Where only definitions are checked, no folder is looked
// at, and paths are compared as they are spelt; so are those of folders that hang.
func (l *loading) locate(path string) location {
	var found location
	if l.env.Definitions || !l.look(filepath.Dir(path), func() { found = locate(path) }) {
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

// decided reports whether the folder, or the link, is there, and is root's or
// this user's.
func decided(folder string) bool {
	info, err := os.Lstat(folder)
	if err != nil {
		return false
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	return owner == 0 || owner == os.Geteuid()
}

// readBy takes note of files that are read: no token may be written over them.
func (l *loading) readBy(who string, at hcl.Range, paths ...string) {
	for _, path := range paths {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		where := l.locate(path)
		if _, known := l.written[where]; !known {
			l.written[where] = writer{who, true, at}
		}
	}
}

// keptAs stands for all files of a folder in loading.kept.
const keptAs = "*"

// Keep takes note that the folder of the file belongs to the source alone: what
// else lies there would be used in its place. The attribute names the folder. One
// that another source has is a fault.
func (b *Block) Keep(attr, file string) {
	if b.stanza.spare || b.Wrong(attr) {
		return // which has been said
	}
	folder := filepath.Dir(file)
	where := b.load.locate(filepath.Join(folder, keptAs))
	if first, taken := b.load.kept[where]; taken {
		b.Fault(attr, "duplicate "+attr, fmt.Sprintf("%s keeps its token in %s, at %s; name a folder of its own for each source", first.what, folder, placeText(first.at)))
		return
	}
	who := sourceName{b.stanza.labels[0], b.name}.String()
	b.load.kept[where] = writer{who, true, b.place(attr)}
}

// writes reports a path that somebody writes or reads already, or that lies in a
// folder which a source has to itself.
func (b *Block) writes(path string) {
	if keeper, kept := b.load.kept[b.load.locate(filepath.Join(filepath.Dir(path), keptAs))]; kept {
		b.Fault("path", "a token in the folder of a source", fmt.Sprintf("%s keeps the token that it asks with in %s, at %s, and would ask with this one in its place; write it elsewhere", keeper.what, filepath.Dir(path), placeText(keeper.at)))
		return
	}
	where := b.load.locate(path)
	first, taken := b.load.written[where]
	switch {
	case !taken:
		b.load.written[where] = writer{"token " + b.name, false, b.place("path")}
	case first.read:
		b.Fault("path", "a token would replace a file that is read", fmt.Sprintf("%s reads %s, at %s", first.what, path, placeText(first.at)))
	case first.at == b.place("path"):
		b.Fault("path", "the same path for several instances", fmt.Sprintf("%s writes %s too; use each.key in it", first.what, path))
	default:
		b.Fault("path", "duplicate path", fmt.Sprintf("%s writes %s too, at %s", first.what, path, placeText(first.at)))
	}
}

// circles reports a token that would be written over the very file that its source
// copies or exchanges. What other tokens write there is what the source is for.
func (b *Block) circles(from *source) {
	follower, ok := from.Source.Source.(agent.Follower)
	if !ok {
		return
	}
	path, _ := follower.Follows()
	if path == "" { // a fault of its own
		return
	}
	w := b.load.written[b.load.locate(path)]
	if w.what == "token "+b.name && !w.read {
		b.report(severityError, w.at, "the token would replace what it is made from", fmt.Sprintf("%s reads %s; write the token elsewhere", from.Name, path))
	}
}
