package refresh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inherits makes a Store that takes the robot's token from these folders.
func inherits(t *testing.T, dir string, lock func(string) (func(), error), former ...string) *Store {
	t.Helper()
	s := NewStore(dir, "cilogon")
	s.Inherit(Former{
		Dirs: func() []string { return former },
		Lock: lock,
		Ours: func(t Token) bool { return t.ClientID == "robot" },
	})
	return s
}

func free(string) (func(), error) { return func() {}, nil }

func keep(t *testing.T, dir, name string, token Token) {
	t.Helper()
	l, err := NewStore(dir, name).Lock(t.Context())
	check(t, err)
	defer l.Release()
	check(t, l.Keep(token))
}

func wantToken(t *testing.T, s *Store, want string) {
	t.Helper()
	got, err := s.Read()
	if want == "" {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, %v", s.Path(), got, err)
		}
		return
	}
	check(t, err)
	if got.Text.Reveal() != want {
		t.Errorf("%s: got another token", s.Path())
	}
}

func TestATokenInAFormerFolderIsReadThereAndMovedWhenItIsLocked(t *testing.T) {
	base := t.TempDir()
	pool, own := filepath.Join(base, "unclaimed"), filepath.Join(base, "configs/a")
	keep(t, pool, "cilogon", robot("ours"))
	s := inherits(t, own, free, base, pool)
	wantToken(t, s, "ours")
	if _, err := os.Stat(s.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("to look at it has moved it")
	}
	l := hold(t, s)
	got, err := l.Read()
	check(t, err)
	if got.Text.Reveal() != "ours" || !got.From.Is([]byte("first")) {
		t.Error("it is another one")
	}
	wantToken(t, NewStore(pool, "cilogon"), "")
	wantToken(t, NewStore(own, "cilogon"), "ours")
}

func TestATokenOfAnotherSourceIsNotTaken(t *testing.T) {
	base := t.TempDir()
	other := robot("theirs")
	other.ClientID = "other"
	keep(t, base, "cilogon", other)
	keep(t, base, "iam", robot("of another name"))
	s := inherits(t, filepath.Join(base, "configs/a"), free, base)
	hold(t, s)
	wantToken(t, s, "")
	wantToken(t, NewStore(base, "cilogon"), "theirs")
}

func TestAFormerFileThatCannotBeReadStaysWhereItIs(t *testing.T) {
	base := t.TempDir()
	keep(t, base, "cilogon", robot("broken"))
	former := NewStore(base, "cilogon")
	check(t, os.WriteFile(former.Path(), []byte("{"), 0o600))
	s := NewStore(filepath.Join(base, "configs/a"), "cilogon")
	s.Inherit(Former{Dirs: func() []string { return []string{base} }, Lock: free, Ours: func(Token) bool { return true }})
	hold(t, s)
	wantToken(t, s, "")
	if _, err := os.Lstat(former.Path()); err != nil {
		t.Error(err)
	}
}

func TestATokenOfOnesOwnCountsMoreThanAFormerOne(t *testing.T) {
	base := t.TempDir()
	own := filepath.Join(base, "configs/a")
	keep(t, base, "cilogon", robot("former"))
	keep(t, own, "cilogon", robot("own"))
	s := inherits(t, own, free, base)
	hold(t, s)
	wantToken(t, s, "own")
	wantToken(t, NewStore(base, "cilogon"), "former")
}

// Without the token the source would begin with refresh_token_file again, which
// may be used up: so Lock fails, and nothing is used.
func TestATokenInTheFolderOfAnAgentThatRunsIsNotUsed(t *testing.T) {
	base := t.TempDir()
	keep(t, base, "cilogon", robot("in use"))
	busy := errors.New("another agent (process 7) runs with it")
	s := inherits(t, filepath.Join(base, "configs/a"), func(string) (func(), error) { return nil, busy }, base)
	_, err := s.Lock(t.Context())
	wantError(t, err, NewStore(base, "cilogon").Path(), "cannot be moved yet", busy.Error())
	wantToken(t, NewStore(base, "cilogon"), "in use")
	s.former.Lock = free
	hold(t, s) // the failure has left no lock behind
	wantToken(t, s, "in use")
}

func TestAMoveWaitsForTheFolderAndGivesItBack(t *testing.T) {
	base := t.TempDir()
	keep(t, base, "cilogon", robot("ours"))
	asked, held := 0, 0
	s := inherits(t, filepath.Join(base, "configs/a"), func(string) (func(), error) {
		if asked++; asked < 3 {
			return nil, errors.New("a command looks into it")
		}
		held++
		return func() { held-- }, nil
	}, base)
	hold(t, s)
	wantToken(t, s, "ours")
	if held != 0 {
		t.Error("the former folder is still locked")
	}
	hold(t, NewStore(base, "cilogon")) // nor is the former token
}

// A token that was moved is on the disk under its new name, and not under the old one,
// before it is used.
func TestAnErrorOfTheDiskIsNoticedAfterAMove(t *testing.T) {
	requirePart(t, "strace", "-o", "/dev/null", "true")
	for when, want := range []string{"OWN/refresh: input/output error", "FORMER/refresh: input/output error", ""} {
		t.Run(fmt.Sprint(when+1), func(t *testing.T) {
			former, own := t.TempDir(), t.TempDir()
			keep(t, former, "shared", robot("ours"))
			c := exec.Command("strace", "-f", "-o", os.DevNull, "-e", fmt.Sprintf("inject=fsync:error=EIO:when=%d", when+1), os.Args[0])
			c.Env = append(os.Environ(), childState+"="+own, childFormer+"="+former)
			out, err := c.Output()
			got := strings.NewReplacer(own, "OWN", former, "FORMER").Replace(strings.TrimSpace(string(out)))
			if got != want || (want == "") != (err == nil) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestEvictMovesWhatIsNotKept(t *testing.T) {
	from := t.TempDir()
	to := filepath.Join(from, "unclaimed")
	for _, name := range []string{"kept", "a b/c", "twice"} {
		keep(t, from, name, robot(name))
	}
	keep(t, to, "twice", robot("there before"))
	check(t, os.WriteFile(filepath.Join(from, "refresh/broken.json"), []byte("{"), 0o600))
	for range 2 {
		check(t, Evict(t.Context(), from, to, func(name string, _ Token) bool { return name == "kept" }))
	}
	for name, want := range map[string][2]string{
		"kept": {"kept", ""}, "a b/c": {"", "a b/c"}, "twice": {"twice", "there before"},
	} {
		wantToken(t, NewStore(from, name), want[0])
		wantToken(t, NewStore(to, name), want[1])
	}
	if _, err := os.Stat(filepath.Join(from, "refresh/broken.json")); err != nil {
		t.Error(err)
	}
}

func TestEvictLeavesATokenThatIsInUse(t *testing.T) {
	from := t.TempDir()
	keep(t, from, "cilogon", robot("in use"))
	hold(t, NewStore(from, "cilogon"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Evict(ctx, from, filepath.Join(from, "unclaimed"), func(string, Token) bool { return false }) == nil {
		t.Error("it was not said that one is still there")
	}
	wantToken(t, NewStore(from, "cilogon"), "in use")
}

func TestAFileIsSpentWhenAnotherConfigurationsTokenCameOfIt(t *testing.T) {
	dir, content := t.TempDir(), []byte("first")
	if spent := Spent([]string{dir}, content); spent != "" {
		t.Errorf("of an empty folder %s", spent)
	}
	keep(t, dir, "a b", robot("first")) // this issuer does not replace them
	if spent := Spent([]string{dir}, content); spent != "" {
		t.Errorf("of one that was not replaced %s", spent)
	}
	keep(t, dir, "a b", robot("second"))
	if spent := Spent([]string{dir}, content); spent != NewStore(dir, "a b").Path() {
		t.Errorf("of one that was replaced %q", spent)
	}
	if spent := Spent([]string{dir}, []byte("other")); spent != "" {
		t.Errorf("of another file %s", spent)
	}
}
