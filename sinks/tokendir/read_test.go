package tokendir

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSymlinksAreFollowed(t *testing.T) {
	dir := directory(t, map[string]string{".real": good})
	must(t, os.Symlink(".real", filepath.Join(dir, "a")))
	must(t, os.Symlink("/nowhere/at/all", filepath.Join(dir, "b")))
	must(t, os.Symlink("c", filepath.Join(dir, "c")))
	wantVerdicts(t, dir, self(), ".real name\na:1 sent\nb unreadable\nc unreadable\n")
	for _, f := range mustRead(t, dir, self()).Findings() {
		if want := "remove the link: rm " + filepath.Join(dir, f.Name); f.Remedy != want || !strings.HasPrefix(f.Text, "it is a symbolic link that leads nowhere: ") {
			t.Errorf("%s: %s; %s, want %s", f.Name, f.Text, f.Remedy, want)
		}
	}
}

func TestNothingCanBlock(t *testing.T) {
	dir := directory(t, map[string]string{"z": good})
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, unix.Mkfifo(filepath.Join(dir, ".fifo"), 0o600))
	must(t, os.Symlink("/dev/zero", filepath.Join(dir, "device")))
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	defer listener.Close()
	wantVerdicts(t, dir, self(), ".fifo name\ndevice special\nfifo blocks\nsocket special\nz:1 never reached by fifo\n")
}

func TestExchangedWhileReading(t *testing.T) {
	dir := directory(t, map[string]string{"a": good})
	spare := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(spare, "fifo"), 0o600))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "a"), unix.AT_FDCWD, filepath.Join(spare, "fifo"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	for range 500 {
		if got := verdicts(mustRead(t, dir, self())); got != "a:1 sent\n" && got != "a blocks\n" {
			t.Error(got)
			break
		}
	}
	close(stop)
	<-stopped
}

func TestTooLargeIsNotRead(t *testing.T) {
	many := strings.Repeat(good+"\n", 50)
	dir := directory(t, map[string]string{"a": strings.Repeat(good, maxFile/len(good)+1), "b": many})
	r := mustRead(t, dir, self())
	if got, _, _ := strings.Cut(verdicts(r), "\n"); got != "a too large" {
		t.Error(got)
	}
	if len(r.Entries) != 51 {
		t.Errorf("%d entries, want one for the large file and 50 tokens", len(r.Entries))
	}
	if want := "If it has a NUL byte after the first 16777216"; !strings.Contains(r.Entries[0].Reason, want) {
		t.Errorf("got %q, want it to have %q", r.Entries[0].Reason, want)
	}
}

func TestNULBytesInWhatIsTooLarge(t *testing.T) {
	dir := directory(t, map[string]string{"a": other, "b": good})
	must(t, os.Truncate(filepath.Join(dir, "a"), 1<<40))
	wantVerdicts(t, dir, self(), "a:1 sent\na spins\nb:1 never reached by a\n")
}

func TestDirectoryThatItsReaderCannotList(t *testing.T) {
	stranger := Reader{User: User{Name: "frontend", UID: os.Getuid() + 1}}
	for _, c := range []struct {
		above, mode fs.FileMode
		denied      bool
	}{
		{0o755, 0o700, true}, {0o755, 0o701, true}, {0o755, 0o711, true}, {0o755, 0o750, false}, {0o755, 0o755, false},
		{0o700, 0o755, true}, {0o744, 0o755, true}, {0o711, 0o755, false}, {0o710, 0o755, false},
	} {
		dir := directory(t, nil)
		must(t, os.Chmod(dir, c.mode))
		must(t, os.Chmod(filepath.Dir(dir), c.above))
		findings := mustRead(t, dir, stranger).Findings()
		if got := len(findings) == 1 && findings[0].Grave; got != c.denied {
			t.Errorf("modes %04o and %04o: %v", c.above, c.mode, findings)
		}
		if findings := mustRead(t, dir, self()).Findings(); len(findings) > 0 {
			t.Errorf("for its owner: %v", findings)
		}
	}
}

func TestADirectoryOfTooManyNamesIsNotRead(t *testing.T) {
	dir := t.TempDir()
	for n := range maxNames + 1 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(dir, Reader{}, time.Now()); err == nil || !strings.Contains(err.Error(), dir+": more than 16384 names") {
		t.Errorf("Read says %v", err)
	}
}
