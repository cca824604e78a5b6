package safefile

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
)

// Two that write one target can overtake each other, and are told so; the readers
// of that target do not notice.
func TestTwoAgentsShareAFolder(t *testing.T) {
	dir := t.TempDir()
	shared := mine(filepath.Join(dir, "shared"))
	mustWrite(t, New(shared), string(numbered(1)))
	var writers sync.WaitGroup
	for _, name := range []string{"shared", "shared", "one", "two"} {
		f := New(mine(filepath.Join(dir, name)))
		writers.Go(func() {
			for range 50 {
				_, err := f.Write(t.Context(), numbered(time.Now().UnixNano()))
				if overtaken := errors.Is(err, errOvertaken); err != nil && (!overtaken || name != "shared") {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { sweepUntil(t, New(shared), stop) })
	others.Go(func() { watchWhole(t, shared.Path, stop) })
	writers.Wait()
	close(stop)
	others.Wait()
	wantNoTemp(t, dir)
}

func sweepUntil(t *testing.T, f *File, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
			if removed, err := f.Sweep(t.Context(), func(string) bool { return true }); err != nil || len(removed) > 0 {
				t.Errorf("swept %q, %v", removed, err)
			}
		}
	}
}

// watchWhole reads path until stop; two writers' numbers need not be in order.
func watchWhole(t *testing.T, path string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		content, err := os.ReadFile(path)
		if err == nil {
			_, err = numberOf(content)
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// leave makes a file as a killed writer leaves it, of that age.
func leave(t *testing.T, path string, age time.Duration) {
	t.Helper()
	then := time.Now().Add(-age)
	must(t, errors.Join(os.WriteFile(path, []byte("half"), 0o600), os.Chtimes(path, then, then)))
}

func TestSweepRemovesOnlyWhatIsLeftOfOurWrites(t *testing.T) {
	dir := t.TempDir()
	const digits = "0123456789abcdef"
	kept := []string{
		"token", ".tokenagent.token.0123.tmp",
		".tokenagent.token." + digits, ".tokenagent.token." + strings.ToUpper(digits) + ".tmp",
		".tokenagent.." + digits + ".tmp", "tokenagent.token." + digits + ".tmp",
	}
	for _, name := range kept {
		leave(t, filepath.Join(dir, name), time.Hour)
	}
	linked := ".tokenagent.token.1111111111111111.tmp"
	leave(t, filepath.Join(dir, linked), time.Hour)
	must(t, os.Link(filepath.Join(dir, linked), filepath.Join(dir, "link")))
	folder := ".tokenagent.token.2222222222222222.tmp"
	must(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
	symlink := ".tokenagent.token.3333333333333333.tmp"
	must(t, os.Symlink("token", filepath.Join(dir, symlink)))
	kept = append(kept, linked, "link", folder, symlink)
	if os.Geteuid() == 0 {
		foreign := ".tokenagent.token.4444444444444444.tmp"
		leave(t, filepath.Join(dir, foreign), time.Hour)
		must(t, os.Chown(filepath.Join(dir, foreign), somebody.UID, somebody.GID))
		kept = append(kept, foreign)
	}
	ours := ".tokenagent.token." + digits + ".tmp"
	leave(t, filepath.Join(dir, ours), 0)

	removed, err := New(mine(filepath.Join(dir, "token"))).Sweep(t.Context(), func(name string) bool { return name == "token" })
	must(t, err)
	if !slices.Equal(removed, []string{ours}) {
		t.Errorf("removed %q, want %q", removed, ours)
	}
	for _, name := range kept {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// A killed process leaves the file as its own, or as the owner's.
func TestSweepRemovesWhatWasNotGivenAwayYet(t *testing.T) {
	needRoot(t)
	dir := openTempDir(t)
	for digits, uid := range map[string]int{"1111111111111111": 0, "2222222222222222": somebody.UID, "3333333333333333": intruder} {
		path := filepath.Join(dir, tempPrefix+"token."+digits+tempSuffix)
		leave(t, path, 0)
		must(t, os.Chown(path, uid, uid))
	}
	removed, err := New(theirs(filepath.Join(dir, "token"))).Sweep(t.Context(), func(string) bool { return true })
	if err != nil || len(removed) != 2 || len(temps(t, dir)) != 1 {
		t.Errorf("removed %q, left %q, %v", removed, temps(t, dir), err)
	}
}

func TestSweepLeavesToOthersWhatTheyMayStillWrite(t *testing.T) {
	const fresh, old = abandonedBy - time.Minute, abandonedBy + time.Minute
	for name, test := range map[string]struct {
		target, digits string
		age            time.Duration
		gone           bool
	}{
		"of a target of ours, by a killed process":       {"token", "0123456789abcdef", 0, true},
		"of a target of ours, by this process":           {"token", ourDigits + "01234567", fresh, false},
		"the same, which cannot be written any more":     {"token", ourDigits + "01234567", old, true},
		"of a target whose name is a single letter":      {"t", "0123456789abcdef", old, true},
		"of a target that another process may write":     {"other", "0123456789abcdef", fresh, false},
		"the same, which nobody can be writing any more": {"other", "0123456789abcdef", old, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			left := tempPrefix + test.target + "." + test.digits + tempSuffix
			leave(t, filepath.Join(dir, left), test.age)
			removed, err := New(mine(filepath.Join(dir, "token"))).Sweep(t.Context(), func(name string) bool { return name == "token" })
			must(t, err)
			if gone := len(removed) == 1 && len(temps(t, dir)) == 0; gone != test.gone {
				t.Errorf("removed %q, left %q", removed, temps(t, dir))
			}
		})
	}
}

// Agents of two configurations may have one target by mistake, and each takes what
// it finds there for its own.
func TestAWriteWhoseTemporaryFileIsRemovedStartsOnceMore(t *testing.T) {
	for times, want := range []string{"new", "new", "old"} {
		t.Run(fmt.Sprint(times, " times"), func(t *testing.T) {
			target := mine(filepath.Join(t.TempDir(), "token"))
			f := New(target)
			mustWrite(t, f, "old")
			f.passed = func(step int) error {
				if step == stepReplace-1 && times > 0 {
					times--
					return os.Remove(filepath.Join(filepath.Dir(target.Path), temps(t, filepath.Dir(target.Path))[0]))
				}
				return nil
			}
			r, err := f.Write(t.Context(), []byte("new"))
			if r.Changed != (want == "new") {
				t.Errorf("it says %+v, %v", r, err)
			}
			if want == "old" {
				wantError(t, err, target.Path, "another program removed the temporary file", "let only one agent write it")
			}
			wantFile(t, target, want)
		})
	}
}

func TestSweepGoesThroughLargeFoldersInPieces(t *testing.T) {
	dir := t.TempDir()
	for n := range 2*atOnce + 1 {
		must(t, os.WriteFile(fmt.Sprintf("%s/%d", dir, n), nil, 0o600))
	}
	for n := range 2 * atOnce {
		leave(t, fmt.Sprintf("%s/.tokenagent.token.%016x.tmp", dir, n), 0)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := New(mine(dir + "/token"))
	seen := 0
	removed, err := f.Sweep(ctx, func(string) bool {
		if seen++; seen == 10 {
			cancel()
		}
		return true
	})
	if !errors.Is(err, context.Canceled) || len(removed) < 10 || len(removed) > atOnce {
		t.Errorf("cancelled, it has removed %d files and says %v", len(removed), err)
	}
	rest, err := f.Sweep(t.Context(), func(string) bool { return true })
	if len(removed)+len(rest) != 2*atOnce || err != nil {
		t.Errorf("then it removes %d files and says %v", len(rest), err)
	}
	wantNoTemp(t, dir)
}

func TestSweepOfAMissingFolder(t *testing.T) {
	target := mine(filepath.Join(t.TempDir(), "none", "token"))
	target.CreateDir = true
	if removed, err := New(target).Sweep(t.Context(), func(string) bool { return true }); len(removed) > 0 || err != nil {
		t.Errorf("removed %q, %v", removed, err)
	}
}

func FuzzParseTemp(f *testing.F) {
	f.Add(".tokenagent.token.0123456789abcdef.tmp")
	f.Add(".tokenagent..tmp")
	f.Fuzz(func(t *testing.T, name string) {
		target, digits, ok := parseTemp(name)
		if ok && (target == "" || len(digits) != tempDigits || !strings.HasPrefix(name, tempPrefix+target+".") || len(name) != len(tempPrefix+target+".")+tempDigits+len(tempSuffix)) {
			t.Errorf("parseTemp(%q) = %q, %q", name, target, digits)
		}
	})
}
