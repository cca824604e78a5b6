package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Spelled is the absolute path as it is spelled on the disk. A letter such as ä may be
// stored as one character or as two, programs change one into the other (HCL does), and
// Linux takes them for two names. A name that is not there is replaced by the only one
// beside it that reads the same.
func Spelled(path string) string {
	if isASCII(path) {
		return path
	}
	found := "/"
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		found = filepath.Join(found, spelledIn(found, name))
	}
	return found
}

func spelledIn(folder, name string) string {
	if isASCII(name) {
		return name
	}
	if _, err := os.Lstat(filepath.Join(folder, name)); !errors.Is(err, fs.ErrNotExist) {
		return name
	}
	entries, _ := os.ReadDir(folder)
	alike := ""
	for _, e := range entries {
		switch {
		case norm.NFC.String(e.Name()) != norm.NFC.String(name):
		case alike != "":
			return name
		default:
			alike = e.Name()
		}
	}
	if alike == "" {
		return name
	}
	return alike
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > '~' })
}
