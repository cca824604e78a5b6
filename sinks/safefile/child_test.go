package safefile

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary runs itself as another process: one to kill, one with another
// identity or fewer capabilities, one that attacks.
const (
	childRole   = "SAFEFILE_TEST_CHILD"
	childStep   = "SAFEFILE_TEST_STEP"   // the last one before death
	childTarget = "SAFEFILE_TEST_TARGET" // JSON of a Target
)

func TestMain(m *testing.M) {
	role := os.Getenv(childRole)
	if role == "" {
		os.Exit(m.Run())
	}
	var target Target
	if err := json.Unmarshal([]byte(os.Getenv(childTarget)), &target); err != nil {
		panic(err)
	}
	children[role](target)
}

var children = map[string]func(Target){
	"write": writeOnce,
	"loop":  writeForEver,
	"die":   writeAndDie,
}

// A report is what a writing child has to say.
type report struct {
	Result  Result
	Error   string
	Look    string // what Look says after the write
	Read    string // what Read says
	Restore string // and after the file was removed and written again
}

// writeOnce writes "new", looks at it, removes it and writes it again. It prints a report.
func writeOnce(target Target) {
	runtime.LockOSThread() // strace counts the calls of a thread
	f := New(target)
	var r report
	var err error
	if r.Result, err = f.Write(context.Background(), []byte("new")); err != nil {
		r.Error = err.Error()
	} else {
		r.Look = said(f.Look())
		content, err := f.Read()
		r.Read = said(string(content), err)
		if err := f.Remove(context.Background()); err != nil {
			r.Restore = err.Error()
		}
		r.Restore += said(f.Look())
		if _, err := f.Write(context.Background(), []byte("new")); err != nil {
			r.Restore += ", " + err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

func said(text string, err error) string {
	if err != nil {
		return err.Error()
	}
	return text
}

// writeForEver writes numbered contents, and says so before the first and after each.
func writeForEver(target Target) {
	f := New(target)
	fmt.Println("writing")
	for {
		if _, err := f.Write(context.Background(), numbered(time.Now().UnixNano())); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("written")
	}
}

// writeAndDie writes "new" as far as a step and is killed there.
func writeAndDie(target Target) {
	f := New(target)
	f.passed = func(step int) error {
		if fmt.Sprint(step) == os.Getenv(childStep) {
			_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
			select {}
		}
		return nil
	}
	_, err := f.Write(context.Background(), []byte("new"))
	panic(err) // it should not have come so far
}

// child is the command that runs the test binary in that role.
func child(t testing.TB, role string, target Target, before ...string) *exec.Cmd {
	t.Helper()
	encoded, err := json.Marshal(target)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	argv := append(before, self)
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childRole+"="+role, childTarget+"="+string(encoded))
	c.Stderr = os.Stderr
	return c
}

// asSomebody makes c run as somebody, if root runs the test.
func asSomebody(c *exec.Cmd) *exec.Cmd {
	if os.Geteuid() == 0 {
		c.Path = "/proc/self/exe" // the test binary may lie where only root can pass
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(somebody.UID), Gid: uint32(somebody.GID)}}
	}
	return c
}

// reportOf runs a child that writes once.
func reportOf(t testing.TB, c *exec.Cmd) (r report) {
	t.Helper()
	out, err := c.Output()
	if err != nil || json.Unmarshal(out, &r) != nil {
		t.Fatalf("the child says %q, %v", out, err)
	}
	return r
}

// needTool finds a program, or skips the test with a word; where
// TOKENAGENT_REQUIRE_REAL=1, as in CI, it fails instead.
func needTool(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, fmt.Sprintf("%s is not installed (package %s)", name, pkg))
	}
	return path
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// numbered is a content that tells itself whole: the number n, as often as n says.
func numbered(n int64) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%020d\n", n), 1+int(n%211)))
}

// numberOf is the number of a whole numbered content.
func numberOf(content []byte) (n int64, err error) {
	if _, err := fmt.Sscanf(string(content), "%d\n", &n); err != nil {
		return 0, fmt.Errorf("%d bytes that are no content: %w", len(content), err)
	}
	if string(content) != string(numbered(n)) {
		return 0, fmt.Errorf("%d bytes that are not the whole content %d", len(content), n)
	}
	return n, nil
}

// watch reads path until stop is closed, and tells of the first read that finds
// something else than a whole content, or an older one than before.
func watch(path string, stop <-chan struct{}) (reads int, err error) {
	var last int64
	for ; ; reads++ {
		select {
		case <-stop:
			return reads, nil
		default:
		}
		file, err := os.Open(path)
		if err != nil {
			return reads, err
		}
		content, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return reads, err
		}
		n, err := numberOf(content)
		if err != nil || n < last {
			return reads, fmt.Errorf("read %d: content %d after %d: %v", reads, n, last, err)
		}
		last = n
	}
}
