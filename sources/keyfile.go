package sources

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// present are the paths that are set.
func present(paths ...string) []string {
	return slices.DeleteFunc(paths, func(path string) bool { return path == "" })
}

// keyAttr is the attribute that the error of a key belongs to: the one with the key ID
// where that chooses none of a set, else the file's.
func keyAttr(b *config.Block, err error, id, file string) string {
	if b.Has(id) && errors.Is(err, keys.ErrChoice) {
		return id
	}
	return file
}

// warnOfKeyFile warns of a key that others than root could put another in the place of.
func warnOfKeyFile(b *config.Block, attr, path string) {
	if !b.Trusting() {
		return
	}
	var found []*host.Weakness
	answered := b.Look(filepath.Dir(path), func() { found, _ = b.Trust().Weaknesses(path) })
	if answered && len(found) > 0 {
		b.Warn(attr, "others can put another key in its place", found[0].Error())
	}
}
