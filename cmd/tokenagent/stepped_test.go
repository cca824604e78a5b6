package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a test tells the programs that it starts, which are this test binary: the file
// of their clock, and the file where they say each second how many goroutines they have.
const (
	clockFile     = "TOKENAGENT_TEST_CLOCK"
	goroutineFile = "TOKENAGENT_TEST_GOROUTINES"
)

// programUnderTest is main with what tests can see and set of it. Nothing of this is in
// the program that users get.
func programUnderTest() {
	if path := os.Getenv(clockFile); path != "" {
		c, err := openClock(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, "the clock of the test:", err)
			os.Exit(3)
		}
		wall = c.now
	}
	if path := os.Getenv(goroutineFile); path != "" {
		go func() {
			for range time.Tick(time.Second) {
				_ = os.WriteFile(path, fmt.Append(nil, runtime.NumGoroutine()), 0o600) // the test misses it
			}
		}()
	}
	watchedMain()
}

// A steppedClock is the wall clock of several processes, which a test steps while they
// run: two numbers in a file that all of them have mapped.
type steppedClock struct {
	path   string
	offset *int64 // of the host's clock, in nanoseconds
	stands *int64 // the Unix nanoseconds that it shows all the time; 0: it goes
}

const clockBytes = 16

// newClock is a clock that shows the time of the host until the test steps it.
func newClock(t *testing.T) *steppedClock {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clock")
	check(t, os.WriteFile(path, binary.NativeEndian.AppendUint64(make([]byte, 8, clockBytes), 0), 0o644))
	c, err := openClock(path)
	check(t, err)
	return c
}

// openClock maps the file. The mapping stays until the process ends.
func openClock(path string) (*steppedClock, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page, err := unix.Mmap(int(f.Fd()), 0, clockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	first := unsafe.Pointer(unsafe.SliceData(page))
	return &steppedClock{path, (*int64)(first), (*int64)(unsafe.Add(first, 8))}, nil
}

func (c *steppedClock) now() time.Time {
	if at := atomic.LoadInt64(c.stands); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now().Round(0).Add(time.Duration(atomic.LoadInt64(c.offset)))
}

// set has it show that time, and go on.
func (c *steppedClock) set(to time.Time) {
	atomic.StoreInt64(c.offset, int64(time.Until(to)))
	atomic.StoreInt64(c.stands, 0)
}

// step sets it so much ahead, or back.
func (c *steppedClock) step(by time.Duration) { c.set(c.now().Add(by)) }

// stand has it stand still from now on.
func (c *steppedClock) stand() { atomic.StoreInt64(c.stands, c.now().UnixNano()) }

// environment is what has a program use it.
func (c *steppedClock) environment() string { return clockFile + "=" + c.path }
