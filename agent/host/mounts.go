package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sameInAllMounts reports whether the place is kept as well at each other path by which
// a mount shows it: below a folder that is closed, or itself as fine says. Where the
// mounts cannot be read, it is not.
func (p Place) sameInAllMounts(closed, fine func(Place) bool) bool {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer mounts.Close()
	return !slices.ContainsFunc(p.otherPaths(mounts), func(path string) bool { return !p.keptAt(path, closed, fine) })
}

// keptAt is sameInAllMounts for one path. Another mount may hide the place there.
func (p Place) keptAt(path string, closed, fine func(Place) bool) bool {
	var w Walk
	defer w.Close()
	if err := w.Begin(path); err != nil {
		return false
	}
	for len(w.Rest) > 0 {
		if closed(w.At) {
			return true
		}
		next, err := w.Next()
		if err != nil {
			return err == unix.ENOENT || err == unix.ENOTDIR
		}
		w.Enter(next)
	}
	return w.At.Stat.Dev != p.Stat.Dev || w.At.Stat.Ino != p.Stat.Ino || fine(w.At)
}

// A mount is a line of mountinfo(5).
type mount struct {
	id, device string
	root       string // the folder of the file system that it shows; "" for /
	point      string // where; "" for /
}

// otherPaths are the paths of the place in other mounts of its file system, by mountinfo(5).
func (p Place) otherPaths(mountinfo io.Reader) (paths []string) {
	var mounts []mount
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 4 {
			mounts = append(mounts, mount{f[0], f[2], unescaped(f[3]), unescaped(f[4])})
		}
	}
	id := p.mountID()
	real, _ := os.Readlink(p.procPath())
	i := slices.IndexFunc(mounts, func(m mount) bool { return m.id == id && Inside(real, m.point) })
	if i < 0 {
		return nil // a file system that no path leads to
	}
	here := mounts[i]
	inside := here.root + strings.TrimPrefix(real, here.point) // the path in the file system
	for _, m := range mounts {
		if m.device != here.device || !Inside(inside, m.root) {
			continue
		}
		if path := m.point + strings.TrimPrefix(inside, m.root); path != real {
			paths = append(paths, path)
		}
	}
	return paths
}

// mountID is the number of the mount that the place was opened in; see proc_pid_fdinfo(5).
func (p Place) mountID() string {
	info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", p.FD))
	_, after, _ := strings.Cut(string(info), "mnt_id:")
	id, _, _ := strings.Cut(strings.TrimSpace(after), "\n")
	return id
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// unescaped is a path of mountinfo(5), where blanks and backslashes are octal numbers; ""
// for /.
func unescaped(path string) string {
	return octal.ReplaceAllStringFunc(strings.TrimSuffix(path, "/"), func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 8, 8)
		return string([]byte{byte(n)})
	})
}
