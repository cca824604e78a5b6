package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mostConnections = 64                     // open at once
	silence         = 100 * time.Millisecond // a connection without a question is kept for this long while others wait
)

// roomFor is how many connections may be open at once: at most a quarter of the process's
// descriptors, since tokens and records need some too.
func roomFor() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return mostConnections
	}
	return int(min(mostConnections, max(limit.Cur/4, 1)))
}

// A roomy listener keeps at most so many connections open. For another one it closes the
// oldest that has not asked anything. While all have asked, it waits for an answer.
type roomy struct {
	net.Listener
	most int

	mu    sync.Mutex
	open  []*connection // the oldest first
	freed chan struct{} // has a value when one was closed
}

func withRoom(l net.Listener, most int) *roomy {
	return &roomy{Listener: l, most: most, freed: make(chan struct{}, 1)}
}

// Accept waits for a connection, and for room for it.
func (l *roomy) Accept() (net.Conn, error) {
	accepted, err := l.next()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: accepted, in: l, since: time.Now()}
	for !l.admit(c) {
		silent := l.silent()
		if silent == nil {
			<-l.freed
			continue
		}
		select {
		case <-l.freed:
		case <-time.After(time.Until(silent.since.Add(silence))):
			silent.Close()
		}
	}
	return c, nil
}

// next is the next connection. Where the process has no descriptor for it, next waits:
// net/http would log an error each second, in its own format.
func (l *roomy) next() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) {
			return c, err
		}
		time.Sleep(silence)
	}
}

// admit adds the connection, if there is room.
func (l *roomy) admit(c *connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		return false
	}
	l.open = append(l.open, c)
	return true
}

// silent is the oldest connection that has not asked; nil when all have.
func (l *roomy) silent() *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(l.open, func(c *connection) bool { return !c.asked.Load() }); i >= 0 {
		return l.open[i]
	}
	return nil
}

// A connection is one of a roomy listener.
type connection struct {
	net.Conn
	in    *roomy
	since time.Time
	asked atomic.Bool // its question has been read
}

// Close closes the connection and makes room for another.
func (c *connection) Close() error {
	c.in.mu.Lock()
	if i := slices.Index(c.in.open, c); i >= 0 {
		c.in.open = slices.Delete(c.in.open, i, i+1)
		select {
		case c.in.freed <- struct{}{}:
		default:
		}
	}
	c.in.mu.Unlock()
	return c.Conn.Close()
}

// connectionKey is the key of the connection in the context of its question.
type connectionKey struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// heard notes in the connection that its question has come.
func heard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.asked.Store(true)
		}
		next.ServeHTTP(w, r)
	})
}
