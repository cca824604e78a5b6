package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tokenagent/tokenagent/agent/state"
)

// Who may open the control socket may hold it open, as often as they like; tokens
// and records need descriptors too.
func TestAFloodOfTheControlSocketStopsNeitherTokensNorRecords(t *testing.T) {
	t.Parallel()
	requirePart(t, "prlimit", "--version")
	token := func(subject string) string {
		return `
token "t" {
  source  = source.local_key.site
  subject = "` + subject + `"
  sink "file" {
    path = "${path.config}/t"
  }
}`
	}
	s := newSite(t, token("before"))
	s.start(t, "prlimit", "--nofile=64:64")
	s.settled(t)
	old := s.mustLook(t, "t").Text

	endFlood := flood(t, s.path("control.sock"), 300)
	for _, subject := range []string{"first", "second", "third"} {
		s.configure(t, token(subject))
		check(t, s.agent.Process.Signal(syscall.SIGHUP))
		eventually(t, "a new token under the flood", func() bool {
			now, err := look(s.path("t"))
			return err == nil && now.Text != old
		})
		old = s.mustLook(t, "t").Text
	}
	eventually(t, "its record under the flood", func() bool {
		all := state.Read(s.state("")).Recall()
		return len(all) == 1 && strings.Contains(string(all[0].Mark), fingerprintOf(old))
	})
	eventually(t, "status under the flood", func() bool {
		_, err := s.client().Status(t.Context())
		return err == nil
	})
	endFlood()
	s.settled(t)
	if log := s.log(t); strings.Contains(log, "too many open files") {
		t.Error("it has run out of descriptors")
	}
	s.stop(t)
}

// flood opens so many connections to the socket, says nothing on them, and opens
// another for each that is closed, until it is told to end. It returns when all are
// open.
func flood(t *testing.T, socket string, connections int) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var open, running sync.WaitGroup
	open.Add(connections)
	for range connections {
		running.Go(func() {
			first := open.Done
			for ctx.Err() == nil {
				c, err := net.Dial("unix", socket)
				if err != nil {
					continue
				}
				first()
				first = func() {}
				stop := context.AfterFunc(ctx, func() { c.Close() })
				_, _ = c.Read(make([]byte, 1)) // until the agent closes it
				stop()
				c.Close()
			}
		})
	}
	open.Wait()
	return func() {
		cancel()
		running.Wait()
	}
}

// fingerprintOf is what a record says of a file with that text.
func fingerprintOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
