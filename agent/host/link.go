package host

import (
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// A Link is a symbolic link on the way to a path.
type Link struct {
	Path   string // of the link itself
	Target string // as it is written
	Next   string // the whole path with the link replaced
}

// Links are the symbolic links on the way to a path, in the order in which they are
// followed; at most 40, as the kernel follows.
func Links(path string) iter.Seq[Link] {
	return func(yield func(Link) bool) {
		for range mostLinks {
			link, ok := firstLink(path)
			if !ok || !yield(link) {
				return
			}
			path = link.Next
		}
	}
}

func firstLink(path string) (Link, bool) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		target, err := os.Readlink(path[:i])
		if err != nil {
			continue
		}
		to := target
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path[:i]), to)
		}
		return Link{path[:i], target, filepath.Join(to, path[i:])}, true
	}
	return Link{}, false
}

// Resolved is the path that the links lead to. It stops at a link through a hidden
// folder like "..data": with such a link Kubernetes replaces the files of a volume,
// and the path behind it is another one each time.
func Resolved(path string) string {
	for link := range Links(path) {
		for part := range strings.SplitSeq(link.Target, "/") {
			if strings.HasPrefix(part, "..") && part != ".." {
				return path
			}
		}
		path = link.Next
	}
	return path
}
