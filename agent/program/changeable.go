package program

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// uid is the number of the user that the program runs as.
func (p Program) uid() uint32 {
	if p.User != nil {
		return p.User.UID
	}
	return uint32(os.Geteuid())
}

// changeable says who else than root and that user could have the user run a
// program of theirs: by the file, by a folder above it, or by those of the file
// that a link leads to. It is "" when nobody could, or when it cannot be seen.
func changeable(path string, user uint32) string {
	path = filepath.Clean(path)
	for _, way := range []string{path, resolved(path)} {
		for ; way != "/" && way != "."; way = filepath.Dir(way) {
			if problem := openTo(way, user); problem != "" {
				return fmt.Sprintf("%s, and with it what %s runs; chown it to root and chmod go-w, or run it as a user of its own", problem, name(user))
			}
		}
	}
	return ""
}

// resolved is the path without links; the path itself where it leads nowhere.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// openTo says who else could change the file or folder. The owner of a sticky
// folder's entries is asked about them, and a link has no mode of its own.
func openTo(path string, user uint32) string {
	info, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	stat := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	switch {
	case stat.Uid != 0 && stat.Uid != user:
		return fmt.Sprintf("uid %d, to whom %s belongs, can change it", stat.Uid, path)
	case mode&fs.ModeSymlink != 0 || mode.IsDir() && mode&fs.ModeSticky != 0:
		return ""
	case mode&0o002 != 0:
		return fmt.Sprintf("everybody can write %s", path)
	case mode&0o020 != 0 && stat.Gid != 0:
		return fmt.Sprintf("the group %d can write %s", stat.Gid, path)
	}
	return ""
}

func name(user uint32) string {
	if user == 0 {
		return "root"
	}
	return fmt.Sprintf("uid %d", user)
}
