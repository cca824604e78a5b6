package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

// recordOf is a record that differs with n.
func recordOf(name string, n int) agent.Record {
	return agent.Record{Token: name, Name: "/t/" + name, Digest: "d", Issued: noon.Add(time.Duration(n) * time.Minute), Mark: []byte(`{}`)}
}

// reread demands what the next agent finds, and no warning.
func reread(t *testing.T, dir string, want []agent.Record) {
	t.Helper()
	s := open(t, dir)
	defer s.Close()
	if d := cmp.Diff(want, s.Recall()); d != "" {
		t.Error(d)
	}
	if w := s.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestKeepAppendsOnlyWhatChanged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	path := filepath.Join(dir, recordsName)
	size := func() int64 { st, err := os.Stat(path); must(t, err); return st.Size() }
	must(t, s.Keep([]agent.Record{recordOf("a", 0), recordOf("b", 0), recordOf("c", 0)}))
	first, whole := mustStat(t, path), size()
	must(t, s.Keep([]agent.Record{recordOf("a", 0), recordOf("b", 0), recordOf("c", 0)}))
	if size() != whole {
		t.Error("it grows though nothing changed")
	}
	last := []agent.Record{recordOf("a", 0), recordOf("b", 1), recordOf("d", 0)}
	must(t, s.Keep(last))
	if grew := size() - whole; grew > whole || !os.SameFile(first, mustStat(t, path)) {
		t.Errorf("three lines make %d bytes of %d", grew, whole)
	}
	s.Close()
	reread(t, dir, last)
	s = open(t, dir) // what was read is known, and not written again
	before := size()
	must(t, s.Keep(last))
	if size() != before {
		t.Error("an unchanged record is written again after a restart")
	}
}

func mustStat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	st, err := os.Lstat(path)
	must(t, err)
	return st
}

func TestAJournalThatIsTooLongIsWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var all []agent.Record
	longest := int64(0)
	for n := range 400 {
		all = []agent.Record{recordOf("a", n), recordOf("b", 0)}
		must(t, s.Keep(all))
		longest = max(longest, mustStat(t, filepath.Join(dir, recordsName)).Size())
	}
	if one := int64(len(`{"token":"a","path":"/t/a","digest":"d","issued":"2026-11-22T12:00:00Z","mark":{}}`)); longest > 2*spareLines*one {
		t.Errorf("it grew to %d bytes", longest)
	}
	s.Close()
	reread(t, dir, all)
}

func TestManyRecordsAreWrittenWithoutACopyInMemory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var all []agent.Record
	for n := range 3000 {
		all = append(all, recordOf(fmt.Sprint(n, strings.Repeat("x", 200)), 0)) // of more than 400 bytes
	}
	must(t, s.Keep(all))
	for i := range all {
		all[i].Issued = all[i].Issued.Add(time.Hour)
	}
	must(t, s.Keep(all)) // more than is appended at once
	s.Close()
	reread(t, dir, all)
}

func TestWhatIsGoodInASpoiledJournalIsKept(t *testing.T) {
	good := []agent.Record{recordOf("a", 0), recordOf("b", 0)}
	for name, c := range map[string]struct {
		spoil  func(lines []string) []string // of head, a, b, with their ends
		want   []agent.Record
		silent bool // a crash does that
	}{
		"a line cut off":      {func(l []string) []string { return append(l, l[1][:20]) }, good, true},
		"NUL bytes at end":    {func(l []string) []string { return append(l, strings.Repeat("\x00", 4000)) }, good, true},
		"NUL bytes between":   {func(l []string) []string { return slices.Insert(l, 2, strings.Repeat("\x00", 4000)) }, good, true},
		"garbage between":     {func(l []string) []string { return slices.Insert(l, 2, "\xff\x00garbage\n") }, good, false},
		"half a line between": {func(l []string) []string { return slices.Insert(l, 2, l[1][:20]) }, good[:1], false},
		"a very long line":    {func(l []string) []string { return slices.Insert(l, 2, strings.Repeat("x", 3<<20)+"\n") }, good, false},
		"a line of nothing":   {func(l []string) []string { return slices.Insert(l, 2, "{}\n") }, good, false},
		"no head":             {func(l []string) []string { return l[1:] }, good, true},
		"a line twice":        {func(l []string) []string { return append(l, l[1]) }, good, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			must(t, s.Keep(good))
			s.Close()
			path := filepath.Join(dir, recordsName)
			text, err := os.ReadFile(path)
			must(t, err)
			must(t, overwrite(strings.Join(c.spoil(slices.Collect(strings.Lines(string(text)))), ""))(path))

			s = open(t, dir)
			if d := cmp.Diff(c.want, s.Recall()); d != "" {
				t.Error(d)
			}
			if w := s.Warnings(); (len(w) == 0) != c.silent {
				t.Errorf("warnings %q", w)
			}
			must(t, s.Keep(append(slices.Clone(c.want), recordOf("c", 0))))
			s.Close()
			reread(t, dir, append(slices.Clone(c.want), recordOf("c", 0)))
		})
	}
}

func TestRecordsOfVersion01AreTakenOver(t *testing.T) {
	dir := t.TempDir()
	old := `{"version":1,"records":[{"token":"a","path":"/t/a","digest":"d","issued":"2026-11-22T12:01:00Z","mark":{}}]}`
	must(t, overwrite(old)(filepath.Join(dir, oldRecords)))
	must(t, overwrite("")(filepath.Join(dir, oldHooks)))
	reread(t, dir, []agent.Record{recordOf("a", 1)})
	for _, name := range []string{oldRecords, oldHooks} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s still lies there", name)
		}
	}
	reread(t, dir, []agent.Record{recordOf("a", 1)})

	s := open(t, dir) // version 0.1 runs again for a while
	must(t, s.Keep([]agent.Record{recordOf("a", 2), recordOf("b", 0)}))
	s.Close()
	must(t, overwrite(strings.Replace(old, "12:01", "12:09", 1))(filepath.Join(dir, oldRecords)))
	reread(t, dir, []agent.Record{recordOf("a", 9), recordOf("b", 0)})
	must(t, overwrite(old)(filepath.Join(dir, oldRecords)))
	reread(t, dir, []agent.Record{recordOf("a", 9), recordOf("b", 0)})
}

func TestWritesThatBeginTogetherShareTheirSyncs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	const many = 200
	var begun sync.WaitGroup
	for n := range many {
		begun.Go(func() {
			if err := s.Begin(t.Context(), begins(hooks.OnChange, fmt.Sprint(n))); err != nil {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	if s.begun.last > many/2 {
		t.Errorf("%d writes and syncs for %d", s.begun.last, many)
	}
	s.Close()
	if n := len(due(Read(dir).Recall())); n != many {
		t.Errorf("the next agent finds %d", n)
	}
}

func TestTheJournalOfWhatHasBegunStaysShort(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Begin(t.Context(), begins(hooks.OnFirst, "pending")))
	longest, r := int64(0), unwritten(hooks.OnChange, "a")
	for range 300 {
		r.Hooks = r.Hooks.Written(false, noon)
		must(t, s.Begin(t.Context(), r))
		must(t, s.Keep([]agent.Record{r, unwritten(hooks.OnFirst, "pending")}))
		longest = max(longest, mustStat(t, filepath.Join(dir, begunName)).Size())
	}
	if longest > mostBegun+longBegun {
		t.Errorf("it grew to %d bytes", longest)
	}
	s.Close()
	if d := cmp.Diff([]string{"on_change a", "on_first pending"}, due(Read(dir).Recall())); d != "" {
		t.Error(d)
	}
}

func TestAStateFolderThatIsDeletedIsMadeAgain(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"the folder": os.RemoveAll,
		"renamed":    func(dir string) error { return os.Rename(dir, dir+".old") },
		"the lock":   removed(lockName),
		"the key":    removed(keyName),
		"records":    removed(recordsName),
		"begun":      removed(begunName),
		"replaced": func(dir string) error {
			return errors.Join(removed(recordsName)(dir), overwrite("somebody else's")(filepath.Join(dir, recordsName)))
		},
		"a key of another": func(dir string) error {
			return overwrite(strings.Repeat("k", keyBytes))(filepath.Join(dir, keyName))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "state")
			s := open(t, dir)
			before, hook := append(slices.Clone(records), unwritten(hooks.OnFirst, "hooked")), begins(hooks.OnFirst, "hooked")
			must(t, s.Begin(t.Context(), hook))
			must(t, s.Keep(before))
			if !s.Check() || len(s.Warnings()) != 0 {
				t.Fatal("what is there is not found")
			}
			must(t, lose(dir))
			if !s.Check() {
				must(t, s.Keep(before))
			}
			if w := s.Warnings(); len(w) > 1 || len(w) == 0 && name != "begun" && name != "the key" && name != "a key of another" {
				t.Errorf("warnings %q", w)
			}
			if _, err := Open(dir); err == nil {
				t.Error("a second agent may run")
			}
			if st := mustStat(t, dir); st.Mode().Perm() != 0o700 {
				t.Errorf("mode %v", st.Mode())
			}
			key := s.DigestKey()
			s.Close()
			again := open(t, dir)
			if d := cmp.Diff(key, again.DigestKey()); d != "" {
				t.Error(d)
			}
			again.Close()
			reread(t, dir, append(slices.Clone(records), hook))
		})
	}
}

func removed(name string) func(dir string) error {
	return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
}

func TestAHookIsPendingAlsoInAFolderThatWasDeleted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	must(t, s.Begin(t.Context(), begins(hooks.OnFirst, "a")))
	must(t, os.RemoveAll(dir))
	must(t, s.Begin(t.Context(), begins(hooks.OnFirst, "b")))
	if d := cmp.Diff([]string{"on_first a", "on_first b"}, due(Read(dir).Recall())); d != "" {
		t.Error(d)
	}
}

func TestTheFolderOfAnotherAgentIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := open(t, dir)
	must(t, first.Keep(records[:1]))
	must(t, os.RemoveAll(dir))
	second := open(t, dir) // before the first one notices
	must(t, second.Keep(records[1:]))
	if _, ok := errors.AsType[*Locked](first.Keep(records[:1])); !ok || first.Check() {
		t.Error("two agents work with one folder")
	}
	if err := first.Begin(t.Context(), begins(hooks.OnFirst, "a")); err == nil {
		t.Error("a hook is written to the folder of another agent")
	}
	if d := cmp.Diff(records[1:], Read(dir).Recall()); d != "" {
		t.Error(d)
	}
	second.Close()
	must(t, first.Keep(records[:1]))
	if d := cmp.Diff(withHooks(records[0], agent.Record{}, begins(hooks.OnFirst, "a")), Read(dir).Recall()[0]); d != "" {
		t.Error("when the other one has ended: ", d)
	}
}

// smallDisk mounts a tmpfs with these options, for a state folder.
func smallDisk(t *testing.T, options string) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,"+options); err != nil {
		if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
			t.Fatal(err)
		}
		t.Skip("a tmpfs cannot be mounted here:", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestAFullDiskSpoilsNothing(t *testing.T) {
	dir := smallDisk(t, "size=64k")
	s := open(t, dir)
	hook := begins(hooks.OnFirst, "hooked")
	must(t, s.Begin(t.Context(), hook))
	must(t, s.Keep(records))
	full := filepath.Join(dir, "full")
	if err := os.WriteFile(full, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk takes too much: %v", err)
	}
	var many []agent.Record
	for n := range 300 { // more than fits into the pages that the files have
		many = append(many, recordOf(fmt.Sprint(n), 0))
	}
	if err := s.Keep(many); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the full disk takes records: %v", err)
	}
	many = append(many, unwritten(hooks.OnFirst, "hooked"))
	for n := range 100 {
		if err := s.Begin(t.Context(), begins(hooks.OnChange, fmt.Sprint("later", n))); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Error(err)
		}
	}
	if d := cmp.Diff(append(slices.Clone(records), hook), Read(dir).Recall()[:3]); d != "" {
		t.Error("while it is full: ", d)
	}
	must(t, os.Remove(full))
	must(t, s.Keep(many))
	left := Read(dir).Recall()
	if n := len(due(left)); n != 101 {
		t.Errorf("when there is room again %d hooks are pending", n)
	}
	s.Close()
	many[300] = hook
	reread(t, dir, append(many, left[301:]...))
}

func TestAFolderOnAFullDiskIsUsedWhenThereIsRoom(t *testing.T) {
	dir := smallDisk(t, "size=64k")
	full := filepath.Join(dir, "full")
	if err := os.WriteFile(full, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk takes too much: %v", err)
	}
	h := Home{Base: dir, Paths: []string{"/c"}, Typed: []string{"/c"}}
	s, err := OpenHome(h)
	must(t, err)
	defer s.Close()
	must(t, s.Claim(h, Names{}))
	if s.Check() || len(s.Warnings()) != 2 {
		t.Errorf("while it is full, Check finds all in place, or the warnings are %q", s.Warnings())
	}
	must(t, os.Remove(full))
	must(t, s.Keep(records))
	if !s.Check() {
		t.Error("when there is room, something is still missing")
	}
	if !ownerOf(dir).is(h) || string(KeyOf(h)) != string(s.DigestKey()) {
		t.Error("the key and the owner were not written when there was room")
	}
}

func TestWithoutInodesWhatIsThereGrows(t *testing.T) {
	dir := smallDisk(t, "size=1m,nr_inodes=8")
	s := open(t, dir)
	must(t, s.Begin(t.Context(), begins(hooks.OnFirst, "hooked")))
	must(t, s.Keep(append(slices.Clone(records), unwritten(hooks.OnFirst, "hooked"))))
	for n := 0; ; n++ {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600); err != nil {
			break
		}
	}
	must(t, s.Begin(t.Context(), begins(hooks.OnFirst, "b")))
	var last []agent.Record
	for n := range 2 * spareLines { // more lines than it takes to write the journal again
		last = []agent.Record{recordOf("a", n), unwritten(hooks.OnFirst, "b"), unwritten(hooks.OnFirst, "hooked")}
		must(t, s.Keep(last))
	}
	if n := len(due(Read(dir).Recall())); n != 2 {
		t.Errorf("%d hooks are pending", n)
	}
	s.Close()
	last[1], last[2] = begins(hooks.OnFirst, "b"), begins(hooks.OnFirst, "hooked")
	reread(t, dir, last)
}

// A write that hangs is one that waits for the folder's server, or until somebody
// who has frozen the file system thaws it.
func TestABeginningWaitsForAFolderThatHangsOnce(t *testing.T) {
	s := open(t, t.TempDir())
	hanging := make(chan struct{})
	s.begun.ready = func() error { <-hanging; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if err := s.Begin(ctx, begins(hooks.OnFirst, "hooked")); !errors.Is(err, errSilent) {
			t.Error(err)
		}
		ctx = t.Context() // the others do not wait at all
	}
	if err := s.Keep(records); !errors.Is(err, errSilent) {
		t.Error(err)
	}
	close(hanging)
	s.begun.flushes.Wait()
	must(t, s.Keep(append(slices.Clone(records), unwritten(hooks.OnFirst, "hooked"))))
	if d := cmp.Diff([]string{"on_first hooked"}, due(Read(s.dir).Recall())); d != "" {
		t.Error(d)
	}
}
