package sinks

import (
	"fmt"
	"strings"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// xrootdLargest is the size in bytes of the largest file from which XRootD's client
// takes a token, if its server does not say otherwise.
const xrootdLargest = 4096

// warnOfXRootD warns of a mode with which XRootD's client would skip the file
// without a word, if the token is one for it.
func warnOfXRootD(b *config.Block, block fileBlock, req agent.Request) {
	if block.bare() && opensStorage(req) && block.Mode&0o077 != 0 {
		b.Warn("mode", "XRootD's client would skip the file",
			`it uses a token only if group and others have no permissions, as with "0600"; give each of its users a file of their own`)
	}
}

// opensStorage reports whether XRootD may get the token: it has a scope for storage.
func opensStorage(req agent.Request) bool {
	for _, word := range req.Scope {
		name, _, _ := strings.Cut(word, ":")
		switch {
		case req.Profile == "wlcg" && strings.HasPrefix(name, "storage."):
			return true
		case req.Profile == "scitokens" && (name == "read" || name == "write"):
			return true
		}
	}
	return false
}

// tooLarge warns, once, of a content that is too large for XRootD's client.
func (s *file) tooLarge(content []byte) []string {
	if !s.forStorage || s.saidTooLarge || len(content) <= xrootdLargest {
		return nil
	}
	s.saidTooLarge = true
	return []string{fmt.Sprintf("%s: the token has %d bytes; XRootD's client refuses files of more than %d, unless its server allows them (sec.protocol ztn -maxsz); ask for less scope, or fewer groups",
		s.path(), len(content), xrootdLargest)}
}
