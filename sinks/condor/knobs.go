package condor

import (
	"path/filepath"
	"strings"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// HashKeys is CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS of the system of this host that has
// the map file at the path; nil where none has.
func HashKeys(knob tokendir.Lookup, path string) *bool {
	whole, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	for _, s := range tokendir.Systems() {
		if own, set := knob(s, "CERTIFICATE_MAPFILE"); set && filepath.Clean(own) == whole {
			text, _ := knob(s, "CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS")
			hash := strings.EqualFold(text, "true") || text == "1"
			return &hash
		}
	}
	return nil
}

// TokenKnob is the knob of HTCondor on this host that has every client look for tokens
// in the folder; "" for none.
func TokenKnob(knob tokendir.Lookup, folder string) string {
	for _, name := range []string{"SEC_TOKEN_DIRECTORY", "SEC_TOKEN_SYSTEM_DIRECTORY"} {
		if path, set := knob(tokendir.Systems()[0], name); set && filepath.Clean(path) == folder {
			return name
		}
	}
	return ""
}
