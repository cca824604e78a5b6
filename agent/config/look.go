package config

import "time"

const (
	lookPatience = 2 * time.Second
	mostHung     = 3 // folders that one load waits for
)

// Look calls f, which looks at the folder, and reports whether it came to an end.
// A folder of a server that is gone hangs for ever, and nothing can call f back:
// it goes on by itself, and nobody may use any more what it uses. Such a folder
// is not looked at again in this load, and no folder is after several of them.
func (b *Block) Look(folder string, f func()) (answered bool) { return b.load.look(folder, f) }

func (l *loading) look(folder string, f func()) (answered bool) {
	if l.hung[folder] || len(l.hung) >= mostHung {
		return false
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(lookPatience):
		l.hung[folder] = true
		return false
	}
}
