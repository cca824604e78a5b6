package config

import (
	"strings"

	"github.com/agext/levenshtein"
)

const mostNames = 1000 // beyond so many names a search takes longer than it helps

// nearest is the name most like the given one, or "" where none is like it.
func nearest(given string, names []string) string {
	if len(names) > mostNames {
		return ""
	}
	best, least := "", max(2, len(given)/3)+1
	for _, name := range names {
		if d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(name), nil); d < least {
			best, least = name, d
		}
	}
	return best
}
