package main

import (
	"testing"
)

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
