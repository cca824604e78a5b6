// Package safefile writes a small file that other programs read: whole or not
// at all, with its owner and mode from the first instant it can be seen, and
// never outside the folder it is meant for, even if others can write there.
//
// # Who writes
//
// An unprivileged process writes as itself. A privileged one (effective uid 0)
// writes as root where root owns every folder of the path. Below a folder that root
// does not own it writes as the owner of the file, on a thread of its own that takes on
// that user's identity and ends with it. It needs only CAP_CHOWN, CAP_SETUID and
// CAP_SETGID.
//
// # How
//
//  1. The folder is opened component by component, and each is validated: see [Refusal].
//  2. The target is looked at; anything but a regular file or nothing is refused. In a
//     sticky folder that others can write, root replaces everything except a folder, with a
//     warning: anybody could keep the token out otherwise. Without root, what another
//     user put there is refused.
//  3. If it is as recorded and as wanted, the write ends.
//  4. A temporary file is made in the same folder, exclusively, 0600.
//  5. The content is written to it.
//  6. It gets the SELinux label of the old file.
//  7. It gets its group.
//  8. It gets its mode, after the group, so that no other group can ever read it.
//  9. It gets its owner, after the mode (the reverse needs CAP_FOWNER), and is checked.
//  10. It is synced.
//  11. It is closed.
//  12. It is renamed to the target.
//  13. The folder is synced.
//  14. The target is checked: it is our file, and what stat says of it is recorded.
//
// On an error in steps 5 to 12, or when the write is cancelled before the last of
// them, the temporary file is removed, and the old file stays as it was. What a
// killed process leaves behind, [File.Sweep] removes.
//
// No lock is taken: the rename is atomic, and anybody who can read a folder could hold
// a lock on it and make every write wait. If another agent with the same target removes
// the temporary file, the write starts once more.
//
// # Which file systems are trusted
//
// What belongs to root is certain only on a file system of this host's kernel. On one
// that another host serves (NFS, SMB, Lustre …) a privileged process follows no symbolic
// link. FUSE is served by a process of the user who mounted it: there no folder counts as
// root's, the write goes on as the owner of the file, and nothing is written for root.
// The file system of / is always trusted: it serves this program too.
package safefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tokenagent/tokenagent/agent/host"
)

// MaxName is the length in bytes of the longest file name that can be written:
// the temporary file's name is longer, and no name is longer than 255.
const MaxName = 200

// A Target is a file as it is wanted.
type Target struct {
	Path      string        // absolute and clean
	Owner     host.Identity // who owns it; without privileges the process's own user
	Group     int           // the gid it belongs to; below a folder of Owner one of Owner's groups
	Mode      fs.FileMode   // its permission bits
	CreateDir bool          // make the last folder, Owner's, when it is missing

	CreateParents bool        // with CreateDir, make every missing folder of the path so
	FolderMode    fs.FileMode // of a folder that is made; zero: 0700
}

// A File writes one target and remembers what it wrote. One goroutine at a time may use
// it.
type File struct {
	target  Target
	record  Record
	asOwner bool                // it lies below a folder of the owner's, so the owner looks at it
	warned  map[string]struct{} // the warnings that were returned
	passed  func(step int) error
	typeOf  func(fd int) (host.FileSystem, error) // tells the type of a file system
}

// New returns a File for the target t.
func New(t Target) *File {
	return &File{target: t, warned: make(map[string]struct{}), typeOf: host.FileSystemOf}
}

// Target is the target of f.
func (f *File) Target() Target { return f.target }

// A Result is what a write did.
type Result struct {
	Changed  bool     // false: it already lay there as recorded and wanted
	Warnings []string // each is returned once in the life of a File
}

// Write makes content the content of the target. Its error begins with the target's path
// and ends with what to do. After an error the old file is as it was, unless only the
// sync of the folder failed.
func (f *File) Write(ctx context.Context, content []byte) (Result, error) {
	r, err := f.write(ctx, content)
	if errors.Is(err, errTempGone) {
		r, err = f.write(ctx, content)
	}
	return r, err
}

func (f *File) write(ctx context.Context, content []byte) (Result, error) {
	w := writing{file: f, content: content, folder: new(folder)}
	err := f.inFolder(walk{}, func(d *folder) error {
		w.folder = d
		return w.run(ctx)
	})
	return Result{Changed: err == nil && !w.unchanged, Warnings: f.unsaid(w.warnings)}, err
}

// Check validates the folder and the kind of the target, and changes nothing. The error
// of a missing folder is fs.ErrNotExist, unless the write would make it.
func (f *File) Check() (warnings []string, err error) {
	var found []error
	err = f.inFolder(walk{dry: true}, func(d *folder) error {
		st, foreign, err := d.replaced()
		if foreign {
			d.warnOfForeign(st, "will be replaced")
		}
		found = d.warnings
		return err
	})
	if errors.Is(err, errWouldCreate) {
		err = nil
	}
	return f.unsaid(found), err
}

// fault puts the path before an error, unless it begins with it.
func (t Target) fault(err error) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*Refusal](err); ok && r.Path == t.Path {
		return err
	}
	return fmt.Errorf("%s: %w", t.Path, err)
}

// unsaid returns those warnings that f has not returned before.
func (f *File) unsaid(warnings []error) (unsaid []string) {
	for _, warning := range warnings {
		w := warning.Error()
		if _, said := f.warned[w]; !said {
			f.warned[w] = struct{}{}
			unsaid = append(unsaid, w)
		}
	}
	return unsaid
}

// CheckName says why no target can have the file name; "" if one can.
func CheckName(name string) string {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return "it names no file"
	case len(name) > MaxName:
		return fmt.Sprintf("its name has %d bytes; at most %d are allowed", len(name), MaxName)
	case strings.HasPrefix(name, tempPrefix):
		return "names that begin with " + tempPrefix + " are the agent's own"
	}
	return ""
}
