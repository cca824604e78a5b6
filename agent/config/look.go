package config

import (
	"context"
	"time"

	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	lookPatience = 2 * time.Second
	mostHung     = 3 // folders that one load waits for
)

// Look calls f, which looks at the folder, and reports whether it returned. Where the
// folder's server is gone, f hangs, see [host.Call]: then nothing that f uses may be
// used any more. Such a folder is not looked at again in this load, and after several
// of them no folder is.
func (b *Block) Look(folder string, f func()) (answered bool) { return b.load.look(folder, f) }

func (l *loading) look(folder string, f func()) (answered bool) {
	if l.hung[folder] || len(l.hung) >= mostHung {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookPatience)
	defer cancel()
	_, answered = host.Await(ctx, func() struct{} { f(); return struct{}{} })
	if !answered {
		l.hung[folder] = true
	}
	return answered
}
