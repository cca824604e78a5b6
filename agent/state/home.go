package state

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	configsName   = "configs"    // the folder with a folder for each configuration
	unclaimedName = "unclaimed"  // the folder with what no configuration has claimed
	ownerName     = "owner.json" // says whose folder it is
	mostOwner     = 1 << 20      // bytes
)

// A Home says where one configuration keeps its state. The configurations of one
// user share the base; each has a folder of its own in there, and only the default
// one uses the base itself.
type Home struct {
	Base  string   // absolute; "": there is no state folder
	Name  string   // of the configuration, as a file name; "": the default configuration
	Paths []string // absolute paths of the configuration, without symbolic links
	Typed []string // the same paths with their links
}

// Dir is the configuration's own folder.
func (h Home) Dir() string {
	if h.Base == "" || h.Name == "" {
		return h.Base
	}
	return filepath.Join(h.Base, configsName, h.Name)
}

// Others are the folders of the other configurations, as far as they are there.
func (h Home) Others() []string {
	if h.Base == "" {
		return nil
	}
	all, _ := filepath.Glob(filepath.Join(h.Base, configsName, "*"))
	all = append(all, h.Base, filepath.Join(h.Base, unclaimedName))
	return slices.DeleteFunc(all, func(dir string) bool { return dir == h.Dir() })
}

// OpenHome opens the folder of the configuration as [Open] does. A new folder gets
// the digest key of the base, so that definitions are recognized that an older
// version recorded there. A folder that the same configuration had under another
// name is renamed. One that version 0.1 has used since is of an unknown configuration
// again.
func OpenHome(h Home) (*State, error) {
	return within(h.Dir(), func() (*State, error) { return openHome(h) }, (*State).Close)
}

func openHome(h Home) (*State, error) {
	if err := judgeAsRoot(h.Dir()); err != nil { // before anything in there is locked, renamed or removed
		return nil, err
	}
	if usedByOld(h.Dir()) {
		_ = os.Remove(filepath.Join(h.Dir(), ownerName)) // a folder that is read-only cannot be opened either
	}
	s := newState(h.Dir())
	if h.Name != "" {
		if err := h.rename(); err != nil {
			return nil, err
		}
		s.firstKey, _ = newState(h.Base).readKey()
	} else if h.awaitsClaims() {
		return openSoon(h.Base, never)
	}
	return s.open()
}

// awaitsClaims reports whether other configurations may have the lock of the base
// for a moment, as long as the default one has not claimed it.
func (h Home) awaitsClaims() bool {
	_, err := os.Lstat(filepath.Join(h.Base, configsName))
	return err == nil && !ownerOf(h.Base).known()
}

// rename finds the folder that the same configuration had before its name or its
// links changed. Without it, a first name would cost a configuration its refresh
// tokens.
func (h Home) rename() error {
	if _, err := os.Lstat(h.Dir()); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	all, _ := filepath.Glob(filepath.Join(h.Base, configsName, "*", ownerName))
	for _, path := range all {
		former := filepath.Dir(path)
		if !ownerOf(former).is(h) {
			continue
		}
		release, err := lockFolder(former)
		if err != nil {
			return err
		}
		defer release()
		return os.Rename(former, h.Dir())
	}
	return nil
}

// An owner is the configuration that a folder belongs to. The zero owner is
// unknown: a version before 0.2.0 let all configurations use the base.
type owner struct {
	Paths []string `json:"paths"`
	Typed []string `json:"typed"`
}

// is reports whether the owner is the configuration of h: it has the same files,
// or the same names for files that a deployment has switched.
func (o owner) is(h Home) bool {
	return o.known() && (slices.Equal(o.Paths, h.Paths) || len(o.Typed) > 0 && slices.Equal(o.Typed, h.Typed))
}

func (o owner) known() bool { return len(o.Paths) > 0 }

// ownerOf reads whose folder it is. It is unknown when that cannot be read, or when
// version 0.1 has used the folder since: then nothing in there is acted on that the
// configuration does not name.
func ownerOf(dir string) (o owner) {
	if usedByOld(dir) {
		return owner{}
	}
	content, err := readOwn(filepath.Join(dir, ownerName), mostOwner)
	if err != nil || json.Unmarshal(content, &o) != nil {
		return owner{}
	}
	return o
}

// usedByOld reports whether version 0.1 has left its file of records, which goes
// when this version opens the folder.
func usedByOld(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, oldRecords))
	return err == nil
}

// checkOwner writes again whose folder it is, where that is gone.
func (s *State) checkOwner() error {
	if s.home == nil || ownerOf(s.dir).is(*s.home) {
		return nil
	}
	content, err := json.Marshal(owner{s.home.Paths, s.home.Typed})
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.dir, ownerName), content)
}

// lockFolder takes the lock of a folder for a moment. Its error is a [*Locked]
// where an agent works with the folder.
func lockFolder(dir string) (release func(), err error) {
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	return func() { lock.Close() }, nil
}
