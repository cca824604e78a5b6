package refresh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hold has the lock of the store until the test ends or releases it.
func hold(t testing.TB, s *Store) *Lock {
	t.Helper()
	l, err := s.Lock(t.Context())
	check(t, err)
	t.Cleanup(l.Release)
	return l
}

func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is not one line", err)
	}
}

// robot is a refresh token of which every member is set.
func robot(text string) Token {
	return Token{Text: agent.NewSecret(text), Issuer: "https://iam.example.org/", ClientID: "robot", From: FingerprintOf([]byte("first"))}
}

func TestWhatIsKeptIsReadBack(t *testing.T) {
	s := NewStore(filepath.Join(t.TempDir(), "state"), "cilogon")
	l := hold(t, s)
	if got, err := l.Read(); err != nil || !got.IsZero() {
		t.Errorf("an empty store has %v, %v", got, err)
	}
	want := robot("secret-refresh-token")
	check(t, l.Keep(want))
	got, err := s.Read()
	check(t, err)
	if !got.Same(want) || !got.From.Is([]byte("first")) || got.From.Is([]byte("second")) || got.Stored.IsZero() {
		t.Errorf("got %v", got)
	}
	if text := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, "secret-refresh") {
		t.Errorf("it shows itself: %s", text)
	}
}

// An answer may hold a refresh token of 16 KiB, of any visible characters.
func TestTheLongestTokenIsReadBack(t *testing.T) {
	const longest = 16382
	l := hold(t, NewStore(filepath.Join(t.TempDir(), "state"), "cilogon"))
	for _, c := range []string{"<", "&", `"`, `\`, "~"} {
		want := robot(strings.Repeat(c, longest))
		check(t, l.Keep(want))
		if got, err := l.Read(); err != nil || !got.Same(want) {
			t.Errorf("%d times %s: got another one, and %v", longest, c, err)
		}
	}
}

func TestOnlyTheAgentsUserGetsAtIt(t *testing.T) {
	s := NewStore(filepath.Join(t.TempDir(), "state"), "cilogon")
	check(t, hold(t, s).Keep(robot("one")))
	for path, want := range map[string]fs.FileMode{s.path: 0o600, s.lock: 0o600, filepath.Dir(s.path): 0o700 | fs.ModeDir} {
		info, err := os.Lstat(path)
		check(t, err)
		if info.Mode() != want {
			t.Errorf("%s has the mode %v, want %v", path, info.Mode(), want)
		}
	}
}

func TestEachSourceHasAFileOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	names := []string{"cilogon", "cilogon.json", "cilogon.lock", "cilogon.queue", "..", "a/b", "a%2Fb", "ä b"}
	for _, name := range names {
		if problem := CheckName(name); problem != "" {
			t.Errorf("%s: %s", name, problem)
		}
		check(t, hold(t, NewStore(dir, name)).Keep(robot(name)))
	}
	for _, name := range names {
		got, err := NewStore(dir, name).Read()
		check(t, err)
		if got.Text.Reveal() != name {
			t.Errorf("%s has the token of %s", name, got.Text.Reveal())
		}
	}
	entries, err := os.ReadDir(dir)
	check(t, err)
	if len(entries) != 1 {
		t.Errorf("%v lies beside the folder", entries)
	}
	if CheckName(strings.Repeat("n", 300)) == "" {
		t.Error("no file has a name of 300 bytes")
	}
}

func TestAFileThatIsNoneOfOursIsRefusedWithoutShowingIt(t *testing.T) {
	s := NewStore(t.TempDir(), "cilogon")
	l := hold(t, s)
	for content, word := range map[string]string{
		"secret":                                    "not a stored refresh token",
		`{"refresh_token": "secret"`:                "not a stored refresh token",
		`{"refresh_token": {"secret": "se"}}`:       "not a stored refresh token",
		`{"version": 2, "refresh_token": "secret"}`: "version 2",
		`{"version": 1}`:                            "no refresh token",
		strings.Repeat("x", 1<<17):                  "larger than",
	} {
		check(t, os.WriteFile(s.path, []byte(content), 0o600))
		got, err := l.Read()
		wantError(t, err, s.path+": ", word)
		if strings.Contains(err.Error(), "secret") || !got.IsZero() {
			t.Errorf("%q, %v", err, got)
		}
	}
}

func TestReadingChangesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewStore(filepath.Join(dir, "state"), "cilogon").Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Error(entries, err)
	}
}

func TestSameIsTheSameTokenForTheSameUse(t *testing.T) {
	one := robot("one")
	for _, change := range []func(*Token){
		func(t *Token) { t.Text = agent.NewSecret("two") },
		func(t *Token) { t.Issuer += "x" },
		func(t *Token) { t.ClientID += "x" },
		func(t *Token) { t.From = FingerprintOf([]byte("first")) }, // with another salt
		func(t *Token) { t.From = Fingerprint{} },
	} {
		other := one
		change(&other)
		if one.Same(other) || !other.Same(other) {
			t.Errorf("%v and %v", one, other)
		}
	}
}

// What a killed process left may hold a token.
func TestWhatAKilledProcessLeftIsSweptAway(t *testing.T) {
	s := NewStore(t.TempDir(), "cilogon")
	hold(t, s).Release()
	folder := filepath.Dir(s.path)
	left, others := ".tokenagent.cilogon.json.0123456789abcdef.tmp", ".tokenagent.other.json.0123456789abcdef.tmp"
	for _, name := range []string{left, others, ".cilogon.json.room"} {
		check(t, os.WriteFile(filepath.Join(folder, name), []byte("secret"), 0o600))
	}
	l := hold(t, s)
	check(t, l.Ready())
	l.Release()
	var names []string
	entries, err := os.ReadDir(folder)
	check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{others, "cilogon.lock", "cilogon.queue"}, names); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	content, err := robot("one").content()
	check(f, err)
	for _, seed := range []string{string(content), "", "null", "{}", `{"version":1,"refresh_token":"x","from":{"salt":"AA=="}}`, `{"version":1e99}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := parse(content)
		if err != nil {
			if !got.IsZero() {
				t.Errorf("%v with %v", got, err)
			}
			return
		}
		again, err := got.content()
		if err != nil || !json.Valid(again) {
			t.Fatalf("%q, %v", again, err)
		}
		if read, err := parse(again); err != nil || !read.Same(got) {
			t.Errorf("%v becomes %v, %v", got, read, err)
		}
	})
}
