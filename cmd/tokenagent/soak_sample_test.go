package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A sample is what a process uses at one time.
type sample struct {
	at   time.Time
	used [len(resources)]float64
}

var resources = [...]string{"memory (KiB)", "descriptors", "goroutines", "threads"}

// sampleOf looks at the process, which writes its goroutines into that file; false while
// it does not.
func sampleOf(pid int, goroutines string) (s sample, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, false
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, false
	}
	running, err := os.ReadFile(goroutines)
	if err != nil || len(running) == 0 {
		return s, false
	}
	n, err := strconv.ParseFloat(string(running), 64)
	if err != nil {
		return s, false
	}
	return sample{time.Now(), [...]float64{field(status, "VmRSS:"), float64(len(open)), n, field(status, "Threads:")}}, true
}

// field is a number of /proc/PID/status.
func field(status []byte, name string) float64 {
	_, rest, _ := strings.Cut(string(status), name)
	n, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return n
}

// mostGrowth is how much more a process may use in the last third of its life than in
// the second.
const mostGrowth = 1.1

// wantNoGrowth demands that the process uses no more in the end than in the middle. A run
// that is too short to tell is only reported.
func wantNoGrowth(t *testing.T, samples []sample, demanded bool) {
	t.Helper()
	if len(samples) < 6 {
		t.Errorf("there are only %d samples of the process", len(samples))
		return
	}
	third := len(samples) / 3
	for i, name := range resources {
		second, last := mean(samples[third:2*third], i), mean(samples[2*third:], i)
		t.Logf("%-13s first third %9.1f, second %9.1f, last %9.1f (%.3f of the second)", name, mean(samples[:third], i), second, last, last/second)
		if demanded && last > mostGrowth*second {
			t.Errorf("%s grow: %.1f on average in the last third, %.1f in the second", name, last, second)
		}
	}
}

func mean(samples []sample, resource int) (m float64) {
	for _, s := range samples {
		m += s.used[resource] / float64(len(samples))
	}
	return m
}
