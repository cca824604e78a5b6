package profile

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"
)

// levels are what HTCondor lets a token's scope name behind "condor:/".
var levels = []string{
	"READ", "WRITE", "DAEMON", "NEGOTIATOR", "ADMINISTRATOR", "CONFIG",
	"ADVERTISE_MASTER", "ADVERTISE_STARTD", "ADVERTISE_SCHEDD",
}

// computeWords are the words for jobs, the one that only reads first.
var computeWords = []string{"compute.read", "compute.modify", "compute.create", "compute.cancel"}

// submitting are the sets of words of which an HTCondor-CE wants one as a whole to
// let a client submit. The first word of each is of use alone.
var submitting = [][]string{{"condor:/READ", "condor:/WRITE"}, computeWords}

// A vocabulary is what a profile's scope may say.
type vocabulary struct {
	paths   []string          // words with a path behind a colon: storage.read:/data
	plain   []string          // words that stand alone
	other   string            // the profile that people mix this one up with
	foreign map[string]string // its words with a path, and which of ours they mean
}

var wlcgWords = vocabulary{
	paths:   []string{"storage.read", "storage.create", "storage.modify", "storage.stage", "storage.poll"},
	plain:   append([]string{"openid", "offline_access", "profile", "email", "wlcg", "wlcg.groups"}, computeWords...),
	other:   "scitokens",
	foreign: map[string]string{"read": "storage.read", "write": "storage.modify"},
}

var sciTokensWords = vocabulary{
	paths: []string{"read", "write", "queue", "execute"},
	plain: computeWords,
	other: "wlcg",
	foreign: map[string]string{
		"storage.read": "read", "storage.create": "write", "storage.modify": "write",
	},
}

// scopeWords checks the form of scope (RFC 6749 section 3.3) and returns its
// words; false when it is not there, empty or faulty.
func (c *checker) scopeWords() ([]string, bool) {
	v, there := c.Claims["scope"]
	text, isText := v.(string)
	switch {
	case !there, text == "" && isText:
		return nil, false
	case !isText:
		c.fault("scope", "it is %s; it must be one string of words with single blanks between them", show(v))
		return nil, false
	}
	words := strings.Split(text, " ")
	if slices.Contains(words, "") {
		c.fault("scope", "%s has blanks too many; single ones stand between words, none at the ends", show(text))
		return nil, false
	}
	for i, word := range words {
		if strings.IndexFunc(word, notScope) >= 0 {
			c.fault("scope", "%q has a character that is not allowed; printable ASCII but \" and \\ is", word)
			return nil, false
		}
		if slices.Contains(words[:i], word) {
			c.fault("scope", "%q is there twice; once is enough", word)
		}
	}
	return words, true
}

func notScope(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

// grants checks what the words of a WLCG or SciTokens scope allow.
func (c *checker) grants(words []string, known vocabulary) {
	for _, word := range words {
		name, target, colon := strings.Cut(word, ":")
		if colon && takesPath(name) {
			c.storagePath(word, target)
		}
		switch {
		case name == "condor" && colon:
			c.condorWord(word, c.warn)
		case slices.Contains(known.paths, name) && colon:
		case slices.Contains(known.paths, name):
			c.fault("scope", "%s names no path; write %s:/ for all of the storage", word, name)
		case slices.Contains(known.plain, word), isRequest(word), IsCapabilitySet(word):
		case known.foreign[name] != "" && colon:
			c.warn("scope", "%q belongs to the profile %s; here it is %s:%s", word, known.other, known.foreign[name], target)
		default:
			c.warn("scope", "%q is not a word of this profile%s", word, known.nearest(name))
		}
	}
	c.submit(words)
}

// takesPath reports whether a path stands behind the word, in either profile.
func takesPath(name string) bool {
	return slices.Contains(wlcgWords.paths, name) || slices.Contains(sciTokensWords.paths, name)
}

// Normal is a word with a path as the profiles write it: storage.read:/ for storage.read:,
// read:/a for read:a/. Verifiers take one for the other. A word that they may take for
// different paths stays as it is, and so does any without a path.
func Normal(word string) string {
	name, target, _ := strings.Cut(word, ":")
	if _, odd := plainPath(target); odd || !takesPath(name) {
		return word
	}
	return name + ":" + path.Clean("/"+target)
}

// NormalWords are the words as [Normal] has them, but for those that are then there twice.
func NormalWords(words []string) []string {
	var usual []string
	for _, word := range words {
		normal := Normal(word)
		if normal == word || !slices.Contains(words, normal) && !slices.Contains(usual, normal) {
			usual = append(usual, normal)
		}
	}
	return usual
}

// Normalised is t with NormalWords in its scope.
func Normalised(t Token) Token {
	if text, ok := t.Claims["scope"].(string); ok {
		t.Claims = maps.Clone(t.Claims)
		t.Claims["scope"] = strings.Join(NormalWords(strings.Split(text, " ")), " ")
	}
	return t
}

// storagePath checks the path of a storage word: absolute, normalised (RFC 3986
// section 6) and unable to climb out of what it names.
func (c *checker) storagePath(word, target string) {
	plain, err := url.PathUnescape(target)
	clean := path.Clean(plain)
	switch {
	case err != nil:
		c.fault("scope", "%s: a %% is followed by two hexadecimal digits; itself it is written %%25", word)
	case !strings.HasPrefix(target, "/"):
		c.fault("scope", "%s: the path is not absolute; it must begin with /", word)
	case strings.Contains(strings.ToUpper(target), "%2F"):
		c.fault("scope", "%s: %%2F is read as / by some and not by others; write /", word)
	case strings.Contains(plain, "\\"):
		c.fault("scope", "%s: %%5C is read as / by some and not by others; leave it out", word)
	case strings.ContainsFunc(plain, unicode.IsControl):
		c.fault("scope", "%s: the path has a control character in it; leave out %%00 to %%1F and %%7F", word)
	case slices.Contains(strings.Split(plain, "/"), ".."):
		c.fault("scope", "%s: the path climbs; .. is not allowed", word)
	case clean != plain && (clean == "/" || clean+"/" != plain):
		c.fault("scope", "%s: the path is not normalised; write it without . and //", word)
	case clean != plain:
		c.warn("scope", "%s: not every reader takes a path that ends in /; leave it out", word)
	}
}

// condorWord checks a word condor:/LEVEL; say is how grave a wrong one is.
func (c *checker) condorWord(word string, say func(claim, format string, args ...any)) {
	level, ok := strings.CutPrefix(word, "condor:/")
	if !ok {
		say("scope", "%q begins wrongly; write condor:/LEVEL", word)
	} else if !slices.Contains(levels, level) {
		say("scope", "HTCondor knows no level %q and permits nothing for it%s", level, orNearest(level, levels))
	}
}

// submit warns where a token seems to be for submitting jobs, but an HTCondor-CE
// would not let it.
func (c *checker) submit(words []string) {
	whole := func(set []string) bool { return len(missing(set, words)) == 0 }
	if slices.ContainsFunc(submitting, whole) {
		return
	}
	for _, set := range submitting {
		if len(missing(set[1:], words)) < len(set[1:]) {
			c.warn("scope", "an HTCondor-CE lets a token submit only with all of %s; %s is missing",
				strings.Join(set, " "), strings.Join(missing(set, words), " "))
		}
	}
}

// nearest offers the word that was most likely meant.
func (v vocabulary) nearest(name string) string {
	var words []string
	for _, w := range v.paths {
		words = append(words, w+":/PATH")
	}
	words = append(append(words, v.plain...), "condor:/READ", "condor:/WRITE")
	heads := make([]string, len(words))
	for i, w := range words {
		heads[i], _, _ = strings.Cut(w, ":")
	}
	if near := Nearest(name, heads); near != "" {
		return "; did you mean " + words[slices.Index(heads, near)] + "?"
	}
	return "; allowed are " + strings.Join(words, ", ")
}

// orNearest is the end of a sentence that offers the nearest of the words, or
// all of them when none is near.
func orNearest(word string, of []string) string {
	if near := Nearest(word, of); near != "" {
		return "; did you mean " + near + "?"
	}
	return allowedAre(of)
}
