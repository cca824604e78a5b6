package config

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

func TestOneLoadWaitsForFewFolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		repaired := make(chan struct{})
		defer close(repaired)
		b, start := &Block{load: &loading{places: newPlaces(false)}}, time.Now()
		if !b.Look("/healthy", func() {}) {
			t.Error("a healthy folder did not answer")
		}
		for n := range 1000 {
			if b.Look(fmt.Sprint("/hung/", n/2), func() { <-repaired }) {
				t.Error("a hung folder answered")
			}
		}
		if took := time.Since(start); took != mostHung*lookPatience {
			t.Errorf("it took %v", took)
		}
	})
}

func TestBlocksOfOneLoadShare(t *testing.T) {
	made := 0
	kinds := fakes("")
	kinds.Sinks["shared"] = func(b *Block, _ agent.Request) Sink {
		if n := b.Shared("key", func() any { made++; return made }).(int); n != made {
			t.Errorf("a block is given %d after %d", n, made)
		}
		return Sink{}
	}
	path := write(t, map[string]string{"a.hcl": `
source "fake" "s" {
  key_file = "/k"
}
token "t" {
  source = source.fake.s
  sink "shared" {
  }
  sink "shared" {
  }
}`})
	for load := 1; load <= 2; load++ {
		_, faults := Load(t.Context(), []string{path}, kinds, testEnvironment())
		if made != load {
			t.Errorf("after load %d it was made %d times: %v", load, made, faults)
		}
	}
}
