package state

import (
	"os"
	"path/filepath"
)

// setAsideLines sets aside the lines of a journal that cannot be used. It reports whether
// that is the whole journal.
func (s *State) setAsideLines(name string, r reading) (all bool) {
	if r.refused != nil {
		s.setAside(name, r.refused)
		return true
	}
	if r.bad == nil {
		return false
	}
	path := filepath.Join(s.dir, name)
	if err := replaceFile(path+asideSuffix, r.bad); err != nil {
		s.warn("%s: some lines cannot be used (%v), and not be set aside: %v", path, r.why, err)
	} else {
		s.warn("%s: some lines cannot be used (%v); they are set aside as %s, and %s", path, r.why, name+asideSuffix, without[name])
	}
	return false
}

// setAside renames a file that cannot be used.
func (s *State) setAside(name string, why error) {
	path := filepath.Join(s.dir, name)
	if err := os.Rename(path, path+asideSuffix); err != nil {
		s.warn("%s cannot be used (%v), and not be set aside: %v", path, why, err)
		return
	}
	s.warn("%s cannot be used (%v); it is set aside as %s, and %s", path, why, name+asideSuffix, without[name])
}

// without says what the loss of a file, or of a part of it, means.
var without = map[string]string{
	recordsName: "the sources of their tokens are asked again",
	oldRecords:  "the sources are asked again",
	keyName:     "the sources are asked again",
	begunName:   "hooks that were pending may not run",
	oldHooks:    "hooks that were pending may not run",
}
