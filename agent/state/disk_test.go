package state

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

// childDir has the test binary run as another process, which keeps records in that folder.
const childDir = "STATE_TEST_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := keepSome(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// keepSome writes each file of a new folder, and appends to each journal.
func keepSome(dir string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	one := []agent.Record{recordOf("a", 0)}
	if err := s.Keep(one); err != nil {
		return err
	}
	if err := s.Keep(append(one, recordOf("b", 0))); err != nil {
		return err
	}
	for _, token := range []string{"a", "b"} { // the first one makes the file
		if err := s.Begin(context.Background(), begins(hooks.OnChange, token)); err != nil {
			return err
		}
	}
	if w := s.Warnings(); len(w) > 0 {
		return fmt.Errorf("%q", w)
	}
	return nil
}

// traced runs keepSome under strace, and returns the calls that it made.
func traced(t *testing.T, dir string, options ...string) (calls string, err error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "calls")
	c := exec.Command("strace", append(append([]string{"-f", "-y", "-o", out}, options...), os.Args[0])...)
	c.Env = append(os.Environ(), childDir+"="+dir)
	said, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said)
	}
	text, _ := os.ReadFile(out)
	return string(text), err
}

// What was kept is there after a power cut: a new file is synced before it gets its name, the
// folder after that, and a journal after each line.
func TestWhatIsKeptIsOnTheDisk(t *testing.T) {
	needStrace(t)
	dir := filepath.Join(t.TempDir(), "state")
	calls, err := traced(t, dir, "-e", "trace=fsync,fdatasync,renameat")
	must(t, err)
	left := regexp.MustCompile(`[0-9]+<`).ReplaceAllString(calls, "FD<")
	for _, want := range []string{
		"fsync(FD<" + dir + "/" + recordsName + ".tmp>", `"` + dir + "/" + recordsName + `"`, "fsync(FD<" + dir + ">",
		"fdatasync(FD<" + dir + "/" + recordsName + ">", "fdatasync(FD<" + dir + "/" + begunName + ">",
	} {
		_, after, found := strings.Cut(left, want)
		if !found {
			t.Fatalf("no %s in its place in\n%s", want, calls)
		}
		left = after
	}
}

func TestAnErrorOfTheDiskIsNoticed(t *testing.T) {
	needStrace(t)
	for name, told := range map[string]bool{
		"":               true, // the folder
		keyName + ".tmp": true, recordsName + ".tmp": true, begunName + ".tmp": true,
		recordsName: true,
		begunName:   false, // then the whole file is written again
	} {
		dir := filepath.Join(t.TempDir(), "state")
		if _, err := traced(t, dir, "-P", filepath.Join(dir, name), "-e", "inject=fsync,fdatasync:error=EIO"); (err != nil) != told {
			t.Errorf("of %q: %v", name, err)
		}
	}
}

func needStrace(t *testing.T) {
	t.Helper()
	if exec.Command("strace", "-o", "/dev/null", "true").Run() == nil {
		return
	}
	if os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1" {
		t.Fatal("strace is missing")
	}
	t.Skip("strace is missing")
}
