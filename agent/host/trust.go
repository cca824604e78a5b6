package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Trust says who may change what lies at a path: root, and those it names.
type Trust struct {
	Users  []int     // by uid
	Groups []int     // by gid
	Sudo   *Identity // the user who called sudo: not a danger, but worth naming; nil: none

	// ReadOnly trusts a mount that cannot be written, such as the folder of a ConfigMap,
	// whose mode is 0777. See ReadOnlyForAll.
	ReadOnly bool
}

// A Weakness is a folder, file or link by which somebody else could change what lies at a path.
// Its text names it with owner and mode, and says what to type.
type Weakness struct {
	Path string
	Sudo bool // only the user who called sudo could
	text string
}

// Error is the text.
func (w *Weakness) Error() string { return w.text }

// Weaknesses looks at every component of the path, and of the links on it. In a folder at the end
// nobody else may put a file. In a folder on the way nobody else may replace what the path
// goes on with: a sticky folder of root's will do. The last component may be missing. After
// an error the path could not be followed to its end.
func (t Trust) Weaknesses(path string) ([]*Weakness, error) {
	var w trusting
	defer w.close()
	err := w.run(t, path)
	if errors.Is(err, unix.ENOENT) && len(w.Rest) == 1 {
		err = nil
	}
	return w.found, err
}

// Open opens the regular file at the path for reading, as this process, and looks for weaknesses
// in the same walk: what was checked is what is read.
func (t Trust) Open(path string) (*File, []*Weakness, error) {
	var w trusting
	defer w.close()
	if err := w.run(t, path); err != nil {
		return nil, w.found, err
	}
	f, err := w.last.reopen()
	return f, w.found, err
}

// A trusting is a walk that looks for weaknesses.
type trusting struct {
	Walk
	trust Trust
	found []*Weakness
	last  Place    // what lies at the path
	shut  []string // folders on the way that only those pass who are trusted
}

func (w *trusting) close() {
	w.Walk.Close()
	w.last.Close()
}

func (w *trusting) run(t Trust, path string) error {
	w.trust, w.last = t, Place{FD: -1}
	path, err := absolute(path)
	if err != nil {
		return err
	}
	if err := w.Begin(path); err != nil {
		return err
	}
	for len(w.Rest) > 0 {
		if err := w.step(); err != nil {
			return err
		}
	}
	if w.last.FD < 0 { // the path ends in a folder
		w.look(w.At, true)
		w.last = w.At
		w.last.FD = duplicate(w.At.FD)
	}
	return nil
}

// absolute is the path from /, with its links and .. as they are.
func absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	here, err := os.Getwd()
	return here + "/" + path, err
}

func (w *trusting) step() error {
	w.look(w.At, false)
	if shut(w.trust.has)(w.At) {
		w.shut = append(w.shut, w.At.Path)
	}
	p, err := w.Next()
	if err != nil {
		return err
	}
	w.lookAtName(p)
	switch {
	case p.Kind() == unix.S_IFDIR:
		w.Enter(p)
		return nil
	case p.Kind() == unix.S_IFLNK:
		defer p.Close()
		return w.Follow(p)
	}
	w.last = p
	if len(w.Rest) > 0 {
		return unix.ENOTDIR
	}
	w.look(p, true)
	return nil
}

// look notes what is weak about a folder or file.
func (w *trusting) look(p Place, last bool) {
	kept := false
	problem, remedies := w.trust.weak(p, last, kept)
	if problem != "" && p.below(w.shut, shut(w.trust.has)) {
		kept = true
		problem, remedies = w.trust.weak(p, last, kept)
	}
	if problem == "" {
		return
	}
	more, _ := w.trust.withSudo().weak(p, last, kept)
	w.note(p, more == "", problem, remedies)
}

// lookAtName notes who else could replace a link: in a sticky folder that others can write in,
// its owner.
func (w *trusting) lookAtName(p Place) {
	at := w.At
	if p.Kind() != unix.S_IFLNK || !at.Sticky() || w.trust.user(int(p.Stat.Uid)) || len(at.writers(&w.trust)) == 0 || w.trust.still(at) {
		return // the owner of a folder or file is looked at in any case
	}
	w.note(p, w.trust.withSudo().user(int(p.Stat.Uid)), "its owner can replace it", []string{"chown -h root " + ShellWord(p.Path)})
}

func (w *trusting) note(p Place, sudo bool, problem string, remedies []string) {
	if slices.ContainsFunc(w.found, func(o *Weakness) bool { return o.Path == p.Path }) {
		return
	}
	w.found = append(w.found, &Weakness{p.Path, sudo, fmt.Sprintf("%v: %s; %s", p, problem, strings.Join(remedies, " && "))})
}

// weak says who else can change the folder or file, and the commands against that; "": nobody. If it is kept in a folder that others cannot pass, its mode does not
// count.
func (t Trust) weak(p Place, last, kept bool) (problem string, remedies []string) {
	var who []string
	owner := p.Owner()
	switch {
	case t.still(p):
		return "", nil
	case !t.user(owner) && owner != int(p.Stat.Uid):
		return fmt.Sprintf("%v has mounted it and decides what lies there", UserID(owner)), []string{"keep it on another file system"}
	case !t.user(owner):
		who = append(who, "its owner")
		remedies = append(remedies, fmt.Sprintf("chown %s %s", t.name(), ShellWord(p.Path)))
	}
	if !kept && (last || !p.Sticky() || p.Kind() != unix.S_IFDIR) {
		if writers := p.writers(&t); len(writers) > 0 {
			for _, w := range writers {
				who = append(who, w.String())
			}
			remedies = append(remedies, p.closing())
		}
	}
	if len(who) == 0 {
		return "", nil
	}
	return strings.Join(who, " and ") + " can change it", remedies
}

// still reports whether nobody can write to the mount of the place.
func (t Trust) still(p Place) bool { return t.ReadOnly && p.readOnlyEverywhere() }

func (t Trust) user(uid int) bool { return uid == 0 || slices.Contains(t.Users, uid) }

func (t Trust) group(gid int) bool { return gid == 0 || slices.Contains(t.Groups, gid) }

// name is the owner that a file should have, for chown(1).
func (t Trust) name() string {
	if len(t.Users) == 0 || os.Geteuid() == 0 {
		return "root"
	}
	return fmt.Sprint(t.Users[0])
}

// withSudo trusts the user who called sudo, too.
func (t Trust) withSudo() Trust {
	if s := t.Sudo; s != nil {
		t.Users = append(slices.Clip(t.Users), s.UID)
		t.Groups = append(slices.Clip(t.Groups), s.GID)
	}
	return t
}

// closing is the command that keeps others from writing.
func (p Place) closing() string {
	if list, _ := p.list(); len(list) > 0 {
		return fmt.Sprintf("setfacl -b %s && chmod go-w %[1]s", ShellWord(p.Path))
	}
	return "chmod go-w " + ShellWord(p.Path)
}

// writers are those who may write to the folder or file, without its owner.
func (p Place) writers(t *Trust) (who []fmt.Stringer) {
	if t == nil {
		t = &Trust{}
	}
	return p.granted(toWrite, t.has)
}

// has reports whether the user or group of the entry is trusted.
func (t Trust) has(e entry) bool {
	return e.tag == aclUser && t.user(int(e.id)) || e.tag != aclUser && t.group(int(e.id))
}

// granted are those who have the permission, without the owner and friends. Each is named
// only when it is shown, as in a Text.
func (p Place) granted(permission uint16, friend func(entry) bool) (who []fmt.Stringer) {
	mode := uint16(p.Stat.Mode)
	if mode>>3&permission != 0 { // with a list, that is the most that it gives
		who = p.listed(permission, friend)
	}
	if mode&permission != 0 {
		who = append(who, Say("everybody"))
	}
	return who
}

// listed are the users and groups to whom the group's permission goes.
func (p Place) listed(permission uint16, friend func(entry) bool) (who []fmt.Stringer) {
	list, err := p.list()
	switch {
	case err != nil:
		return []fmt.Stringer{Say("whom its access control list names (%v)", err)}
	case len(list) == 0:
		list = []entry{{aclOwnGroup, permission, 0}}
	}
	for _, e := range list {
		if e.tag == aclOwnGroup {
			e.id = p.Stat.Gid
		}
		switch {
		case e.permission&permission == 0 || friend(e):
		case e.tag == aclUser:
			who = append(who, UserID(e.id))
		case e.tag == aclOwnGroup, e.tag == aclGroup:
			who = append(who, Say("the group %v", GroupID(e.id)))
		}
	}
	return who
}

// An entry is one of an access control list, as the kernel keeps it; see acl(5).
type entry struct {
	tag, permission uint16
	id              uint32
}

const (
	aclUser     = 0x02
	aclOwnGroup = 0x04
	aclGroup    = 0x08
	aclVersion  = 2
)

// list is the access control list of the place; empty: none.
func (p Place) list() (entries []entry, err error) {
	raw := make([]byte, 64<<10) // as long as an attribute can be
	n, err := unix.Getxattr(p.procPath(), "system.posix_acl_access", raw)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err != nil:
		return nil, err
	case n < 4 || binary.LittleEndian.Uint32(raw) != aclVersion:
		return nil, unix.EINVAL
	}
	for raw = raw[4:n]; len(raw) >= 8; raw = raw[8:] {
		entries = append(entries, entry{binary.LittleEndian.Uint16(raw), binary.LittleEndian.Uint16(raw[2:]), binary.LittleEndian.Uint32(raw[4:])})
	}
	return entries, nil
}
