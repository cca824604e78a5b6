package watch

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// A scene is a folder with a configuration file that a watcher watches.
type scene struct {
	folder  string
	file    string
	changed chan struct{}
	touched chan string
}

// newScene lays out the files by prepare, and watches file and sink in the folder.
func newScene(t *testing.T, file, sink string, prepare func(folder string)) scene {
	t.Helper()
	s := scene{folder: t.TempDir(), changed: make(chan struct{}, 100), touched: make(chan string, 100)}
	prepare(s.folder)
	s.file = filepath.Join(s.folder, file)
	w := New(Reports{
		Changed: func() { s.changed <- struct{}{} },
		Touched: func(p string) { s.touched <- p },
		Blind:   func(err error) { t.Error(err) },
	})
	long := time.Now().Add(time.Hour) // nothing counts as written while it was read
	w.Watch(List{Files: []string{s.file}, Sinks: []string{filepath.Join(s.folder, sink)}, Followed: []string{filepath.Join(s.folder, "upstream/token")}}, long)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return s
}

// soonEnough is before the look that would find what inotify did not tell.
const soonEnough = LookEvery * 3 / 4

func (s scene) mustNotice(t *testing.T, what string) {
	t.Helper()
	select {
	case <-s.changed:
	case <-time.After(soonEnough):
		t.Errorf("%s was not noticed", what)
	}
}

func (s scene) mustNotNotice(t *testing.T, what string) {
	t.Helper()
	if !s.rests() {
		t.Errorf("%s was taken for a change", what)
	}
}

// rests reports whether nothing is noticed for a while.
func (s scene) rests() bool {
	select {
	case <-s.changed:
		return false
	case <-time.After(2 * quiet):
		return true
	}
}

func TestWaysToChangeAFileAreNoticed(t *testing.T) {
	t.Parallel()
	ways := map[string]func(s scene){
		"cp writes in place":            func(s scene) { put(t, s.file, "two") },
		"vim moves it away, makes anew": func(s scene) { move(t, s.file, s.file+"~"); put(t, s.file, "two") },
		"sed -i renames over it":        func(s scene) { put(t, s.folder+"/sedXYZ", "two"); move(t, s.folder+"/sedXYZ", s.file) },
		"chmod":                         func(s scene) { check(t, os.Chmod(s.file, 0o640)) },
		"rm":                            func(s scene) { check(t, os.Remove(s.file)) },
	}
	for name, change := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for tries := 1; ; tries++ {
				s := newScene(t, "a.hcl", "sink", func(d string) { put(t, d+"/a.hcl", "one") })
				change(s)
				s.mustNotice(t, name)
				if s.rests() {
					return
				}
				if tries == 20 { // on a busy machine the steps of one change may lie apart
					t.Fatalf("%s was noticed twice, %d times", name, tries)
				}
			}
		})
	}
}

func TestKubernetesSwapOfDataIsNoticed(t *testing.T) {
	t.Parallel()
	s := newScene(t, "a.hcl", "sink", func(d string) {
		check(t, os.Mkdir(d+"/..1", 0o700))
		put(t, d+"/..1/a.hcl", "one")
		check(t, os.Symlink("..1", d+"/..data"))
		check(t, os.Symlink("..data/a.hcl", d+"/a.hcl"))
	})
	for _, next := range []string{"..2", "..3"} {
		check(t, os.Mkdir(s.folder+"/"+next, 0o700))
		put(t, s.folder+"/"+next+"/a.hcl", "two")
		check(t, os.Symlink(next, s.folder+"/..data_tmp"))
		move(t, s.folder+"/..data_tmp", s.folder+"/..data")
		s.mustNotice(t, "the swap to "+next)
	}
}

func TestLinkToAnotherFolderIsFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := t.TempDir()
	s := newScene(t, "conf/a.hcl", "sink", func(d string) {
		put(t, elsewhere+"/a.hcl", "one")
		check(t, os.Symlink(elsewhere, d+"/conf"))
	})
	put(t, elsewhere+"/a.hcl", "two")
	s.mustNotice(t, "the change behind the link")

	other := t.TempDir()
	put(t, other+"/a.hcl", "three")
	check(t, os.Symlink(other, s.folder+"/new"))
	move(t, s.folder+"/new", s.folder+"/conf")
	s.mustNotice(t, "the change of the link")
}

func TestFolderMadeLaterIsWatchedFromThenOn(t *testing.T) {
	t.Parallel()
	s := newScene(t, "later/on/a.hcl", "sink", func(string) {})
	check(t, os.MkdirAll(s.folder+"/later/on", 0o700))
	put(t, s.file, "one")
	s.mustNotice(t, "the file in a new folder")
	put(t, s.file, "two")
	s.mustNotice(t, "its change")
}

func TestFolderReplacedByAnotherIsWatched(t *testing.T) {
	t.Parallel()
	s := newScene(t, "conf/a.hcl", "sink", func(d string) {
		check(t, os.Mkdir(d+"/conf", 0o700))
		put(t, d+"/conf/a.hcl", "one")
	})
	check(t, os.RemoveAll(s.folder+"/conf"))
	s.mustNotice(t, "the removal")
	check(t, os.Mkdir(s.folder+"/conf", 0o700))
	put(t, s.file, "two")
	s.mustNotice(t, "the file in the new folder")
}

func TestOtherFilesInTheFolderAreNoChange(t *testing.T) {
	t.Parallel()
	s := newScene(t, "a.hcl", "sink", func(d string) { put(t, d+"/a.hcl", "one") })
	put(t, s.folder+"/.a.hcl.swp", "x")
	put(t, s.folder+"/sink", "x")
	if _, err := os.ReadFile(s.file); err != nil {
		t.Fatal(err)
	}
	s.mustNotNotice(t, "a swap file, a sink, or reading")
}

func TestFolderOfConfigurationsCountsByItsHCLFiles(t *testing.T) {
	t.Parallel()
	s := newScene(t, "conf.d", "sink", func(d string) { check(t, os.Mkdir(d+"/conf.d", 0o700)) })
	put(t, s.file+"/readme", "x")
	s.mustNotNotice(t, "a file of another kind")
	put(t, s.file+"/b.hcl", "x")
	s.mustNotice(t, "a new configuration file")
}

func TestChangeThatNeverRestsIsNoticedNevertheless(t *testing.T) {
	t.Parallel()
	s := newScene(t, "a.hcl", "sink", func(d string) { put(t, d+"/a.hcl", "one") })
	stop := time.After(soonEnough)
	tick := time.NewTicker(quiet / 5)
	defer tick.Stop()
	put(t, s.file, "two")
	for i := 0; ; i++ {
		select {
		case <-tick.C:
			put(t, s.folder+"/noise", string(rune('a'+i%26)))
		case <-s.changed:
			return
		case <-stop:
			t.Fatal("it was not noticed")
		}
	}
}

func TestEventsOfASinksFileArePassedOn(t *testing.T) {
	t.Parallel()
	s := newScene(t, "conf/a.hcl", "tokens/sink", func(d string) {
		check(t, os.Mkdir(d+"/tokens", 0o700))
		put(t, d+"/tokens/sink", "token")
	})
	check(t, os.Remove(s.folder+"/tokens/sink"))
	select {
	case path := <-s.touched:
		if d := cmp.Diff(s.folder+"/tokens/sink", path); d != "" {
			t.Error(d)
		}
	case <-time.After(soonEnough):
		t.Error("the removal was not passed on")
	}
}

// The kernel keeps a limited number of events. What comes after those is lost, while the
// watcher is busy with a reload.
func TestWhatHappensAfterTheQueueHasOverflowedIsNoticed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file, sink := filepath.Join(folder, "a.hcl"), filepath.Join(folder, "sink")
	put(t, file, "one")
	put(t, sink, "token")
	changed, touched := make(chan struct{}, 100), make(chan string, 100)
	w := New(Reports{Changed: func() { changed <- struct{}{} }, Touched: func(p string) { touched <- p }, Blind: func(err error) { t.Error(err) }})
	w.Watch(List{Files: []string{file}, Sinks: []string{sink}}, time.Now().Add(time.Hour))
	fillQueue(t, folder)
	check(t, os.Remove(sink))
	put(t, file, "two")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	late := time.After(soonEnough)
	for changes, touches := 0, 0; changes == 0 || touches == 0; {
		select {
		case <-changed:
			changes++
		case <-touched:
			touches++
		case <-late:
			t.Fatalf("%d changes and %d events of the sink were noticed", changes, touches)
		}
	}
}

// fillQueue has more events happen in the folder than the kernel keeps.
func fillQueue(t *testing.T, folder string) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	check(t, err)
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(t, err)
	if most > 1<<17 {
		t.Skipf("the kernel keeps %d events here", most)
	}
	one, other := filepath.Join(folder, ".tokenagent.1"), filepath.Join(folder, ".tokenagent.2")
	put(t, one, "")
	for range most { // two events each; what package fsnotify has read is not in the queue
		move(t, one, other)
		one, other = other, one
	}
}

func TestFileChangedWhileItWasReadIsReadAgain(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "a.hcl")
	began := time.Now()
	put(t, file, "one")
	var changed int
	w := New(Reports{Changed: func() { changed++ }})
	w.Watch(List{Files: []string{file}}, began)
	w.look()
	w.look()
	if changed != 1 {
		t.Errorf("changed was called %d times", changed)
	}
}

func TestWithoutInotifyTheLookRemains(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.hcl")
	put(t, file, "one")
	var changed int
	w := &Watcher{reports: Reports{Changed: func() { changed++ }}}
	w.Watch(List{Files: []string{file}}, time.Now().Add(time.Hour))
	put(t, file, "longer")
	w.look()
	if changed != 1 {
		t.Errorf("changed was called %d times", changed)
	}
}

var check, put, move = hosttest.Check, hosttest.Put, hosttest.Move

func TestAFileThatASourceFollowsIsToldOfAndIsNoReasonToLoad(t *testing.T) {
	t.Parallel()
	var upstream string
	s := newScene(t, "tokenagent.hcl", "token", func(folder string) {
		upstream = filepath.Join(folder, "upstream")
		check(t, os.MkdirAll(filepath.Join(upstream, "one"), 0o700))
		put(t, filepath.Join(folder, "tokenagent.hcl"), "one")
		put(t, filepath.Join(upstream, "one/token"), "one") // a projected volume
		check(t, os.Symlink("one", filepath.Join(upstream, "..data")))
		check(t, os.Symlink("..data/token", filepath.Join(upstream, "token")))
	})
	check(t, os.Mkdir(filepath.Join(upstream, "two"), 0o700))
	put(t, filepath.Join(upstream, "two/token"), "two")
	check(t, os.Symlink("two", filepath.Join(upstream, "..tmp")))
	move(t, filepath.Join(upstream, "..tmp"), filepath.Join(upstream, "..data"))
	select {
	case path := <-s.touched:
		if path != filepath.Join(upstream, "token") {
			t.Errorf("told of %s", path)
		}
	case <-time.After(soonEnough):
		t.Error("nothing was told")
	}
	s.mustNotNotice(t, "a file that a source follows")
}

func TestThatInotifyIsExhaustedIsReportedOnce(t *testing.T) {
	t.Parallel()
	var reported []error
	w := &Watcher{reports: Reports{Blind: func(err error) { reported = append(reported, err) }}}
	w.reportBlind(os.ErrInvalid)
	w.reportBlind(os.ErrInvalid)
	if len(reported) != 1 {
		t.Errorf("reported %v", reported)
	}
}
