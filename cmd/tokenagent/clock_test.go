package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
)

func TestClockBeforeTheProgramIsWarnedAbout(t *testing.T) {
	was := built
	t.Cleanup(func() { built = was })
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for at, want := range map[string]bool{"": false, "1700000000": false, "1900000000": true} {
		var out bytes.Buffer
		built = at
		sayClock(newLogger(&out, config.Settings{LogLevel: "info"}), now)
		if got := strings.Contains(out.String(), "the clock is before"); got != want {
			t.Errorf("built %q: %s", at, out.String())
		}
	}
}
