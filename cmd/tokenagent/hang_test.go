package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// hangingFolder is one of a file system whose server never answers, as NFS
// without its server is: whoever goes there waits until the test ends.
func hangingFolder(t *testing.T, s *site) string {
	t.Helper()
	needRoot(t)
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil && os.Getenv("TOKENAGENT_REQUIRE_REAL") != "1" {
		t.Skip("no folder can hang here without FUSE:", err)
	}
	check(t, err)
	dir := s.mkdir(t, "hanging", 0, 0o700)
	check(t, unix.Mount("tokenagent", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40700,user_id=0,group_id=0", server)))
	t.Cleanup(func() {
		s.kill()
		check(t, unix.Close(server)) // now everybody who waits is told that nobody is there
		check(t, unix.Unmount(dir, unix.MNT_DETACH))
	})
	return dir
}

func TestWatcherWaitsForNoFolderThatHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	hanging := hangingFolder(t, s)
	sinks := []string{s.path("good")}
	for n := range 1000 {
		sinks = append(sinks, fmt.Sprintf("%s/%d/token", hanging, n))
	}
	touched := make(chan string, 100)
	began := time.Now()
	w := newWatcher(logrus.New(), nil, func(path string) { touched <- path })
	w.Watch(nil, sinks, began)
	if took := time.Since(began); took > 2*mostHung*patience {
		t.Errorf("to begin took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	put(t, s.path("good"), "touched")
	if path := <-touched; path != s.path("good") {
		t.Errorf("%s was touched", path)
	}
	cancel()
	running.Wait()
}
