package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// What refuses a configuration may be put right outside its files, which the watcher does
// not notice.
func TestARefusedConfigurationIsTakenWhenTheHostIsPutRight(t *testing.T) {
	requireRoot(t, "be refused a configuration that others can change")
	base := t.TempDir()
	check(t, errors.Join(os.Chmod(base, 0o755), os.Chmod(filepath.Dir(base), 0o755))) // others can pass
	folder := filepath.Join(base, "etc")
	check(t, os.Mkdir(folder, 0o755))
	file := filepath.Join(folder, "tokenagent.hcl")
	write := func(lifetime string) {
		put(t, file, `
agent {
  state_dir = "`+base+`/state"
  control   = "`+base+`/socket"
}
source "command" "it" {
  command         = ["/bin/echo", "word"]
  token_format    = "opaque"
  assume_lifetime = "`+lifetime+`"
}
token "it" {
  source = source.command.it
  sink "file" {
    path = "`+base+`/token"
  }
}
`)
	}
	write("1h")
	from := &place{configs: []string{file}, runs: true}
	cfg, faults := from.read(t.Context(), false)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	var log hosttest.Buffer
	d := newDaemon(from, cfg, &log)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.agent.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	d.watch(ctx, cfg, time.Now())

	write("2h")
	check(t, os.Chmod(folder, 0o777))
	if _, err := d.reload(ctx); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Fatalf("the reload says %v", err)
	}
	d.reloadRefused(ctx)
	if n := strings.Count(log.String(), "configuration is refused"); n != 1 || d.refusedSince().IsZero() {
		t.Errorf("refused since %v, logged %d times:\n%s", d.refusedSince(), n, log.String())
	}
	check(t, os.Chmod(folder, 0o755))
	for range 2 { // the second time there is nothing to do
		d.reloadRefused(ctx)
		if n := strings.Count(log.String(), "configuration reloaded"); n != 1 || !d.refusedSince().IsZero() {
			t.Errorf("refused since %v, reloaded %d times:\n%s", d.refusedSince(), n, log.String())
		}
	}
}
