package main

import (
	"testing"
	"time"
)

func TestSpokenHasTwoUnitsAtMost(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                     "0s",
		400 * time.Millisecond:                "0s",
		59*time.Second + 600*time.Millisecond: "1m",
		57*time.Minute + 3*time.Second:        "57m3s",
		time.Hour:                             "1h",
		time.Hour + 30*time.Second:            "1h",
		52*time.Hour + 59*time.Minute:         "2d4h",
		-3 * time.Minute:                      "3m",
	} {
		if got := spoken(d); got != want {
			t.Errorf("spoken(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestPlainGivesATerminalNothingToObey(t *testing.T) {
	for text, want := range map[string]string{
		"read:/päth":         "read:/päth",
		"\x1b[2Jgone":        `"\x1b[2Jgone"`,
		"two\nlines":         `"two\nlines"`,
		"\u009b31mC1":        `"\u009b31mC1"`,
		"raw C1 \x9b31m":     `"raw C1 \x9b31m"`,
		"tabwriter's \xff":   `"tabwriter's \xff"`,
		"right\u202eto left": `"right\u202eto left"`,
	} {
		if got := plain(text); got != want {
			t.Errorf("plain(%q) = %s, want %s", text, got, want)
		}
	}
}
