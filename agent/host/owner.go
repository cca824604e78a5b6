package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// OtherOwner is the user, other than root, who owns the file or a folder above it,
// and which of them; 0 for none. What does not exist yet has no owner.
func OtherOwner(path string) (uid UserID, of string, err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, path, err
		}
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 0 {
			return UserID(info.Sys().(*syscall.Stat_t).Uid), path, nil
		}
		if path == "/" {
			return 0, "", nil
		}
	}
}
