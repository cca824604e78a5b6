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
	if len(names) > mostNames || len(given) > longestName {
		return ""
	}
	best, least := "", max(2, len(given)/3+1)+1
	for _, name := range names {
		if d := levenshtein.Distance(strings.ToLower(given), strings.ToLower(name), nil); d < least {
			best, least = name, d
		}
	}
	return best
}
