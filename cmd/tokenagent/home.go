package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/state"
)

// home is where the configuration keeps its state. Each configuration has its own
// records, pending hooks, refresh tokens and control socket. With those of another it
// would take the other's tokens for its own old ones.
func (p *place) home(s config.Settings) state.Home {
	if p.began != nil {
		return *p.began
	}
	return state.Home{Base: stateBase(s), Name: p.name(s), Paths: unique(p.followed()), Typed: unique(p.typed())}
}

// name is the name of the configuration: its own, or a hash of its paths. The
// default configuration has none.
func (p *place) name(s config.Settings) string {
	switch {
	case p.isDefault():
		return ""
	case s.Name != "":
		return s.Name
	}
	return hashName(unique(p.followed()))
}

// isDefault reports whether the paths are the default ones, or only the first:
// conf.d need not exist.
func (p *place) isDefault() bool {
	ours, theirs := p.followed(), new(place).followed()
	return slices.Contains(ours, theirs[0]) && serves(ours, theirs)
}

// serves reports whether an agent that follows theirs serves a configuration of
// ours: each of our paths is one of theirs, or lies in one.
func serves(ours, theirs []string) bool {
	for _, our := range ours {
		if !slices.ContainsFunc(theirs, func(their string) bool { return host.Inside(our, their) }) {
			return false
		}
	}
	return true
}

// hashName is a short file name for a list of words.
func hashName(words []string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:6])
}

func unique(words []string) []string {
	words = slices.Clone(words)
	slices.Sort(words)
	return slices.Compact(words)
}

// typed are the paths as they were typed, but absolute.
func (p *place) typed() (all []string) {
	for _, path := range p.paths() {
		path = strings.TrimSuffix(path, "/*.hcl") // which stands for the folder
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		all = append(all, path)
	}
	return all
}

// followed are the paths without symbolic links, so that each spelling of a path
// gives the same one.
func (p *place) followed() (all []string) {
	for _, path := range p.typed() {
		all = append(all, host.Resolved(path))
	}
	return all
}

// scratch is how the paths of private folders for one program begin, the best first: in
// the folder of the control socket, which other users may not be able to enter, else among
// the temporary ones of all users.
func (p *place) scratch(s config.Settings) (all []string) {
	own := hashName(append(unique(p.followed()), p.home(s).Dir())) // an agent sweeps no other's folders
	if base := runtimeBase(s); base != "" {
		all = append(all, filepath.Join(base, "validate-"+own+"-"))
	}
	return append(all, filepath.Join(cmp.Or(folderFrom("TMPDIR"), "/tmp"), "tokenagent-validate-"+own+"-"))
}

// socketPath is where the agent of the configuration answers; "" when there is no
// folder for its socket.
func (p *place) socketPath(s config.Settings) string {
	switch {
	case p.socket != "":
		return p.socket
	case s.Control != "":
		return s.Control
	}
	return socketOf(runtimeBase(s), p.home(s).Name)
}

// socketOf is the socket of the configuration of that name. A name that makes the
// path too long is replaced by its hash.
func socketOf(base, name string) string {
	switch {
	case base == "":
		return ""
	case name == "":
		return filepath.Join(base, controlName)
	}
	path := filepath.Join(base, "configs", name, controlName)
	if len(path) > control.LongestPath {
		path = filepath.Join(base, "configs", hashName([]string{name}), controlName)
	}
	return path
}

// socketPaths are all sockets where an agent of the configuration may answer, the
// right one first. An agent that started before the configuration had a name has the
// socket of its hash; one of an older version has that of the base.
func (p *place) socketPaths(s config.Settings) (all []string) {
	own := p.socketPath(s)
	if own == "" || p.socket != "" || s.Control != "" {
		return []string{own}
	}
	base := runtimeBase(s)
	hashed := p.name(config.Settings{})
	for _, path := range []string{own, socketOf(base, hashed), socketOf(base, "")} {
		if !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	return all
}
