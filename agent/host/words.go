package host

import (
	"errors"
	"io/fs"
	"strings"
)

// ShellWord is the text as a person types it into a shell: in quotes where it needs any.
func ShellWord(text string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%"
	if text != "" && strings.Trim(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// WithoutPath is the error without the operation and the path that package os puts
// before it, for those who name the path themselves.
func WithoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
