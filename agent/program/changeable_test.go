package program

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent/host"
)

// newScript is a program in a folder of its own, both of which nobody else can
// change.
func newScript(t *testing.T) (folder, path string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "bin")
	path = filepath.Join(folder, "hook")
	wantNoError(t, os.Mkdir(folder, 0o755))
	wantNoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	for above := filepath.Dir(folder); above != filepath.Clean(os.TempDir()); above = filepath.Dir(above) {
		wantNoError(t, os.Chmod(above, 0o755)) // whatever the umask
	}
	return folder, path
}

func wantNoError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestProgramsThatOthersCanChangeAreWarnedOf(t *testing.T) {
	for what, test := range map[string]struct {
		change func(t *testing.T, folder, path string) (command string)
		want   string // "": no warning
		asRoot bool
	}{
		"nobody": {func(_ *testing.T, _, path string) string { return path }, "", false},
		"everybody the file": {func(t *testing.T, _, path string) string {
			wantNoError(t, os.Chmod(path, 0o757))
			return path
		}, "everybody can change it", false},
		"everybody the folder": {func(t *testing.T, folder, path string) string {
			wantNoError(t, os.Chmod(folder, 0o777))
			return path
		}, "everybody can change it", false},
		"a sticky folder": {func(t *testing.T, folder, path string) string {
			wantNoError(t, os.Chmod(folder, 0o777|os.ModeSticky))
			return path
		}, "", false},
		"a link to such a file": {func(t *testing.T, folder, path string) string {
			wantNoError(t, os.Chmod(path, 0o757))
			link := filepath.Join(t.TempDir(), "link")
			wantNoError(t, os.Symlink(path, link))
			return link
		}, "everybody can change it", false},
		"its owner": {func(t *testing.T, _, path string) string {
			wantNoError(t, os.Chown(path, 54321, 54321))
			return path
		}, "(owner uid 54321, mode 0755): its owner can change it; chown root ", true},
		"the folder's owner": {func(t *testing.T, folder, path string) string {
			wantNoError(t, os.Chown(folder, 54321, 54321))
			return path
		}, "(owner uid 54321, mode 0755): its owner can change it; chown root ", true},
		"a group": {func(t *testing.T, _, path string) string {
			wantNoError(t, os.Chown(path, 0, 54321))
			wantNoError(t, os.Chmod(path, 0o775))
			return path
		}, "the group gid 54321 can change it; chmod go-w ", true},
	} {
		t.Run(what, func(t *testing.T) {
			if test.asRoot && os.Geteuid() != 0 {
				t.Skip("only root can give files to another user")
			}
			folder, path := newScript(t)
			command := test.change(t, folder, path)
			_, faults := decode(t, false, `command = ["`+command+`"]`)
			switch {
			case test.want == "" && len(faults) > 0:
				t.Errorf("got %v", faults)
			case test.want != "" && (len(faults) != 1 || faults.HasErrors() || !strings.Contains(faults[0].Error(), "others can change the program") || !strings.Contains(faults[0].Error(), test.want)):
				t.Errorf("got %v, want a warning of %q", faults, test.want)
			}
			if _, faults := decode(t, true, `command = ["`+command+`"]`); len(faults) > 0 {
				t.Errorf("of the definition alone: %v", faults)
			}
		})
	}
}

// What belongs to the user of the hook is theirs to change.
func TestAProgramOfTheHooksOwnUserIsFine(t *testing.T) {
	_, path := newScript(t)
	if os.Geteuid() == 0 {
		wantNoError(t, os.Chown(path, 54321, 54321))
	}
	if got := changeable(host.Trust{}, path, 54321); os.Geteuid() == 0 && got != "" {
		t.Errorf("got %q", got)
	}
	if got := changeable(host.Trust{}, path, uint32(os.Geteuid())); (got != "") != (os.Geteuid() == 0) {
		t.Errorf("got %q", got)
	}
}
