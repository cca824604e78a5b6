package safefile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent/host"
)

func TestRootWritesInAFolderOfSomebodyElseAsTheOwner(t *testing.T) {
	needRoot(t)
	dir := mkdir(t, filepath.Join(openTempDir(t), "home"), somebody.UID, 0o700)
	target := theirs(filepath.Join(dir, "token"))
	f := New(target)
	f.passed = func(step int) error { return wantIdentity(somebody) }
	for _, content := range []string{"first", "second"} {
		mustWrite(t, f, content)
		wantFile(t, target, content)
		if d, err := f.Look(); d != "" || err != nil {
			t.Errorf("Look says %q, %v", d, err)
		}
		if got, err := f.Read(); string(got) != content || err != nil {
			t.Errorf("Read says %q, %v", got, err)
		}
	}
	must(t, os.Remove(target.Path))
	if d, err := f.Look(); d != "it is gone" || err != nil {
		t.Errorf("Look says %q, %v", d, err)
	}
}

func TestRootWritesInItsOwnFolderAsRootAndGivesTheFileAway(t *testing.T) {
	needRoot(t)
	target := theirs(filepath.Join(openTempDir(t), "token"))
	target.Mode = 0o640
	f := New(target)
	f.passed = func(step int) error { return wantIdentity(host.Identity{}) }
	mustWrite(t, f, "first")
	wantFile(t, target, "first")
	mustWrite(t, f, "second")
	wantFile(t, target, "second")
}

func TestGroupOfAFileInItsOwnersFolder(t *testing.T) {
	needRoot(t)
	dir := mkdir(t, filepath.Join(openTempDir(t), "home"), somebody.UID, 0o700)
	target := theirs(filepath.Join(dir, "token"))
	target.Mode, target.Group = 0o640, somebody.Groups[0]
	f := New(target)
	mustWrite(t, f, "content")
	wantFile(t, target, "content")

	target.Group = 77
	_, err := New(target).Write(t.Context(), []byte("content"))
	wantError(t, err, target.Path+": it cannot have the group gid 77", "does not belong to it")
}

func TestFolderIsMadeForItsOwner(t *testing.T) {
	needRoot(t)
	base := openTempDir(t)
	for name, parent := range map[string]string{
		"below a folder of root":   base,
		"below one of the owner":   mkdir(t, filepath.Join(base, "home"), somebody.UID, 0o700),
		"below a sticky temporary": mkdir(t, filepath.Join(base, "tmp"), 0, 0o777|os.ModeSticky),
	} {
		t.Run(name, func(t *testing.T) {
			target := theirs(filepath.Join(parent, "new", "token"))
			target.CreateDir = true
			mustWrite(t, New(target), "content")
			wantFile(t, target, "content")
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Dir(target.Path), &st))
			if int(st.Uid) != somebody.UID || int(st.Gid) != somebody.GID || st.Mode&0o7777 != 0o700 {
				t.Errorf("the folder is %s", host.Place{Path: "new", Stat: st})
			}
		})
	}
}

func TestAPanicUnderAnotherIdentityIsTheCallers(t *testing.T) {
	needRoot(t)
	defer func() {
		if thrown := recover(); thrown != "thrown" {
			t.Errorf("the caller caught %v", thrown)
		}
	}()
	_ = somebody.With(somebody.GID).Do(func() error { panic("thrown") })
}

func TestErrorsNameTheGroupsThatAreTakenOn(t *testing.T) {
	needRoot(t)
	base := openTempDir(t)
	home := mkdir(t, base+"/home", somebody.UID, 0o755)
	closed := mkdir(t, home+"/closed", somebody.UID, 0o600)
	target := theirs(closed + "/inner/token")
	_, err := New(target).Write(t.Context(), nil)
	wantError(t, err, "permission denied for uid 54321 with the group gid 54321 alone in "+closed)
	target.Group = somebody.Groups[0]
	_, err = New(target).Write(t.Context(), nil)
	wantError(t, err, "with the group gid 54321 and the group gid 54322 alone")
}

// wantIdentity demands that the calling thread touches files as u.
func wantIdentity(u host.Identity) error {
	uid, _ := unix.SetfsuidRetUid(-1)
	gid, _ := unix.SetfsgidRetGid(-1)
	if uid != u.UID || gid != u.GID {
		return fmt.Errorf("the thread touches files as %d:%d, want %d:%d", uid, gid, u.UID, u.GID)
	}
	return nil
}

func TestEveryThreadKeepsItsIdentity(t *testing.T) {
	needRoot(t)
	before := identities(t)
	for name, load := range map[string]func() (stop func()){
		"idle":       func() func() { return func() {} },
		"under load": busy,
	} {
		t.Run(name, func(t *testing.T) {
			stop := load()
			defer stop()
			drop1000(t)
			wantOneIdentity(t, before)
		})
	}
}

// drop1000 takes on somebody's identity a thousand times, 100 at once.
func drop1000(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	errs := make(chan error, 1000)
	room := make(chan struct{}, 100)
	for range 1000 {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			errs <- somebody.With(somebody.Groups[0]).Do(func() error {
				_, err := os.ReadFile("/etc/hostname") // gives the runtime a reason to make threads
				return errors.Join(ignoreMissing(err), wantIdentity(somebody))
			})
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// busy keeps many threads in system calls until it is stopped.
func busy() (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil)
					runtime.Gosched()
				}
			}
		})
	}
	return func() { close(done); all.Wait() }
}

// wantOneIdentity demands that soon no thread has another identity: those that
// had one end a moment after their goroutine.
func wantOneIdentity(t *testing.T, want map[string]bool) {
	t.Helper()
	if len(want) != 1 {
		t.Fatalf("the process began with the identities %v", want)
	}
	var got map[string]bool
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = identities(t); fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	t.Errorf("the process has threads of the identities %v, want %v alone", got, want)
}

// identities are those of all threads of the process, the main one among them.
func identities(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	must(t, err)
	found := make(map[string]bool)
	for _, path := range files {
		if id := identityIn(path); id != "" {
			found[id] = true
		}
	}
	return found
}

func identityIn(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return "" // the thread has ended
	}
	defer file.Close()
	var id []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		switch key, value, _ := strings.Cut(lines.Text(), ":"); key {
		case "Uid", "Gid", "Groups", "CapEff":
			id = append(id, key+" "+strings.Join(strings.Fields(value), " "))
		}
	}
	return strings.Join(id, ", ")
}
