package queue

import (
	"testing"
	"time"
)

func TestWaitsGrowWithFailuresAndShrinkWithWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		n           int
		remaining   time.Duration
		least, most time.Duration
	}{
		"first":                       {1, time.Hour, 5 * time.Second, 10 * time.Second},
		"third":                       {3, time.Hour, 20 * time.Second, 40 * time.Second},
		"at most a tenth of the rest": {9, 20 * time.Minute, time.Minute, 2 * time.Minute},
		"at most 5 min":               {30, 24 * time.Hour, 150 * time.Second, 300 * time.Second},
		"15 s when nearly expired":    {9, time.Second, 7500 * time.Millisecond, 15 * time.Second},
		"at most 2 min when expired":  {1000, -time.Hour, time.Minute, 2 * time.Minute},
	} {
		for range 200 {
			if got := Backoff(c.n, LongestWait(c.remaining)); got < c.least || got > c.most {
				t.Errorf("%s: %v, want %v to %v", name, got, c.least, c.most)
				break
			}
		}
	}
}
