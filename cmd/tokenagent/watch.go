package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

const (
	quiet    = 250 * time.Millisecond // a change is complete when nothing has happened for this long
	patience = time.Second            // but something that never rests is looked at this often
	pollWait = time.Minute            // what inotify did not tell is found by then
	mostHung = 3                      // folders that are waited for; more of them would take a thread each
)

// A watcher tells when the files that the configuration is made of have
// changed, and when something happens to the file of a sink, or to one that a
// source follows.
//
// It watches folders, not files: editors, `sed -i` and Kubernetes put new files
// in the place of old ones. What counts is not which events came but whether
// the files, looked at after a moment of quiet, differ from before.
type watcher struct {
	log     logrus.FieldLogger
	changed func()            // called when a file of the configuration has changed
	touched func(path string) // called for each event of a sink's file, and when a file that a source follows has changed

	notify *fsnotify.Watcher // nil: inotify is exhausted, and only the poll remains
	warned bool

	mu      sync.Mutex
	seen    map[string]string          // each file of the configuration, its folders included, as it was before it was read
	sinks   map[string]bool            // the paths of the sinks' files
	follow  map[string]string          // each file that a source follows, as it was last seen
	folders []string                   // those to watch
	hung    map[string]<-chan struct{} // those that were asked and have not answered; closed when they have
}

// A watchlist is what is watched for one configuration.
type watchlist struct {
	files    []string // whose change is a reason to load it again
	sinks    []string // the files of its sinks
	followed []string // the files that its sources follow
}

// listOf is the watchlist of a configuration that is in use.
func listOf(cfg *config.Config) watchlist {
	l := watchlist{files: cfg.Files, sinks: sinkPaths(cfg.Renewers)}
	for _, r := range cfg.Renewers {
		if f, ok := r.Source.(agent.Follower); ok && len(r.Sinks) > 0 {
			l.followed = append(l.followed, f.Follows().Path)
		}
	}
	return l
}

// newWatcher returns a watcher of nothing yet. changed and touched are called
// by Run alone, one at a time.
func newWatcher(log logrus.FieldLogger, changed func(), touched func(path string)) *watcher {
	w := &watcher{log: log, changed: changed, touched: touched, hung: map[string]<-chan struct{}{}}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.exhausted(err)
		return w
	}
	w.notify = notify
	return w
}

// Seen takes the files as they are now for seen: they are about to be read.
func (w *watcher) Seen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	differing(w.seen, slices.Collect(maps.Keys(w.seen)))
}

// Watch replaces what is watched by the list of a configuration that was read
// after the time since.
func (w *watcher) Watch(l watchlist, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	folders := map[string]bool{}
	answering, hanging := w.parted(l.followed)
	for _, f := range slices.Concat(l.files, answering) {
		for _, place := range places(f) {
			folders[place] = true
		}
	}
	w.seen = looks(w.seen, l.files, since)
	w.follow = looks(w.follow, answering, since)
	for _, f := range hanging { // looked at when it answers
		w.follow[f] = ""
		folders[filepath.Dir(f)] = true
	}
	w.sinks = make(map[string]bool, len(l.sinks))
	for _, s := range l.sinks {
		w.sinks[s] = true
		folders[filepath.Dir(s)] = true
	}
	w.folders = slices.Sorted(maps.Keys(folders))
	w.arm()
}

// parted tells the files whose folders answer from those whose folders hang, as
// they may lie anywhere.
func (w *watcher) parted(files []string) (answering, hanging []string) {
	for _, f := range files {
		if w.answers(filepath.Dir(f)) {
			answering = append(answering, f)
		} else {
			hanging = append(hanging, f)
		}
	}
	return answering, hanging
}

// looks are how the files look, those before as they were seen then.
func looks(before map[string]string, files []string, since time.Time) map[string]string {
	all := make(map[string]string, len(files))
	for _, f := range files {
		look, known := before[f]
		if !known {
			look = lookAt(f, since)
		}
		all[f] = look
	}
	return all
}

// Run watches until ctx is done.
func (w *watcher) Run(ctx context.Context) {
	var events chan fsnotify.Event
	var errs chan error
	if w.notify != nil {
		defer w.notify.Close()
		events, errs = w.notify.Events, w.notify.Errors
	}
	poll := time.NewTicker(pollWait)
	defer poll.Stop()
	var settled <-chan time.Time
	var began time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.event(e) {
				continue
			}
			if settled == nil {
				began = time.Now()
			}
			settled = time.After(min(quiet, max(patience-time.Since(began), 0)))
		case <-errs: // the kernel's queue ran over: events are lost, so look
			settled = time.After(quiet)
		case <-settled:
			settled = nil
			w.look()
		case <-poll.C:
			w.look()
		}
	}
}

// event passes on what happens to a sink's file, and reports whether that is
// all there is to it.
func (w *watcher) event(e fsnotify.Event) bool {
	w.mu.Lock()
	sink := w.sinks[e.Name]
	w.mu.Unlock()
	if sink {
		w.touched(e.Name)
	}
	return sink || strings.HasPrefix(filepath.Base(e.Name), ".tokenagent.")
}

// look calls changed if the files differ from when they were last seen, and
// touched for those that a source follows.
func (w *watcher) look() {
	w.mu.Lock()
	w.arm()
	followed, _ := w.parted(slices.Collect(maps.Keys(w.follow)))
	changed, touched := differing(w.seen, slices.Collect(maps.Keys(w.seen))), differing(w.follow, followed)
	w.mu.Unlock()
	for _, f := range touched {
		w.touched(f)
	}
	if len(changed) > 0 {
		w.changed()
	}
}

// differing are those of the files that are others than were seen; they are seen now.
func differing(seen map[string]string, files []string) (all []string) {
	for _, f := range files {
		now := lookAt(f, time.Time{})
		if now != seen[f] {
			all = append(all, f)
		}
		seen[f] = now
	}
	return all
}

// arm watches the folders that are there and not watched yet: at first all,
// later those that were made, or replaced by another of the same name. Of one
// that is missing the nearest folder above it is watched.
func (w *watcher) arm() {
	if w.notify == nil {
		return
	}
	watched := map[string]bool{}
	for _, f := range w.notify.WatchList() {
		watched[f] = true
	}
	for _, f := range w.folders {
		for ; !watched[f] && w.answers(f); f = filepath.Dir(f) {
			watched[f] = true
			err := w.notify.Add(f)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				continue
			}
			if err != nil && !errors.Is(err, fs.ErrPermission) { // a folder that only its owner may watch is looked at
				w.exhausted(fmt.Errorf("%s: %w", f, err))
			}
			break
		}
	}
}

// answers reports whether the folder can be asked for anything. One of a server
// that is gone lets everybody hang who goes there, so it is asked aside, and again
// with the next look.
func (w *watcher) answers(folder string) bool {
	wait := patience
	answer, before := w.hung[folder]
	switch {
	case before:
		wait = 0
	case len(w.hung) >= mostHung:
		return false
	default:
		answer = ask(folder)
		w.hung[folder] = answer
	}
	select {
	case <-answer:
		delete(w.hung, folder)
		return true
	case <-time.After(wait):
		return false
	}
}

// ask has the file system look for the folder; what it says does not matter.
func ask(folder string) <-chan struct{} {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = os.Stat(folder)
	}()
	return answered
}

// exhausted says once that inotify tells less than it should.
func (w *watcher) exhausted(err error) {
	if w.warned {
		return
	}
	w.warned = true
	w.log.WithError(err).WithField("look_every", pollWait).
		Warn("inotify does not watch all folders; changes are found by looking (see fs.inotify.max_user_watches and max_user_instances)")
}

// places are the folders in which something must change for the file or folder
// at path to become another: its own, that of each symlink on the way to it,
// and a folder itself.
func places(path string) []string {
	const most = 40 // symlinks, as in path_resolution(7)
	found := []string{filepath.Dir(path)}
	for range most {
		link, target, ok := firstLink(path)
		if !ok {
			break
		}
		found = append(found, filepath.Dir(link))
		path = target
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		found = append(found, path)
	}
	return append(found, filepath.Dir(path))
}

// firstLink finds the first symlink on the way to path, and where path leads
// once that is followed.
func firstLink(path string) (link, target string, ok bool) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		to, err := os.Readlink(path[:i])
		if err != nil {
			continue
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path[:i]), to)
		}
		return path[:i], filepath.Join(to, path[i:]), true
	}
	return "", "", false
}

// coarse is by how much the clock of a file system may lag behind time.Now.
const coarse = 10 * time.Millisecond

// lookAt is equal for equal files. A folder counts with the names of the
// configuration files in it, whose contents come under their own names. With a
// time since, a file that was changed after it is equal to none.
func lookAt(path string, since time.Time) string {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return err.Error()
	}
	if s.Mode&unix.S_IFMT == unix.S_IFDIR {
		names, _ := filepath.Glob(filepath.Join(path, "*.hcl"))
		return fmt.Sprintf("%q", names)
	}
	if !since.IsZero() && time.Unix(s.Ctim.Unix()).After(since.Add(-coarse)) {
		return "changed while it was read"
	}
	return fmt.Sprint(s.Dev, s.Ino, s.Size, s.Mode, s.Uid, s.Gid, s.Mtim, s.Ctim)
}
