package state

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var records = []agent.Record{
	{Token: "a", Name: "/t/a", Digest: "d", Issued: noon, Expires: noon.Add(time.Hour), Mark: []byte(`{"inode":1}`)},
	{Token: `b["x"]`, Name: "/t/b", Issued: noon, Delete: true, Mark: []byte(`{}`)},
}

func open(t *testing.T, dir string) *State {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRecordsAndKeyOutliveTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	s := open(t, dir)
	if len(s.Recall()) != 0 || len(s.DigestKey()) != 32 {
		t.Errorf("a new folder has %d records and a key of %d bytes", len(s.Recall()), len(s.DigestKey()))
	}
	if err := s.Keep(records); err != nil {
		t.Fatal(err)
	}
	key := s.DigestKey()
	s.Close()
	again := open(t, dir)
	if d := cmp.Diff(records, again.Recall()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(key, again.DigestKey()); d != "" || len(again.Warnings()) != 0 {
		t.Error(d, again.Warnings())
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, recordsName: 0o600, keyName: 0o600, lockName: 0o600} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v", name, st.Mode(), err)
		}
	}
}

func TestOneAgentAtATime(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	_, err := Open(dir)
	locked, ok := errors.AsType[*Locked](err)
	if !ok || locked.PID != os.Getpid() || !strings.Contains(err.Error(), fmt.Sprintf("another agent (process %d) runs with it", os.Getpid())) || !strings.Contains(err.Error(), "name or state_dir") {
		t.Fatalf("a second one: %v", err)
	}
	if got := Read(dir); got.DigestKey() == nil {
		t.Error("who only looks sees nothing")
	}
	first.Close()
	open(t, dir)
}

func TestWhatCannotBeUsedIsSetAside(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		spoil func(path string) error
		says  string
	}{
		"corrupt":          {recordsName, overwrite(`{"version":1,"rec` + "\n"), "not a line of records"},
		"NUL bytes":        {recordsName, overwrite(strings.Repeat("\x00", 100)), "it is empty"},
		"empty":            {recordsName, overwrite(""), "it is empty"},
		"of the future":    {recordsName, overwrite(`{"version":99}` + "\n"), "version 99"},
		"others' to write": {recordsName, func(p string) error { return os.Chmod(p, 0o666) }, "others may write"},
		"a FIFO": {recordsName, func(p string) error {
			return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600))
		}, "not a regular file"},
		"a directory":     {recordsName, func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, "not a regular file"},
		"old and corrupt": {oldRecords, overwrite(`{"version":1,"rec`), "not a file of records"},
		"old, of another": {oldRecords, overwrite(`{"version":99}`), "version 99"},
		"hooks of nobody": {oldHooks, overwrite("x\n"), "not a line of hooks"},
		"begun by nobody": {begunName, overwrite("x\n"), "not a line of writes"},
		"a short key":     {keyName, overwrite("short"), "5 bytes"},
	} {
		dir := t.TempDir()
		s := open(t, dir)
		must(t, s.Keep(records))
		s.Close()
		path := filepath.Join(dir, c.file)
		must(t, c.spoil(path))
		again := open(t, dir)
		if w := strings.Join(again.Warnings(), "\n"); !strings.Contains(w, c.says) || strings.Contains(w, "cannot be written") || strings.Contains(w, "not be set aside") {
			t.Errorf("%s: warnings %q", name, w)
		}
		if _, err := os.Lstat(path + asideSuffix); err != nil {
			t.Errorf("%s: not set aside: %v", name, err)
		}
		if err := again.Keep(records); err != nil || len(again.DigestKey()) != 32 {
			t.Errorf("%s: of no use afterwards: %v", name, err)
		}
		again.Close()
		third := open(t, dir)
		if w := third.Warnings(); len(w) > 0 {
			t.Errorf("%s: warned of again: %q", name, w)
		}
		if d := cmp.Diff(records, third.Recall()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		third.Close()
	}
}

// overwrite returns what puts the content in the place of a file's.
func overwrite(content string) func(path string) error {
	return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
}

func TestRecordsOfAnotherUserAreSetAside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, recordsName), []byte(`{"version":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, recordsName), 54321, 54321); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if w := strings.Join(s.Warnings(), ""); !strings.Contains(w, "uid 54321") {
		t.Errorf("warnings %q", w)
	}
}

func TestFolderThatOthersMayChangeIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "above", "state")
	open(t, dir).Close()
	for _, way := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(filepath.Dir(dir)))} {
		must(t, os.Chmod(way, 0o755)) // else nobody gets there
	}
	for _, odd := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(odd, 0o777); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir)
		if err == nil { // an ordinary user is only warned
			err = errors.New(strings.Join(s.Warnings(), ""))
			s.Close()
		} else if os.Geteuid() != 0 {
			t.Error(err)
		}
		if !strings.Contains(err.Error(), "chmod go-w "+odd) {
			t.Error(err)
		}
		must(t, os.Chmod(odd, 0o755))
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(filepath.Dir(dir), 54321, 54321); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir); err == nil || !strings.Contains(err.Error(), "its owner can change it; chown root "+filepath.Dir(dir)) {
		t.Errorf("%v, %v", s, err)
	}
}

func TestRootMakesNoFolderWhereAnotherUserLeads(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("others than root make folders only where they may")
	}
	theirs, victim := filepath.Join(t.TempDir(), "theirs"), t.TempDir()
	if err := errors.Join(os.Mkdir(theirs, 0o755), os.Symlink(victim, filepath.Join(theirs, "link")), os.Chown(theirs, 54321, 54321)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(theirs, "link", "new", "state")
	for name, open := range map[string]func() (*State, error){
		"Open":     func() (*State, error) { return Open(dir) },
		"OpenHome": func() (*State, error) { return OpenHome(Home{Base: dir, Name: "x", Paths: []string{"/x"}}) },
	} {
		if s, err := open(); err == nil || !strings.Contains(err.Error(), "its owner can change it; chown root "+theirs) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if made, err := os.ReadDir(victim); err != nil || len(made) > 0 {
			t.Errorf("%s has made %v, %v", name, made, err)
		}
	}
}

func TestRelativeFolderIsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	if s, err := Open("rel"); err == nil || !strings.Contains(err.Error(), "relative") {
		t.Errorf("%v, %v", s, err)
	}
}

func TestKeepFollowsNoLink(t *testing.T) {
	dir, precious := t.TempDir(), filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	for _, name := range []string{recordsName + ".tmp", recordsName, begunName, begunName + ".tmp"} {
		if err := os.Symlink(precious, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep(records); err != nil {
		t.Error(err)
	}
	if err := s.Begin(t.Context(), begins(hooks.OnFirst, "a")); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(precious); string(text) != "precious" {
		t.Errorf("it is now %q", text)
	}
}

func TestReadLooksWithoutTouching(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if s := Read(dir); s.Recall() != nil || s.DigestKey() != nil {
		t.Error("something is there")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
}

// begins is what the agent begins before a write that a hook of the event is to
// hear of.
func begins(event hooks.Event, token string) agent.Record {
	r := unwritten(event, token)
	r.Hooks = r.Hooks.Written(event == hooks.OnFirst, noon)
	return r
}

// unwritten is the record of its file before.
func unwritten(event hooks.Event, token string) agent.Record {
	return agent.Record{Token: token, Name: "/t/" + token, Hooks: &hooks.Level{Heard: []hooks.Heard{{Event: event, Key: "k"}}}}
}

// due are the hooks that the next agent would run: "on_first a".
func due(all []agent.Record) (due []string) {
	for _, r := range all {
		for _, h := range append(r.Hooks.Due(), r.Failures.Due()...) {
			due = append(due, string(h.Event)+" "+r.Token)
		}
	}
	return due
}

func TestWhatHasBegunOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Begin(t.Context(), begins(hooks.OnFirst, "a"), begins(hooks.OnChange, "b"), begins(hooks.OnChange, "b")))
	s.Close()
	add(t, filepath.Join(dir, begunName), `{"token":"c","pa`) // a crash in the middle of a line
	s = open(t, dir)
	if d := cmp.Diff([]string{"on_first a", "on_change b"}, due(s.Recall())); d != "" || len(s.Warnings()) > 0 {
		t.Error(d)
	}
	must(t, s.Begin(t.Context(), begins(hooks.OnFirst, "c")))
	s.Close()
	s = open(t, dir)
	all := s.Recall()
	if d := cmp.Diff([]string{"on_first a", "on_change b", "on_first c"}, due(all)); d != "" || len(s.Warnings()) > 0 {
		t.Error("after the cut line: ", d)
	}
	must(t, s.Keep(all))
	if text, err := os.ReadFile(filepath.Join(dir, begunName)); err != nil || len(text) > 0 {
		t.Errorf("when the records say as much the file holds %q, %v", text, err)
	}
	s.Close()
	reread(t, dir, all)
}

// Records are collected, and then written beside the loop: a write may begin meanwhile.
func TestRecordsThatAreOlderTakeNothingAwayThatHasBegun(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before, other := unwritten(hooks.OnChange, "a"), recordOf("b", 0)
	must(t, s.Begin(t.Context(), begins(hooks.OnChange, "a"), begins(hooks.OnFirst, "new")))
	for _, all := range [][]agent.Record{{before, other}, {before, other}} {
		must(t, s.Keep(all))
		if d := cmp.Diff("on_change a", due(Read(dir).Recall())[0]); d != "" {
			t.Error(d)
		}
	}
	if d := cmp.Diff([]string{"on_change a"}, due(s.begun.inOrder())); d != "" {
		t.Error("of a file that no definition has any more: ", d)
	}
	heard := begins(hooks.OnChange, "a")
	heard.Hooks.Heard[0].Number = 1
	must(t, s.Keep([]agent.Record{heard, other}))
	s.Close()
	reread(t, dir, []agent.Record{heard, other})
}

// A reload can give the file to a token of another name, whose writes are counted from one.
func TestWhatHasBegunForAFormerTokenOfTheFileCountsNoMore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	former, now := begins(hooks.OnChange, "former"), begins(hooks.OnChange, "now")
	former.Name, former.Hooks.Write = now.Name, 5
	must(t, s.Begin(t.Context(), former))
	must(t, s.Keep([]agent.Record{former}))
	former.Hooks = former.Hooks.Written(false, noon)
	must(t, s.Begin(t.Context(), former))
	must(t, s.Begin(t.Context(), now))
	found := Read(dir).Recall()
	if d := cmp.Diff(now.Hooks, found[0].Hooks); d != "" || len(found) != 1 {
		t.Error("a write that begins is not recorded: ", d)
	}
	must(t, s.Keep([]agent.Record{now}))
	if n := mustStat(t, filepath.Join(dir, begunName)).Size(); n > 0 {
		t.Errorf("when the records say as much %d bytes are left", n)
	}
	former.Name = "/t/other"
	other := unwritten(hooks.OnChange, "other")
	must(t, s.Begin(t.Context(), former))
	for range 3 {
		must(t, s.Keep([]agent.Record{now, other}))
	}
	if left := s.begun.inOrder(); len(left) > 0 {
		t.Errorf("of a token that is gone %v is left", left)
	}
}

func TestTheHooksOfVersion01RunOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Keep([]agent.Record{recordOf("a", 0), recordOf("b", 0)}))
	s.Close()
	line := func(event, token, more string) string {
		return fmt.Sprintf(`{"event":%q,"notice":{"token":%q,"path":"/t/%s","expires":"2026-11-22T12:00:00Z"}%s}`+"\n", event, token, token, more)
	}
	left := line("on_first", "a", "") + line("on_change", "a", "") + line("on_change", "b", "") + line("on_failure", "c", "") +
		line("on_change", "b", `,"settled":true`) + `{"event":"on_ch`
	must(t, overwrite(left)(filepath.Join(dir, oldHooks)))
	want := []string{"on_first a", "on_change a", "on_failure c"}
	if d := cmp.Diff(want, due(Read(dir).Recall())); d != "" {
		t.Error("for those who look: ", d)
	}
	for range 2 {
		s = open(t, dir)
		if d := cmp.Diff(want, due(s.Recall())); d != "" || len(s.Warnings()) > 0 {
			t.Error(d)
		}
		if _, err := os.Lstat(filepath.Join(dir, oldHooks)); err == nil {
			t.Error("the file is still there")
		}
		s.Close()
	}
	command := []hooks.Hook{{Event: hooks.OnFirst, Key: "k"}, {Event: hooks.OnChange, Key: "k"}}
	for _, r := range Read(dir).Recall() {
		if got := len(hooks.File(hooks.Notice{}, command, r.Hooks).Level().Due()); got != strings.Count(left, `"token":"`+r.Token+`"`) && r.Token == "a" {
			t.Errorf("%d hooks of the definition are due for %s", got, r.Token)
		}
	}
}

func TestAHookOfVersion01ThatHasRunForAnOlderTokenIsPendingForTheNewerOne(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	line := func(hour int, more string) string {
		return fmt.Sprintf(`{"event":"on_change","notice":{"token":"a","path":"/t/a","expires":"2026-11-22T%d:00:00Z"}%s}`+"\n", hour, more)
	}
	left := line(12, "") + line(13, "") + line(12, `,"settled":true`) // written again while the hook ran
	must(t, overwrite(left)(filepath.Join(dir, oldHooks)))
	s := open(t, dir)
	defer s.Close()
	if d := cmp.Diff([]string{"on_change a"}, due(s.Recall())); d != "" {
		t.Error(d)
	}
}

func add(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

// An agent that is killed as it starts a program leaves the lock to the child, until
// that begins the program.
func TestTheLockOfAKilledAgentIsWaitedFor(t *testing.T) {
	gone := exec.Command("true")
	must(t, gone.Run())
	for name, c := range map[string]struct {
		pid    int           // in the lock
		held   time.Duration // by the child
		took   time.Duration // at least
		locked bool
	}{
		"a child of it begins its program": {gone.Process.Pid, time.Second, time.Second, false},
		"a child of it never does":         {gone.Process.Pid, time.Hour, lockPatience, true},
		"an agent runs":                    {os.Getpid(), time.Hour, 0, true},
		"one has not written its number":   {0, time.Hour, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				lock, err := takeLock(dir)
				must(t, err)
				must(t, lock.Truncate(0))
				if c.pid > 0 {
					_, err = lock.WriteAt(fmt.Append(nil, c.pid), 0)
					must(t, err)
				}
				child := time.AfterFunc(c.held, func() { lock.Close() })
				defer child.Stop()
				defer lock.Close()
				began := time.Now()
				got, err := takeLock(dir)
				if took := time.Since(began).Truncate(time.Second); took != c.took || isLocked(err) != c.locked {
					t.Errorf("after %v: %v", took, err)
				}
				got.Close()
			})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzParseOldHook(f *testing.F) {
	f.Add([]byte(`{"event":"on_first","notice":{"token":"a","path":"/t"}}`))
	f.Add([]byte(`{"event":"on_first","notice":{"token":"a","path":"/t"},"settled":true}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if l, err := parseOldHook(line); err == nil && (l.Event == "" || l.Notice.Token == "") {
			t.Error("a hook of nothing")
		}
	})
}

func FuzzParseRecords(f *testing.F) {
	f.Add([]byte(`{"version":1,"records":[{"token":"a","path":"/t","mark":{}}]}`))
	f.Add([]byte(`{"token":"a","path":"/t","mark":{}}`))
	f.Add([]byte(`{"path":"/t","gone":true}`))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, text []byte) {
		if all, err := parseOld(text); err != nil && all != nil {
			t.Error("records together with an error")
		}
		if l, err := parseLine(text); err == nil && l.Version <= 0 && (l.Name == "" || !l.Gone && ofNothing(l.Record)) {
			t.Error("a record of nothing")
		}
	})
}
