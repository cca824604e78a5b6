package sources

import (
	"path/filepath"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
)

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
