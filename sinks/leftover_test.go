package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

func TestALeftoverIsKnownAndRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	s := fine(t, pathLine(path))
	put(t, s, token("abc", time.Hour), true)
	leftover := Leftover(agent.Record{Name: path, Mark: s.mark()}).Sink.(*file)
	if d, err := leftover.Adopt(t.Context(), s.mark()); d != "" || err != nil {
		t.Fatalf("Adopt says %q, %v", d, err)
	}
	must(t, leftover.Remove(t.Context()))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestALeftoverOfAnotherUserIsKnownAndRemoved(t *testing.T) {
	path := filepath.Join(home(t, 54321), "token")
	s := fine(t, pathLine(path)+"owner = \"54321\"\ngroup = \"54321\"")
	put(t, s, token("abc", time.Hour), true)
	leftover := Leftover(agent.Record{Name: path, Mark: s.mark()}).Sink.(*file)
	if d, err := leftover.Adopt(t.Context(), s.mark()); d != "" || err != nil {
		t.Fatalf("Adopt says %q, %v", d, err)
	}
	must(t, leftover.Remove(t.Context()))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestForeignRecordsMakeNoLeftover(t *testing.T) {
	for _, r := range []agent.Record{
		{Name: "/x/token", Mark: json.RawMessage(`"text"`)},
		{Name: "relative", Mark: json.RawMessage(`{}`)},
		{Name: "/", Mark: json.RawMessage(`{}`)},
	} {
		if s := Leftover(r); s.Sink != nil {
			t.Errorf("of %+v comes %+v", r, s)
		}
	}
}

// other is a sink that is no file.
type other struct{}

func (other) Put(context.Context, agent.Token) (agent.Written, error) { return agent.Written{}, nil }

func TestSweepVisitsTheFolderOfEverySink(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	all := []agent.Target{{Sink: other{}}}
	for _, path := range []string{one + "/a", one + "/b", two + "/a"} {
		all = append(all, fine(t, pathLine(path)).target())
	}
	leave := func(name string) string {
		path := name + ".0123456789abcdef.tmp"
		must(t, os.WriteFile(path, nil, 0o600))
		return path
	}
	want := []string{leave(one + "/.tokenagent.a"), leave(one + "/.tokenagent.b"), leave(two + "/.tokenagent.a")}
	leave(two + "/.tokenagent.b")               // of another agent
	for _, alone := range []bool{false, true} { // without the lock of its state folder another agent may write them
		removed, err := Sweep(t.Context(), all, alone)
		must(t, err)
		if alone && !slices.Equal(removed, want) || !alone && len(removed) > 0 {
			t.Errorf("alone %v: removed %q, want %q", alone, removed, want)
		}
	}
}

func TestAFolderThatHangsKeepsNoOtherFromBeingSwept(t *testing.T) {
	t.Parallel()
	hung, healthy := hang(t), t.TempDir()
	var all []agent.Target
	for _, dir := range []string{hung, healthy} {
		all = append(all, (&file{safe: safefile.New(safefile.Target{Path: dir + "/token", Owner: host.Self()})}).target())
	}
	for _, want := range []string{"it does not answer", "it still does not answer"} {
		left := healthy + "/.tokenagent.token.0123456789abcdef.tmp"
		must(t, os.WriteFile(left, nil, 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		removed, err := Sweep(ctx, all, true)
		if !slices.Equal(removed, []string{left}) || err == nil || !strings.Contains(err.Error(), hung+": "+want) {
			t.Errorf("removed %q, and it says %v, want %q", removed, err, want)
		}
	}
}
