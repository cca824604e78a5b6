package agent

import (
	"reflect"
	"runtime"

	"github.com/tokenagent/tokenagent/agent/queue"
)

const room = 2 // attempts at a time in one folder

// The keys of queues. A source that can be compared is its own key.
type (
	folderKey string
	trialKey  string
	limitKey  struct{}
	sourceKey struct{ *entry }
	sinkKey   struct{ *entry }
)

func (c *core) sourceQueue(e *entry) *queue.Queue {
	switch {
	case e.Issuer.Name != "":
		q := c.pool.Issuer(e.Issuer)
		if c.issuers[q] == nil {
			c.issuers[q] = &issuer{name: e.Issuer.Name}
		}
		return q
	case reflect.ValueOf(e.Source).Comparable():
		return c.pool.Queue(e.Source, max(room, runtime.GOMAXPROCS(0)))
	default:
		return c.pool.Queue(sourceKey{e}, room)
	}
}

func (c *core) sinkQueue(t Target, e *entry) *queue.Queue {
	if t.Queue != "" {
		return c.pool.Queue(folderKey(t.Queue), room)
	}
	return c.pool.Queue(sinkKey{e}, room)
}

// dropQueues forgets the queues that are not used any more.
func (c *core) dropQueues() {
	used := map[*queue.Queue]bool{}
	for _, e := range c.entries {
		used[e.renewal.Queue] = true
		if e.trial != nil {
			used[e.trial.Job.Queue], used[e.trial.limit.Job.Queue] = true, true
		}
		for _, p := range e.sinks {
			used[p.Queue] = true
		}
	}
	for _, p := range c.leftovers {
		used[p.Queue] = true
	}
	c.pool.Keep(used)
	for q := range c.issuers {
		if !used[q] {
			delete(c.issuers, q)
		}
	}
}
