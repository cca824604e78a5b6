package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Permissions, as one digit of a mode has them.
const (
	toRead  = 0o4
	toWrite = 0o2
	toPass  = 0o1
)

// Strangers are those who can read the file, and those who can write it, although they
// are neither root, nor its keeper, nor its owner. What counts is the mode, the access
// control list (acl(5)), and the folders above: a folder that lets no stranger pass
// keeps them from everything in it. A group that the keeper is in may read. The path is
// the one that the file was opened by.
func (f *File) Strangers(path string) (readers, writers []fmt.Stringer) {
	p, ok := f.place(path)
	if !ok {
		return []fmt.Stringer{Say("somebody whom the system does not tell")}, nil
	}
	keeper := f.Keeper
	mayWrite := func(e entry) bool { return e.tag == aclUser && (e.id == 0 || int(e.id) == keeper.UID) }
	mayRead := func(e entry) bool { return mayWrite(e) || e.tag != aclUser && keeper.In(int(e.id)) }
	readers, writers = p.granted(toRead, mayRead), p.granted(toWrite, mayWrite)
	if len(readers) > 0 && p.behind(shut(mayRead)) {
		readers = nil
	}
	if len(writers) > 0 && (ReadOnlyForAll() && p.readOnlyEverywhere() || p.behind(shut(mayWrite))) {
		writers = nil
	}
	return readers, writers
}

// OpenToAll reports whether everybody on this host can read the file, or write it:
// its mode says so, and no folder above keeps everybody out.
func (f *File) OpenToAll(path string) bool {
	p, ok := f.place(path)
	return ok && p.Stat.Mode&(toRead|toWrite) != 0 && !p.behind(passedByFew)
}

// PassedByFew reports whether the folder, or one above it, lets only its owner and its
// group pass, and whom an access control list names.
func PassedByFew(folder string) bool {
	f, err := os.Open(folder)
	if err != nil {
		return false
	}
	defer f.Close()
	p, ok := (&File{File: f}).place(folder)
	return ok && (passedByFew(p) || p.behind(passedByFew))
}

func passedByFew(folder Place) bool { return folder.Stat.Mode&toPass == 0 }

// place is the file as a component of the path.
func (f *File) place(path string) (p Place, ok bool) {
	p = Place{FD: int(f.Fd()), Path: path}
	return p, unix.Fstat(p.FD, &p.Stat) == nil
}

// shut tells of a folder whether it lets nobody pass but its owner and friends, who
// include the owner.
func shut(friend func(entry) bool) func(Place) bool {
	return func(folder Place) bool {
		return friend(entry{tag: aclUser, id: uint32(folder.Owner())}) && len(folder.granted(toPass, friend)) == 0
	}
}

// behind reports whether the file lies below a folder that is as closed says, on the way
// without symbolic links.
func (p Place) behind(closed func(folder Place) bool) bool {
	path, err := absolute(p.Path)
	if err != nil {
		return false
	}
	var w Walk
	defer w.Close()
	err = w.Begin(path)
	var behind []string
	for err == nil && len(w.Rest) > 0 {
		if closed(w.At) {
			behind = append(behind, w.At.Path)
		}
		var next Place
		if next, err = w.Next(); err != nil {
			return false
		}
		switch next.Kind() {
		case unix.S_IFDIR:
			w.Enter(next)
			continue
		case unix.S_IFLNK:
			err = w.Follow(next)
		}
		kept := next.Stat.Dev == p.Stat.Dev && next.Stat.Ino == p.Stat.Ino && next.below(behind, closed)
		next.Close()
		if kept {
			return true
		}
	}
	return false
}

// below reports whether the place lies in one of the folders, which are closed, or deeper,
// and nowhere else but in closed folders: a second hard link or another mount may show it.
func (p Place) below(folders []string, closed func(Place) bool) bool {
	return (p.Kind() == unix.S_IFDIR || p.Stat.Nlink == 1) && slices.ContainsFunc(folders, func(folder string) bool {
		return p.Path != folder && Inside(p.Path, strings.TrimSuffix(folder, "/"))
	}) && p.sameInAllMounts(closed, func(Place) bool { return false })
}

// An Advice is what to do about a file, by where it lies.
type Advice struct {
	Command string // to type, where that can be done
	InPod   string // in the volume of a pod
	InUnit  string // for a credential of systemd
}

// Closing is the advice that fits where the file lies.
func (f *File) Closing(path string, a Advice) string {
	p, _ := f.place(path)
	real, _ := os.Readlink(p.procPath())
	lies := func(folder string) bool {
		return folder != "" && (strings.HasPrefix(path, folder+"/") || strings.HasPrefix(real, folder+"/"))
	}
	switch {
	case lies(os.Getenv("CREDENTIALS_DIRECTORY")) || lies("/run/credentials"):
		return a.InUnit
	case strings.Contains(filepath.Dir(real), "/.."):
		return "in the pod: " + a.InPod
	case lies("/run/secrets"):
		return "where the container is defined, give the secret uid: and mode: 0400"
	case p.readOnly():
		return "it is mounted read-only, so change it where it comes from, as here: " + a.Command
	}
	return a.Command
}

// ClosingCommand is the command that keeps all but its owner from the file.
func (f *File) ClosingCommand(path string) string {
	command := "chmod 0600 " + ShellWord(path)
	p, _ := f.place(path)
	if list, _ := p.list(); len(list) > 0 {
		return fmt.Sprintf("setfacl -b %s && %s", ShellWord(path), command)
	}
	return command
}
