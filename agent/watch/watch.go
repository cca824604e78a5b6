// Package watch notices when files change: by inotify, and by looking at each of them once a
// minute. It does not wait long for a folder whose server is gone.
package watch

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
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

// LookEvery is how often a Watcher looks at all files, to find what inotify did not report.
const LookEvery = time.Minute

const (
	quiet    = 250 * time.Millisecond // a change is complete when nothing has happened for this long
	patience = time.Second            // files that change all the time are looked at this often
	mostHung = 3                      // folders that may hang at a time; each takes a thread
)

// A Watcher reports when files change. It watches folders, not files: editors, `sed -i` and
// Kubernetes replace a file by a new one. An event alone is not a change: after a moment of
// quiet the Watcher looks whether the files differ from before.
type Watcher struct {
	reports Reports
	notify  *fsnotify.Watcher // nil: inotify is exhausted, and only the looks remain
	blind   bool              // Reports.Blind was called

	mu      sync.Mutex
	seen    map[string]string            // each of List.Files, as it was before it was read
	sinks   map[string]bool              // List.Sinks
	follow  map[string]string            // each of List.Followed, as it was last seen
	folders []string                     // to watch
	hung    map[string]*host.Call[error] // folders that have not answered yet
}

// Reports are what a Watcher calls, one at a time.
type Reports struct {
	Changed func()            // one of List.Files has changed
	Touched func(path string) // something happened to one of List.Sinks, or one of List.Followed has changed
	Blind   func(error)       // inotify does not watch all folders: changes take up to LookEvery; called once
}

// A List is what is watched for one configuration. All paths are absolute.
type List struct {
	Files    []string // files and folders that the configuration is read from; a folder counts by the names of its *.hcl files
	Sinks    []string // the files of its sinks
	Followed []string // the files that its sources follow
}

// New returns a Watcher of nothing yet. It calls Changed and Touched only in Run.
func New(reports Reports) *Watcher {
	w := &Watcher{reports: reports, hung: map[string]*host.Call[error]{}}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.reportBlind(err)
		return w
	}
	w.notify = notify
	return w
}

// Seen notes how the files look now. Call it before they are read.
func (w *Watcher) Seen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	differing(w.seen, slices.Collect(maps.Keys(w.seen)))
}

// Watch watches the files of this list only. They were read after the time since: a file that
// has changed since then counts as changed.
func (w *Watcher) Watch(l List, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	folders := map[string]bool{}
	answering, hanging := w.parted(l.Followed)
	for _, f := range slices.Concat(l.Files, answering) {
		for _, place := range places(f) {
			folders[place] = true
		}
	}
	w.seen = looks(w.seen, l.Files, since)
	w.follow = looks(w.follow, answering, since)
	for _, f := range hanging { // looked at when it answers
		w.follow[f] = ""
		folders[filepath.Dir(f)] = true
	}
	w.sinks = make(map[string]bool, len(l.Sinks))
	for _, s := range l.Sinks {
		w.sinks[s] = true
		folders[filepath.Dir(s)] = true
	}
	w.folders = slices.Sorted(maps.Keys(folders))
	w.arm()
}

// parted separates files whose folders answer from files whose folders hang.
func (w *Watcher) parted(files []string) (answering, hanging []string) {
	for _, f := range files {
		if w.answers(filepath.Dir(f)) {
			answering = append(answering, f)
		} else {
			hanging = append(hanging, f)
		}
	}
	return answering, hanging
}

// looks are how the files look. A file that was seen before looks as it did then.
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
func (w *Watcher) Run(ctx context.Context) {
	var events chan fsnotify.Event
	var errs chan error
	if w.notify != nil {
		defer w.notify.Close()
		events, errs = w.notify.Events, w.notify.Errors
	}
	poll := time.NewTicker(LookEvery)
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
		case <-errs: // the kernel's queue has overflowed, and events are lost
			w.touchSinks()
			settled = time.After(quiet)
		case <-settled:
			settled = nil
			w.look()
		case <-poll.C:
			w.look()
		}
	}
}

// event reports what happens to the file of a sink. It returns true where the Watcher need not
// look at the files for this event.
func (w *Watcher) event(e fsnotify.Event) bool {
	w.mu.Lock()
	sink := w.sinks[e.Name]
	w.mu.Unlock()
	if sink {
		w.reports.Touched(e.Name)
	}
	return sink || strings.HasPrefix(filepath.Base(e.Name), ".tokenagent.")
}

// touchSinks reports all sinks: something may have happened to each of them.
func (w *Watcher) touchSinks() {
	w.mu.Lock()
	sinks := slices.Sorted(maps.Keys(w.sinks))
	w.mu.Unlock()
	for _, s := range sinks {
		w.reports.Touched(s)
	}
}

// look reports the files that differ from when they were last seen.
func (w *Watcher) look() {
	w.mu.Lock()
	w.arm()
	followed, _ := w.parted(slices.Collect(maps.Keys(w.follow)))
	changed, touched := differing(w.seen, slices.Collect(maps.Keys(w.seen))), differing(w.follow, followed)
	w.mu.Unlock()
	for _, f := range touched {
		w.reports.Touched(f)
	}
	if len(changed) > 0 {
		w.reports.Changed()
	}
}

// differing returns the files that differ from seen, and notes how they look now.
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

// arm watches all folders that are not watched yet: at first all, later those that were
// created or replaced. For a missing folder it watches the nearest one above it.
func (w *Watcher) arm() {
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
			if err != nil && !errors.Is(err, fs.ErrPermission) { // looks find what happens in a folder that only its owner may watch
				w.reportBlind(fmt.Errorf("%s: %w", f, err))
			}
			break
		}
	}
}

// answers reports whether the file system of the folder answers. Where its server is gone a call
// hangs, so a goroutine makes it, and the next look waits for the same one.
func (w *Watcher) answers(folder string) bool {
	wait := patience
	asked, before := w.hung[folder]
	switch {
	case before:
		wait = 0
	case len(w.hung) >= mostHung:
		return false
	default:
		asked = host.Begin(func() error { _, err := os.Stat(folder); return err }) // any answer will do
		w.hung[folder] = asked
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_, answered := asked.Wait(ctx)
	if answered {
		delete(w.hung, folder)
	}
	return answered
}

func (w *Watcher) reportBlind(err error) {
	if !w.blind {
		w.blind = true
		w.reports.Blind(err)
	}
}

// places are the folders to watch for changes of path: its own, that of each symbolic link on
// the way to it, and path itself if it is a folder.
func places(path string) []string {
	found := []string{filepath.Dir(path)}
	for link := range host.Links(path) {
		found = append(found, filepath.Dir(link.Path))
		path = link.Next
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		found = append(found, path)
	}
	return append(found, filepath.Dir(path))
}

// coarse is how far the clock of a file system can be behind time.Now.
const coarse = 10 * time.Millisecond

// lookAt returns the same text while a file is the same. Of a folder the names of its *.hcl
// files count; each of these is watched too. A file that has changed after the time since,
// if that is not zero, looks like no other.
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
