package sources

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// mostFollowed is how many bytes are read of a file that something else keeps.
const mostFollowed = 64 << 10

// readFollowed returns what is in a file that something else keeps: a regular
// one, reached over symlinks too, as the tokens of a pod are. It never waits, not
// even at a FIFO. Its errors begin with the path and are Faults: transient where
// whoever keeps the file may still see to it.
func readFollowed(path string) (data []byte, info fs.FileInfo, err error) {
	data, info, err = readRegular(path, mostFollowed)
	switch {
	case err == nil:
		return data, info, nil
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w; it is read as soon as something writes it", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, configurationFault(fmt.Errorf("%w; whoever runs tokenagent needs the permission to read it", err))
	}
	return nil, nil, &agent.Fault{Kind: agent.Transient, Err: err}
}

// readRegular returns what is in a regular file of at most so many bytes.
func readRegular(path string, most int64) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, named(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, named(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: it is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, nil, named(path, err)
	case int64(len(data)) > most:
		return nil, nil, fmt.Errorf("%s: it is larger than %d bytes, too large for what it is to hold", path, most)
	}
	return data, info, nil
}

// named is the error behind the path alone, without the operation that os puts
// there.
func named(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// inspectFollowed warns of a file that others than its owner and group can read
// or write: whoever keeps it decides, but a token is a secret.
func inspectFollowed(b *config.Block, attr, path string) {
	if b.DefinitionsOnly() {
		return
	}
	var mode fs.FileMode
	b.Look(filepath.Dir(path), func() {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			mode = info.Mode().Perm()
		}
	})
	if mode&0o007 != 0 {
		b.Warn(attr, "others can get at the token", fmt.Sprintf("%s has mode %04o; have whoever keeps it leave others no permission (chmod o= %[1]s)", path, mode))
	}
}
