package profile

import (
	"strings"

	"github.com/agext/levenshtein"
)

const (
	mostNames   = 1000 // beyond so many names a search takes longer than it helps
	longestName = 64   // nobody mistypes a longer one
)

// Nearest is the name that was most likely meant by the given one: the first of those
// from which it differs least. It is "" when more than two letters, or more than a
// third of them and one, differ from each.
func Nearest(given string, names []string) string {
	return nearest(given, names, max(2, len(given)/3+1))
}

// Meant is Nearest of a name that the given one can be read as without asking: at most
// two letters differ, but no more than half of them, or a third.
func Meant(given string, names []string) string {
	return nearest(given, names, max(min(2, len(given)/2), len(given)/3))
}

// nearest is the first of the names from which the given one differs least, and in no
// more than so many letters.
func nearest(given string, names []string, most int) string {
	if len(names) > mostNames || len(given) > longestName {
		return ""
	}
	best, least := "", most+1
	for _, name := range names {
		if d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(name), nil); d < least {
			best, least = name, d
		}
	}
	return best
}
