package refresh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
)

// The test binary runs itself as another process, which uses the token of the
// store "shared" in the folder that the variable names.
const childState = "REFRESH_TEST_STATE"

// childOnce has the child rotate the token once, as a source does.
const childOnce = "REFRESH_TEST_ONCE"

// childFormer is a folder from which the child's store takes its token.
const childFormer = "REFRESH_TEST_FORMER"

func TestMain(m *testing.M) {
	dir := os.Getenv(childState)
	if dir == "" {
		os.Exit(m.Run())
	}
	role := useOften
	if os.Getenv(childOnce) != "" {
		role = rotateOnce
	}
	s := NewStore(dir, "shared")
	if former := os.Getenv(childFormer); former != "" {
		role = lockOnce
		s.Inherit(Former{
			Dirs: func() []string { return []string{former} },
			Lock: free,
			Ours: func(Token) bool { return true },
		})
	}
	if err := role(s); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func lockOnce(s *Store) error {
	runtime.LockOSThread() // strace counts the calls of a thread
	l, err := s.Lock(context.Background())
	if err == nil {
		l.Release()
	}
	return err
}

func rotateOnce(s *Store) error {
	runtime.LockOSThread() // strace counts the calls of a thread
	l, err := s.Lock(context.Background())
	if err != nil {
		return err
	}
	defer l.Release()
	if err := l.Ready(); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	if err := l.Keep(Token{Text: agent.NewSecret("second")}); err != nil {
		return fmt.Errorf("not kept: %w", err)
	}
	return nil
}

// uses is how often a child uses the token, each time the one that the use before
// left: a number.
const uses = 25

func useOften(s *Store) error {
	for range uses {
		if err := use(s); err != nil {
			return err
		}
	}
	return nil
}

func use(s *Store) error {
	l, err := s.Lock(context.Background())
	if err != nil {
		return err
	}
	defer l.Release()
	was, err := l.Read()
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(was.Text.Reveal())
	if err != nil {
		return err
	}
	return l.Keep(Token{Text: agent.NewSecret(strconv.Itoa(n + 1))})
}

func TestProcessesUseItOneAfterAnother(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir, "shared")
	l := hold(t, s)
	check(t, l.Keep(Token{Text: agent.NewSecret("0")}))
	l.Release()
	const processes = 4
	var children sync.WaitGroup
	for range processes {
		children.Go(func() {
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), childState+"="+dir)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	children.Go(func() {
		if err := useOften(s); err != nil {
			t.Error(err)
		}
	})
	children.Wait()
	got, err := s.Read()
	check(t, err)
	if want := strconv.Itoa((processes + 1) * uses); got.Text.Reveal() != want {
		t.Errorf("after %s uses it is number %s", want, got.Text.Reveal())
	}
}

func TestWhoWaitsForTheLockGetsItAtItsRelease(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(dir, "cilogon")
		first := hold(t, s)
		got := make(chan error, 1)
		go func() {
			l, err := s.Lock(t.Context())
			if err == nil {
				l.Release()
			}
			got <- err
		}()
		time.Sleep(patience / 2)
		select {
		case err := <-got:
			t.Fatalf("two have it: %v", err)
		default:
		}
		first.Release()
		check(t, <-got)
	})
}

// An agent with a thousand tokens to fetch takes the lock again at once.
func TestWhoWaitsIsNotOvertakenForEver(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(dir, "cilogon")
		ctx, end := context.WithCancel(t.Context())
		var agent sync.WaitGroup
		defer agent.Wait()
		defer end()
		agent.Go(func() {
			for ctx.Err() == nil {
				l, err := s.Lock(ctx)
				if err != nil {
					return // it ended meanwhile
				}
				time.Sleep(20 * time.Millisecond) // the issuer answers
				l.Release()
			}
		})
		for range 3 {
			time.Sleep(time.Millisecond) // the agent has it
			l, err := s.Lock(t.Context())
			check(t, err)
			l.Release()
		}
	})
}

func TestWhoHoldsTheLockIsNamed(t *testing.T) {
	s := NewStore(t.TempDir(), "cilogon")
	l := hold(t, s)
	_, err := s.Lock(inNoTime(t))
	wantError(t, err, s.lock+": waiting for this process ("+strconv.Itoa(os.Getpid())+") itself")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	for content, want := range map[string]string{"4711\n": "process 4711", "": "another process", "what": "another process"} {
		check(t, l.file.Truncate(0))
		_, err = l.file.WriteAt([]byte(content), 0)
		check(t, err)
		_, err := s.Lock(inNoTime(t))
		wantError(t, err, "waiting for "+want+", which")
	}
}

// inNoTime is a context whose time is up: Lock tries once.
func inNoTime(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	t.Cleanup(cancel)
	return ctx
}

func TestALockThatIsNeverReleasedIsNotWaitedForForEver(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(dir, "cilogon")
		hold(t, s)
		began := time.Now()
		_, err := s.Lock(t.Context())
		wantError(t, err, "uses the refresh token for longer than 1m0s", "end it")
		if waited := time.Since(began); waited < patience || waited > patience+time.Second {
			t.Errorf("it waited %v", waited)
		}
	})
}

func TestAKilledHolderLeavesNoLock(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir, "cilogon")
	hold(t, s).Release()
	requirePart(t, "flock", "--version")
	c := exec.Command("flock", s.lock, "sh", "-c", "echo locked; exec sleep 60")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.StdoutPipe()
	check(t, err)
	check(t, c.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	check(t, err)
	if _, err := s.Lock(inNoTime(t)); err == nil {
		t.Error("flock(1) does not keep us away")
	}
	check(t, unix.Kill(-c.Process.Pid, unix.SIGKILL))
	_ = c.Wait()
	hold(t, s)
}

// An issuer takes a refresh token once. So its successor has room on the disk before it
// is used, and is on the disk, with its name, before anybody relies on it: a power cut
// after that must not bring the first one back.
func TestAnErrorOfTheDiskIsNoticedBeforeTheTokenIsReliedOn(t *testing.T) {
	requirePart(t, "strace", "-o", "/dev/null", "true")
	for when, want := range []string{
		"not ready: FOLDER/.shared.json.room: input/output error",
		"not kept: FOLDER/shared.json: sync the temporary file: input/output error",
		"not kept: FOLDER/shared.json: sync the folder: input/output error",
		"", // there are three
	} {
		t.Run(fmt.Sprint(when+1), func(t *testing.T) {
			dir := t.TempDir()
			s := NewStore(dir, "shared")
			l := hold(t, s)
			check(t, l.Keep(Token{Text: agent.NewSecret("first")}))
			l.Release()
			c := exec.Command("strace", "-f", "-o", os.DevNull, "-e", fmt.Sprintf("inject=fsync:error=EIO:when=%d", when+1), os.Args[0])
			c.Env = append(os.Environ(), childState+"="+dir, childOnce+"=1")
			out, err := c.Output()
			got := strings.ReplaceAll(strings.TrimSpace(string(out)), filepath.Dir(s.path), "FOLDER")
			if !strings.HasPrefix(got, want) || (want == "") != (got == "") || (want == "") != (err == nil) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func requirePart(t *testing.T, name string, args ...string) {
	t.Helper()
	if err := exec.Command(name, args...).Run(); err == nil {
		return
	}
	if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
		t.Fatalf("%s is missing", name)
	}
	t.Skipf("%s is missing", name)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk and give folders away")
	}
}

// smallDisk is a state folder on a disk of its own, of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
			t.Fatal(err)
		}
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestAFullDiskIsSeenBeforeTheTokenIsUsed(t *testing.T) {
	dir := smallDisk(t)
	s := NewStore(dir, "cilogon")
	l := hold(t, s)
	check(t, l.Keep(robot("one")))
	full := filepath.Join(dir, "full")
	fill := func() { _ = os.WriteFile(full, make([]byte, 1<<20), 0o600) } // as far as it goes
	fill()
	wantError(t, l.Ready(), filepath.Dir(s.path), "no space left on device")
	if _, err := os.Lstat(l.room()); !os.IsNotExist(err) {
		t.Errorf("what did not fit is still there: %v", err)
	}
	wantError(t, l.Keep(robot("two")), s.path+": ", "no space left on device")
	if got, err := s.Read(); err != nil || got.Text.Reveal() != "one" {
		t.Errorf("the one before is lost: %v, %v", got, err)
	}
	check(t, os.Remove(full))
	check(t, l.Ready())
	fill()
	check(t, l.Keep(robot("two"))) // where Ready has kept room
}

func TestADiskThatIsReadOnlyIsSeenBeforeTheTokenIsUsed(t *testing.T) {
	dir := smallDisk(t)
	s := NewStore(dir, "cilogon")
	hold(t, s).Release()
	check(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	_, err := s.Lock(t.Context())
	wantError(t, err, s.queue+": ", "read-only file system")
}

func TestAFolderThatMayNotBeWrittenIsSeenBeforeTheTokenIsUsed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	s := NewStore(t.TempDir(), "cilogon")
	l := hold(t, s)
	folder := filepath.Dir(s.path)
	check(t, os.Chmod(folder, 0o500))
	defer os.Chmod(folder, 0o700)
	wantError(t, l.Ready(), folder, "permission denied")
}

func TestAFolderOfAnotherUserIsRefusedToRoot(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	check(t, os.Chown(dir, 54321, 54321))
	_, err := NewStore(dir, "cilogon").Lock(t.Context())
	wantError(t, err, dir+" belongs to uid 54321, not to root", "run this as that user")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("root left %v there, %v", entries, err)
	}
}

func TestAFolderThatOthersCanWriteIsRefusedToRoot(t *testing.T) {
	needRoot(t)
	s := NewStore(t.TempDir(), "cilogon")
	hold(t, s).Release()
	folder := filepath.Dir(s.path)
	check(t, os.Chmod(folder, 0o777))
	_, err := s.Lock(t.Context())
	wantError(t, err, folder, "chmod go-w "+folder)
}

func TestAStateFolderThatIsNoneIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(dir, nil, 0o600))
	_, err := NewStore(dir, "cilogon").Lock(t.Context())
	wantError(t, err, dir+": a file, not a folder")
}
