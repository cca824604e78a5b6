package tokendir

import (
	"path/filepath"
	"slices"
)

// A System is an HTCondor with a configuration of its own.
type System struct {
	Name   string // "HTCondor" or "HTCondor-CE"
	Tool   string // the program that says what its knobs are set to
	Tokens string // the default of SEC_TOKEN_SYSTEM_DIRECTORY
}

// Systems are those that may be on a host.
func Systems() []System {
	return []System{
		{"HTCondor", "condor_config_val", "/etc/condor/tokens.d"},
		{"HTCondor-CE", "condor_ce_config_val", "/etc/condor-ce/tokens.d"},
	}
}

// A Lookup tells what a knob of a system is set to; false where it is not set,
// or the system is not there.
type Lookup func(s System, knob string) (value string, ok bool)

// A Directory is one that HTCondor reads tokens from.
type Directory struct {
	Path    string
	Reader  Reader
	Systems []string // the names of those that read it
	Knob    string   // the one that names it; "" for the default
	Fault   error    // why its exclude expression cannot be replayed; then HTCondor's default stands in
}

// Directories are those that HTCondor and HTCondor-CE read as the user; for root
// also those of all daemons.
func Directories(user User, knob Lookup) []Directory {
	var all []Directory
	for _, s := range Systems() {
		d := s.directory(user, knob)
		same := slices.IndexFunc(all, func(o Directory) bool {
			return o.Path == d.Path && o.Reader.Exclude.String() == d.Reader.Exclude.String()
		})
		switch {
		case d.Path == "":
		case same >= 0:
			all[same].Systems = append(all[same].Systems, s.Name)
		default:
			all = append(all, d)
		}
	}
	return all
}

// At is the directory at the path as HTCondor reads it as the user, or would read it if
// it were told to.
func At(path string, user User, knob Lookup) Directory {
	path = filepath.Clean(path)
	for _, d := range Directories(user, knob) {
		if d.Path == path {
			return d
		}
	}
	d := Directory{Path: path, Reader: Reader{User: user}}
	d.Reader.Exclude, d.Fault = Systems()[0].Exclude(knob)
	return d
}

// Exclude is the system's expression of the names that it passes over.
func (s System) Exclude(knob Lookup) (Exclude, error) {
	if text, set := knob(s, ExcludeKnob); set {
		return ParseExclude(text)
	}
	return Exclude{}, nil
}

// directory is where the system looks as the user; without a path for a user who
// has no home.
func (s System) directory(user User, knob Lookup) Directory {
	d := Directory{Reader: Reader{User: user}, Systems: []string{s.Name}}
	d.Reader.Exclude, d.Fault = s.Exclude(knob)
	for _, name := range []string{"SEC_TOKEN_DIRECTORY", "SEC_TOKEN_SYSTEM_DIRECTORY"} {
		if name == "SEC_TOKEN_SYSTEM_DIRECTORY" && user.UID != 0 {
			break // only those who can switch users read it
		}
		if path, set := knob(s, name); set && path != "" {
			d.Path, d.Knob = filepath.Clean(path), name
			return d
		}
	}
	switch {
	case user.UID == 0:
		d.Path = s.Tokens
	case user.Home != "":
		d.Path = filepath.Join(user.Home, ".condor/tokens.d")
	}
	return d
}

// Find reports whether HTCondor reads the directory of that path, by default or by its
// configuration: as the user, or else as root.
func Find(path string, user User, knob Lookup) (Directory, bool) {
	unset := func(System, string) (string, bool) { return "", false }
	for _, u := range []User{user, {Name: "root"}} {
		for _, lookup := range []Lookup{knob, unset} {
			for _, d := range Directories(u, lookup) {
				if d.leads(filepath.Clean(path)) {
					return d, true
				}
			}
		}
	}
	return Directory{}, false
}

// leads reports whether the directory that HTCondor knows is at path, or is a
// symbolic link there. Links on the way of path itself do not count: a user could
// make one, so that a file of theirs would seem to lie in a directory of root's.
func (d Directory) leads(path string) bool {
	if d.Path == path {
		return true
	}
	resolved, err := filepath.EvalSymlinks(d.Path)
	return err == nil && resolved == path
}
