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
	configsName   = "configs"    // has a folder for each configuration
	unclaimedName = "unclaimed"  // has what no configuration has claimed
	ownerName     = "owner.json" // says which configuration the folder belongs to
	mostOwner     = 1 << 20      // bytes
)

// A Home says where one configuration keeps its state. The configurations of one user share
// the base: the default one uses the base itself, and each other has a folder in it.
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

// Others are the folders of the other configurations.
func (h Home) Others() []string {
	if h.Base == "" {
		return nil
	}
	all, _ := filepath.Glob(filepath.Join(h.Base, configsName, "*"))
	all = append(all, h.Base, filepath.Join(h.Base, unclaimedName))
	return slices.DeleteFunc(all, func(dir string) bool { return dir == h.Dir() })
}

// OpenHome opens the folder of the configuration as [Open] does.
//
//   - A folder that the configuration had under another name is renamed.
//   - A new folder gets the digest key of the base. With it the agent recognizes the
//     definitions that version 0.1 recorded there.
//   - A folder that version 0.1 has used since then has no known owner any more.
func OpenHome(h Home) (*State, error) {
	return within(h.Dir(), func() (*State, error) { return openHome(h) }, (*State).Close)
}

func openHome(h Home) (*State, error) {
	if err := validateAsRoot(h.Dir()); err != nil { // before anything in there is touched
		return nil, err
	}
	if usedByOld(h.Dir()) {
		_ = os.Remove(filepath.Join(h.Dir(), ownerName)) // where that fails, open fails too
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

// awaitsClaims reports whether other configurations may lock the base for a moment, which
// they do until the default configuration has claimed it.
func (h Home) awaitsClaims() bool {
	_, err := os.Lstat(filepath.Join(h.Base, configsName))
	return err == nil && !ownerOf(h.Base).known()
}

// rename takes over the folder that the configuration had before its name or its links
// changed. Without it, a new name would cost the refresh tokens.
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

// An owner is the configuration that a folder belongs to. The zero owner is unknown:
// version 0.1 kept no owner, and had all configurations use the base.
type owner struct {
	Paths []string `json:"paths"`
	Typed []string `json:"typed"`
}

// is reports whether the owner is the configuration of h: it has the same files, or the
// same links, which a deployment has switched to other files.
func (o owner) is(h Home) bool {
	return o.known() && (slices.Equal(o.Paths, h.Paths) || len(o.Typed) > 0 && slices.Equal(o.Typed, h.Typed))
}

func (o owner) known() bool { return len(o.Paths) > 0 }

// ownerOf reads who owns the folder. The owner is unknown where that cannot be read, or
// where version 0.1 has used the folder since. Then the agent acts only on what its
// configuration names.
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

// usedByOld reports whether version 0.1 has used the folder: its file of records goes when
// this version opens the folder.
func usedByOld(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, oldRecords))
	return err == nil
}

// checkOwner writes the owner if the folder does not have it.
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
