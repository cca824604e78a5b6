package host

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"
)

// ShellWord is the text as one word for a shell, in quotes if it needs them.
func ShellWord(text string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%"
	if text != "" && strings.Trim(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// WithoutPath is the error without the operation and the path that package os puts before it.
func WithoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Inside reports whether the path is the folder or lies in it. Both are clean.
func Inside(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// Few names the first of the names, and says how many more there are.
func Few(names []string, most int) string {
	if len(names) > most {
		names = append(slices.Clip(names[:most]), fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// Printable is text from elsewhere on one line of a log or terminal: everything that
// does not print, but what is in keep, becomes the other rune.
func Printable(text, keep string, other rune) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || strings.ContainsRune(keep, r) {
			return r
		}
		return other
	}, strings.ToValidUTF8(text, "?"))
}

// Plural is "1 token", "2 tokens".
func Plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
