package sources

import (
	"path/filepath"
	"slices"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
)

// present are the paths that are set.
func present(paths ...string) []string {
	return slices.DeleteFunc(paths, func(path string) bool { return path == "" })
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
