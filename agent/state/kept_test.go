package state

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

func TestEachFolderHasAKeyOfItsOwn(t *testing.T) {
	one, other := open(t, t.TempDir()).DigestKey(), open(t, t.TempDir()).DigestKey()
	if bytes.Equal(one, other) || bytes.Equal(one, make([]byte, keyBytes)) {
		t.Error("two folders have the same key, or it is not random")
	}
}

func TestEachChangeOfARecordIsAppendedOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	path, a := filepath.Join(dir, recordsName), recordOf("a", 0)
	for n, all := range [][]agent.Record{{a, recordOf("b", 0)}, {a, recordOf("b", 1)}, {a}, {a, recordOf("b", 1)}} {
		before := int64(0)
		if n > 0 {
			before = mustStat(t, path).Size()
		}
		must(t, s.Keep(all))
		after := mustStat(t, path).Size()
		must(t, s.Keep(all))
		if again := mustStat(t, path).Size(); after <= before || again != after {
			t.Errorf("change %d: %d bytes, %d, and again %d", n, before, after, again)
		}
	}
	s.Close()
	reread(t, dir, []agent.Record{a, recordOf("b", 1)})
}

func TestAJournalThatWasEmptiedBeginsAtItsBeginning(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	long := begins(hooks.OnChange, "a-long-name-that-is-longer-than-the-other")
	must(t, s.Begin(t.Context(), long))
	must(t, s.Keep([]agent.Record{long}))
	short := begins(hooks.OnChange, "b")
	must(t, s.Begin(t.Context(), short))
	text, err := os.ReadFile(filepath.Join(dir, begunName))
	must(t, err)
	if d := cmp.Diff(string(encode(short)), string(text)); d != "" {
		t.Error(d)
	}
}

func TestTheOwnerOfAFolderIsWrittenAgainAlsoAfterARestart(t *testing.T) {
	_, a, _ := homes(t)
	start(t, a, "a").Close()
	s := start(t, a, "a")
	must(t, os.Remove(filepath.Join(a.Dir(), ownerName)))
	if !s.Check() || !ownerOf(a.Dir()).is(a) {
		t.Error("the folder has no owner")
	}
}

func TestRecordsThatSayNothingOfHooksTakeOverWhatOthersSay(t *testing.T) {
	plain, hooked, own := recordOf("a", 0), begins(hooks.OnChange, "a"), begins(hooks.OnFirst, "b")
	others := []agent.Record{hooked, begins(hooks.OnChange, "b"), recordOf("c", 0), recordOf("c", 1)} // c was taken from two folders
	got := addMissing([]agent.Record{plain, own}, others)
	plain.Hooks = hooked.Hooks
	if d := cmp.Diff([]agent.Record{plain, own, recordOf("c", 0)}, got); d != "" {
		t.Error(d)
	}
}

func TestHooksOfVersion01AreNotedOnlyInRecordsOfThatVersion(t *testing.T) {
	due := []oldHook{
		{Event: hooks.OnChange, Notice: hooks.Notice{Token: "a", Path: "/t/a"}},
		{Event: hooks.OnFailure, Notice: hooks.Notice{Token: "b", Path: "/t/b"}},
		{Event: hooks.OnFailure, Notice: hooks.Notice{Token: "c"}},
	}
	newer := unwritten(hooks.OnFirst, "a")
	failed := recordOf("d", 0)
	failed.Failures = newer.Hooks
	due = append(due, oldHook{Event: hooks.OnFailure, Notice: hooks.Notice{Token: "d", Path: "/t/d"}})
	got := withOldHooks([]agent.Record{newer, recordOf("b", 0), failed}, due)
	want := recordOf("b", 0)
	want.Failures = &hooks.Level{Write: 1, Failure: 1, Heard: []hooks.Heard{{Event: hooks.OnFailure}}}
	if d := cmp.Diff([]agent.Record{newer, want, failed}, got); d != "" {
		t.Error(d)
	}
}
