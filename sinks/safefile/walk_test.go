package safefile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Each test makes something in the folder base, which root owns and all can
// pass, and returns the path of a target whose owner is somebody.
var walks = map[string]struct {
	make func(t *testing.T, base string) (path string)
	want string // in the error; "" when the write succeeds
	warn string
}{
	"a folder of the owner": {func(t *testing.T, base string) string {
		return mkdir(t, base+"/home", somebody.UID, 0o700) + "/token"
	}, "", ""},
	"deep below the owner's": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, mkdir(t, base+"/home", somebody.UID, 0o700)+"/.condor", somebody.UID, 0o755)+"/tokens.d", somebody.UID, 0o700) + "/token"
	}, "", ""},
	"a folder of somebody else": {func(t *testing.T, base string) string {
		return mkdir(t, base+"/home", 54399, 0o755) + "/token"
	}, "/home belongs to uid 54399, neither to root nor to uid 54321", ""},
	"somebody else's below the owner's": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, base+"/home", somebody.UID, 0o755)+"/other", 54399, 0o777) + "/token"
	}, "/home/other belongs to uid 54399", ""},
	"a folder of root below the owner's": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, base+"/home", somebody.UID, 0o755)+"/roots", 0, 0o755) + "/token"
	}, "/home/roots: a folder of root in a folder of somebody else", ""},
	"others may write on the way": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, base+"/home", 0, 0o777)+"/inner", somebody.UID, 0o700) + "/token"
	}, "chmod go-w", ""},
	"a group may write on the way": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, base+"/home", somebody.UID, 0o770)+"/inner", somebody.UID, 0o700) + "/token"
	}, "mode 0770); chmod go-w", ""},
	"a sticky folder on the way": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, base+"/tmp", 0, 0o777|os.ModeSticky)+"/inner", somebody.UID, 0o700) + "/token"
	}, "", ""},
	"a sticky folder": {func(t *testing.T, base string) string {
		return mkdir(t, base+"/tmp", 0, 0o777|os.ModeSticky) + "/token"
	}, "", ""},
	"others may write in the folder": {func(t *testing.T, base string) string {
		return mkdir(t, base+"/empty", 0, 0o777) + "/token"
	}, "", "chmod go-w"},
	"others may write in the owner's": {func(t *testing.T, base string) string {
		return mkdir(t, base+"/home", somebody.UID, 0o777) + "/token"
	}, "", "chmod go-w"},
	"a link of root": {func(t *testing.T, base string) string {
		mkdir(t, base+"/home", somebody.UID, 0o700)
		return link(t, "home", base+"/link") + "/token"
	}, "", ""},
	"a link of root to elsewhere and back": {func(t *testing.T, base string) string {
		mkdir(t, base+"/roots", 0, 0o755)
		return link(t, base+"/roots/../home/.", base+"/link") + "/inner/token"
	}, "there is no", ""},
	"a link of the owner's": {func(t *testing.T, base string) string {
		home := mkdir(t, base+"/home", somebody.UID, 0o700)
		mkdir(t, home+"/real", somebody.UID, 0o700)
		path := link(t, "real", home+"/link")
		must(t, os.Lchown(path, somebody.UID, somebody.GID))
		return path + "/token"
	}, "/home/link: a symbolic link that uid 54321 could change", ""},
	"a link of root in the owner's": {func(t *testing.T, base string) string {
		home := mkdir(t, base+"/home", somebody.UID, 0o700)
		mkdir(t, home+"/real", somebody.UID, 0o700)
		return link(t, "real", home+"/link") + "/token"
	}, "/home/link: a symbolic link that uid 54321 could change", ""},
	"a link of root in a sticky folder": {func(t *testing.T, base string) string {
		return link(t, base, mkdir(t, base+"/tmp", 0, 0o777|os.ModeSticky)+"/link") + "/token"
	}, "could change; write the path", ""},
	"a folder that a group can write, as HTCondor has one": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, base+"/oauth_credentials", 0, 0o775|os.ModeSetgid)+"/alice", somebody.UID, 0o700) + "/token"
	}, "/oauth_credentials, or, where others must write there, chmod +t ", ""},
	"the same, sticky": {func(t *testing.T, base string) string {
		return mkdir(t, mkdir(t, base+"/oauth_credentials", 0, 0o775|os.ModeSetgid|os.ModeSticky)+"/alice", somebody.UID, 0o700) + "/token"
	}, "", ""},
	"a link to itself": {func(t *testing.T, base string) string {
		return link(t, "loop", base+"/loop") + "/token"
	}, "at most 40", ""},
	"a file on the way": {func(t *testing.T, base string) string {
		must(t, os.WriteFile(base+"/file", nil, 0o600))
		return base + "/file/token"
	}, "/file: a file, not a folder", ""},
	"a FIFO on the way": {func(t *testing.T, base string) string {
		must(t, unix.Mkfifo(base+"/fifo", 0o600))
		return base + "/fifo/inner/token"
	}, "/fifo: a FIFO, not a folder", ""},
}

func link(t *testing.T, to, path string) string {
	t.Helper()
	must(t, os.Symlink(to, path))
	return path
}

func TestTheWayOfAPrivilegedWrite(t *testing.T) {
	needRoot(t)
	for name, test := range walks {
		t.Run(name, func(t *testing.T) {
			f := New(theirs(test.make(t, openTempDir(t))))
			r, err := f.Write(t.Context(), []byte("content"))
			if test.want != "" {
				wantError(t, err, test.want)
				return
			}
			must(t, err)
			wantFile(t, f.target, "content")
			if said := strings.Join(r.Warnings, "\n"); !strings.Contains(said, test.warn) || (said == "") != (test.warn == "") {
				t.Errorf("it warns of %q, want %q", said, test.warn)
			}
		})
	}
}

func TestRefusalsTellWhetherOthersCanBeToBlame(t *testing.T) {
	needRoot(t)
	base := openTempDir(t)
	tmp := mkdir(t, base+"/tmp", 0, 0o777|os.ModeSticky)
	home := mkdir(t, base+"/home", somebody.UID, 0o755)
	roots := mkdir(t, tmp+"/roots", 0, 0o755)
	for path, others := range map[string]bool{
		link(t, "loop", base+"/loop") + "/token":      false,
		link(t, "loop", tmp+"/loop") + "/token":       true,
		link(t, "loop", home+"/loop") + "/token":      true,
		link(t, "loop", roots+"/loop") + "/token":     false,
		mkdir(t, home+"/roots", 0, 0o755) + "/token":  true,
		mkdir(t, base+"/folder", 0, 0o755):            false,
		mkdir(t, tmp+"/folder", 0, 0o755):             true,
		mkdir(t, home+"/folder", somebody.UID, 0o755): true,
		mkdir(t, roots+"/folder", 0, 0o755):           false,
	} {
		_, err := New(theirs(path)).Check()
		if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.Others != others {
			t.Errorf("%s: %v; want a refusal that says of others: %v", path, err, others)
		}
	}
}

// Without privileges there is nothing to gain by leading the process astray:
// what others could change is only warned about.
func TestTheWayOfAnOrdinaryWrite(t *testing.T) {
	base := openTempDir(t)
	shared := mkdir(t, filepath.Join(base, "shared"), os.Geteuid(), 0o777)
	inner := filepath.Join(shared, "inner")
	linked := filepath.Join(base, "link")
	target := mine("")
	if os.Geteuid() == 0 {
		target = theirs("")
		mkdir(t, inner, somebody.UID, 0o700)
	} else {
		mkdir(t, inner, os.Geteuid(), 0o700)
	}
	must(t, os.Symlink(inner, linked))
	target.Path = filepath.Join(linked, "token")
	target.Group = target.Owner.GID
	r := reportOf(t, asSomebody(child(t, "write", target)))
	if r.Error != "" || len(r.Result.Warnings) != 1 || !strings.Contains(r.Result.Warnings[0], shared+": a folder that others can change") {
		t.Errorf("the write reports %+v", r)
	}
	wantFile(t, target, "new")
}

func TestAnOrdinaryWriteFollowsNoLinkOfOthers(t *testing.T) {
	needRoot(t)
	base := openTempDir(t)
	target := theirs(filepath.Join(base, "link", "token"))
	mkdir(t, filepath.Join(base, "home"), somebody.UID, 0o700)
	must(t, errors.Join(os.Symlink("home", filepath.Join(base, "link")), os.Lchown(filepath.Join(base, "link"), 54399, 54399)))
	r := reportOf(t, asSomebody(child(t, "write", target)))
	wantError(t, errors.New(r.Error), "a symbolic link that uid 54399 could change")
}

func TestAnOrdinaryWriteCannotGiveAFileAway(t *testing.T) {
	needRoot(t)
	target := mine(filepath.Join(mkdir(t, filepath.Join(openTempDir(t), "home"), somebody.UID, 0o700), "token"))
	r := reportOf(t, asSomebody(child(t, "write", target)))
	wantError(t, errors.New(r.Error), "give it the group root", "operation not permitted", "CAP_CHOWN")
	wantNoTemp(t, filepath.Dir(target.Path))
}

// The attack: a user swaps a component of the path for a symbolic link to a
// folder (or file) that only root can write, and back, as fast as it can.
func TestNoSwapOfAComponentLeadsAWriteAstray(t *testing.T) {
	needRoot(t)
	for _, component := range []string{"home", "home/.condor", "home/.condor/tokens.d", "home/.condor/tokens.d/token"} {
		t.Run(component, func(t *testing.T) {
			base := mkdir(t, filepath.Join(openTempDir(t), "tmp"), 0, 0o777|os.ModeSticky)
			victim := mkdir(t, filepath.Join(filepath.Dir(base), "victim"), 0, 0o755)
			dir := base
			for _, name := range []string{"home", ".condor", "tokens.d"} {
				dir = mkdir(t, filepath.Join(dir, name), somebody.UID, 0o755)
			}
			attack(t, filepath.Join(base, component), victim, func() { writeUnderAttack(t, theirs(dir+"/token")) })
			wantUntouched(t, victim)
		})
	}
}

// attack swaps path for a link to victim while during runs.
func attack(t *testing.T, path, victim string, during func()) {
	t.Helper()
	decoys := filepath.Join(victim, ".condor", "tokens.d")
	must(t, errors.Join(os.MkdirAll(decoys, 0o755), os.MkdirAll(filepath.Join(victim, "tokens.d"), 0o755)))
	c := asSomebody(child(t, "swap", Target{Path: path}))
	c.Env = append(c.Env, "SAFEFILE_TEST_VICTIM="+victim)
	must(t, c.Start())
	during()
	must(t, c.Process.Kill())
	_ = c.Wait() // it was killed
}

func init() { children["swap"] = swapForEver }

// swapForEver is the attacker.
func swapForEver(target Target) {
	path, victim := target.Path, os.Getenv("SAFEFILE_TEST_VICTIM")
	for {
		_ = os.Rename(path, path+".aside")
		_ = os.Symlink(victim, path)
		time.Sleep(rand.N(200 * time.Microsecond))
		_ = os.Remove(path)
		_ = os.Rename(path+".aside", path)
		time.Sleep(rand.N(200 * time.Microsecond)) // or no write gets through
	}
}

// writeUnderAttack writes for TOKENAGENT_RACE_SECONDS (3) in four attacks, and goes on
// until enough writes got through and enough met the attack; else nothing is shown.
func writeUnderAttack(t *testing.T, target Target) {
	t.Helper()
	const enough = 20
	seconds := count(t, "TOKENAGENT_RACE_SECONDS", 3)
	f := New(target)
	written, met := 0, 0
	began := time.Now()
	for i := 0; time.Since(began) < time.Duration(seconds)*time.Second/4 || min(written, met) < enough; i++ {
		if time.Since(began) > time.Duration(seconds)*time.Second+5*time.Minute {
			t.Fatalf("%d writes got through, %d met the attack; %d of each are wanted", written, met, enough)
		}
		if _, err := f.Write(t.Context(), fmt.Append(nil, i)); err != nil {
			met++
		} else {
			written++
		}
	}
	t.Logf("%d writes got through, %d met the attack", written, met)
}

// wantUntouched demands that no file has come to lie anywhere below the victim.
func wantUntouched(t *testing.T, victim string) {
	t.Helper()
	err := filepath.WalkDir(victim, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("a file was written outside: %s", path)
		}
		return err
	})
	must(t, err)
}
