package host

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The keeper of these files is bob, who is in the group.
var keeperBob = Identity{UID: bob, GID: bob, Groups: []int{group}}

// strangers are users who may try the files of a test.
var strangers = map[string]Identity{
	"nobody in particular": {UID: 54341, GID: 54341},
	"alice":                {UID: alice, GID: alice},
	"one of the group":     {UID: 54342, GID: group},
	"one of another group": {UID: 54343, GID: 54344},
}

// can reports whether one of the strangers can open the file so; one of the keeper's
// group does not count where ours is true.
func can(t *testing.T, path string, flags int, ours bool) bool {
	t.Helper()
	for name, who := range strangers {
		if ours && who.GID == group {
			continue
		}
		err := who.Do(func() error {
			f, err := os.OpenFile(path, flags, 0)
			if err == nil {
				f.Close()
			}
			return err
		})
		if err == nil {
			t.Logf("%s can", name)
			return true
		}
	}
	return false
}

// strangersOf opens the file as the keeper's and says who else can read or write it.
func strangersOf(t *testing.T, path string, keeper Identity) string {
	t.Helper()
	f, err := OpenPlain(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Keeper = keeper
	readers, writers := f.Strangers(path)
	return fmt.Sprintf("read %v, write %v", readers, writers)
}

func TestStrangersAreThoseWhoReallyCanReadOrWriteTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		make func(l layout)
		want string
	}{
		"its owner alone":             {func(l layout) { l.file("d/f", bob, bob, 0o600) }, "read [], write []"},
		"the keeper's group reads":    {func(l layout) { l.file("d/f", 0, group, 0o440) }, "read [], write []"},
		"the keeper's group writes":   {func(l layout) { l.file("d/f", 0, group, 0o660) }, "read [], write [the group gid 54333]"},
		"another group reads":         {func(l layout) { l.file("d/f", 0, 54344, 0o440) }, "read [the group gid 54344], write []"},
		"everybody reads":             {func(l layout) { l.file("d/f", 0, 0, 0o444) }, "read [the group root everybody], write []"},
		"everybody may execute":       {func(l layout) { l.file("d/f", bob, bob, 0o711) }, "read [], write []"},
		"a list for the keeper":       {func(l layout) { l.file("d/f", 0, 0, 0o400); l.acl("d/f", fmt.Sprintf("u:%d:r", bob)) }, "read [], write []"},
		"a list for another user":     {func(l layout) { l.file("d/f", 0, 0, 0o400); l.acl("d/f", fmt.Sprintf("u:%d:r", alice)) }, "read [uid 54331], write []"},
		"a list for another to write": {func(l layout) { l.file("d/f", 0, 0, 0o400); l.acl("d/f", fmt.Sprintf("u:%d:rw", alice)) }, "read [uid 54331], write [uid 54331]"},
		"a list for the group":        {func(l layout) { l.file("d/f", 0, 0, 0o400); l.acl("d/f", fmt.Sprintf("g:%d:r", group)) }, "read [], write []"},
		"a list for another group":    {func(l layout) { l.file("d/f", 0, 0, 0o400); l.acl("d/f", "g:54344:r") }, "read [the group gid 54344], write []"},
		"a list that its mask annuls": {func(l layout) { l.file("d/f", 0, 0, 0o400); l.acl("d/f", fmt.Sprintf("u:%d:r,m::-", alice)) }, "read [], write []"},
		"a closed folder":             {func(l layout) { l.file("d/f", bob, bob, 0o666); l.own("d", bob, bob, 0o700) }, "read [], write []"},
		"a closed folder of root's":   {func(l layout) { l.file("d/f", bob, bob, 0o444); l.own("d", 0, 0, 0o700) }, "read [], write []"},
		"a folder for a list": {func(l layout) {
			l.file("d/f", 0, 0, 0o444)
			l.own("d", 0, 0, 0o500)
			l.acl("d", fmt.Sprintf("u:%d:rx", bob))
		}, "read [], write []"},
		"a folder for another's list": {func(l layout) {
			l.file("d/f", 0, 0, 0o444)
			l.own("d", 0, 0, 0o500)
			l.acl("d", fmt.Sprintf("u:%d:rx", alice))
		}, "read [the group root everybody], write []"},
		"a folder of the group":      {func(l layout) { l.file("d/f", 0, 0, 0o666); l.own("d", 0, group, 0o750) }, "read [], write [the group root everybody]"},
		"a folder of another group":  {func(l layout) { l.file("d/f", 0, 0, 0o444); l.own("d", 0, 54344, 0o750) }, "read [the group root everybody], write []"},
		"a folder of another user":   {func(l layout) { l.file("d/f", 0, 0, 0o444); l.own("d", alice, alice, 0o700) }, "read [the group root everybody], write []"},
		"a folder that lists to all": {func(l layout) { l.file("d/f", bob, bob, 0o604); l.own("d", bob, bob, 0o704) }, "read [], write []"},
		"a folder that all pass":     {func(l layout) { l.file("d/f", bob, bob, 0o604); l.own("d", bob, bob, 0o701) }, "read [everybody], write []"},
		"a closed folder farther up": {func(l layout) {
			l.folder("d/e", bob, 0o755)
			l.link("d/f", "e/f", bob)
			l.file("d/e/f", bob, bob, 0o604)
			l.own("d", bob, bob, 0o700)
		}, "read [], write []"},
		"only the link is in a closed": {func(l layout) { l.file("f", bob, bob, 0o604); l.link("d/f", "../f", bob); l.own("d", bob, bob, 0o700) }, "read [everybody], write []"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			l.folder("d", 0, 0o755)
			c.make(l)
			path := l.path("d/f")
			got := strangersOf(t, path, keeperBob)
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			real, err := filepath.EvalSymlinks(path)
			l.must(err)
			if c, said := can(t, real, os.O_RDONLY, true), !strings.HasPrefix(got, "read []"); c != said {
				t.Errorf("that a stranger can read it is %v, and it says %s", c, got)
			}
			if c, said := can(t, real, os.O_WRONLY, false), !strings.HasSuffix(got, "write []"); c != said {
				t.Errorf("that a stranger can write it is %v, and it says %s", c, got)
			}
		})
	}
}

// Another name of the file may lie where everybody can read it.
func TestAClosedFolderDoesNotCountForAFileWithTwoNames(t *testing.T) {
	l := newLayout(t)
	l.folder("d", bob, 0o700)
	l.file("d/f", bob, bob, 0o604)
	l.must(os.Link(l.path("d/f"), l.path("elsewhere")))
	if got := strangersOf(t, l.path("d/f"), keeperBob); got != "read [everybody], write []" || !can(t, l.path("elsewhere"), os.O_RDONLY, true) {
		t.Errorf("it says %s", got)
	}
}

func TestNobodyWritesToAReadOnlyMount(t *testing.T) {
	l := newLayout(t)
	t.Setenv("INVOCATION_ID", "")
	l.folder("d", 0, 0o755)
	l.file("d/f", bob, bob, 0o622)
	if got := strangersOf(t, l.path("d/f"), keeperBob); got != "read [], write [the group "+GroupID(bob).String()+" everybody]" {
		t.Errorf("before, it says %s", got)
	}
	readOnly(l, "d")
	if got := strangersOf(t, l.path("d/f"), keeperBob); got != "read [], write []" || can(t, l.path("d/f"), os.O_WRONLY, false) {
		t.Errorf("it says %s", got)
	}
}

// What a folder closes may be open where another mount shows it.
func TestAFolderIsClosedOnlyIfAllMountsOfItAre(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		want     string
		weak     bool
	}{
		"a folder in the open":          {"closed/sub", "open", "read [everybody], write [everybody]", true},
		"the file itself":               {"closed/sub/f", "place", "read [everybody], write [everybody]", true},
		"the closed folder in the open": {"closed", "open", "read [], write []", false},
		"a folder in a closed one":      {"closed/sub", "other/sub", "read [], write []", false},
		"another folder":                {"closed/more", "open", "read [], write []", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			for _, folder := range []string{"open", "closed", "closed/sub", "closed/more", "other", "other/sub"} {
				l.folder(folder, bob, 0o755)
			}
			l.own("closed", bob, bob, 0o700)
			l.own("other", bob, bob, 0o700)
			l.file("closed/sub/f", bob, bob, 0o606)
			l.file("place", bob, bob, 0o600)
			bind(l, c.from, c.to)
			if got := strangersOf(t, l.path("closed/sub/f"), keeperBob); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			weak, err := Trust{Users: []int{bob}}.Weaknesses(l.path("closed/sub/f"))
			if err != nil || (len(weak) > 0) != c.weak {
				t.Errorf("weaknesses %v, %v", weak, err)
			}
		})
	}
}

func TestAReadOnlyMountDoesNotCountWhereAnotherCanBeWritten(t *testing.T) {
	l := newLayout(t)
	t.Setenv("INVOCATION_ID", "")
	l.folder("d", 0, 0o755)
	l.folder("e", 0, 0o755)
	l.file("d/f", bob, bob, 0o602)
	bind(l, "d", "e")
	l.must(unix.Mount("", l.path("e"), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	l.link("link", "e/f", 0)
	if got := strangersOf(t, l.path("link"), keeperBob); got != "read [], write [everybody]" || !can(t, l.path("d/f"), os.O_WRONLY, false) {
		t.Errorf("it says %s", got)
	}
	readOnly(l, "d")
	if got := strangersOf(t, l.path("link"), keeperBob); got != "read [], write []" || can(t, l.path("d/f"), os.O_WRONLY, false) {
		t.Errorf("after both are read-only, it says %s", got)
	}
}

func TestPathsInMountinfoAreUnescaped(t *testing.T) {
	for escaped, want := range map[string]string{"/": "", "/a": "/a", `/a\040b\134c`: `/a b\c`} {
		if got := unescaped(escaped); got != want {
			t.Errorf("%s: %q, want %q", escaped, got, want)
		}
	}
}

// bind mounts one place over the other, too.
func bind(l layout, from, to string) {
	l.Helper()
	if err := unix.Mount(l.path(from), l.path(to), "", unix.MS_BIND, ""); err != nil {
		l.Skipf("nothing can be mounted here: %v", err)
	}
	l.Cleanup(func() { _ = unix.Unmount(l.path(to), unix.MNT_DETACH) })
}

// readOnly mounts the folder over itself.
func readOnly(l layout, name string) {
	l.Helper()
	bind(l, name, name)
	l.must(unix.Mount("", l.path(name), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}

func TestAdviceFitsWhereTheFileLies(t *testing.T) {
	advice := Advice{Command: "chmod 0600 f", InPod: "defaultMode: 0440", InUnit: "run this as its user"}
	for name, c := range map[string]struct {
		make func(l layout) (name string)
		want string
	}{
		"an ordinary file": {func(l layout) string { return "d/f" }, "chmod 0600 f"},
		"a credential": {func(l layout) string {
			l.Setenv("CREDENTIALS_DIRECTORY", l.path("d"))
			return "d/f"
		}, "run this as its user"},
		"a secret of a container": {func(l layout) string {
			if err := os.Mkdir("/run/secrets", 0o755); err != nil {
				l.Skipf("/run/secrets: %v", err)
			}
			l.Cleanup(func() { _ = os.RemoveAll("/run/secrets") })
			l.must(os.WriteFile("/run/secrets/f", nil, 0o444))
			l.link("d/secret", "/run/secrets/f", 0)
			return "d/secret"
		}, "where the container is defined, give the secret uid: and mode: 0400"},
		"a Secret of Kubernetes": {func(l layout) string {
			l.folder("d/..2026_11_30", 0, 0o755)
			l.file("d/..2026_11_30/key", 0, 0, 0o444)
			l.link("d/..data", "..2026_11_30", 0)
			l.link("d/key", "..data/key", 0)
			return "d/key"
		}, "in the pod: defaultMode: 0440"},
		"a read-only mount": {func(l layout) string {
			readOnly(l, "d")
			return "d/f"
		}, "it is mounted read-only, so change it where it comes from, as here: chmod 0600 f"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			l.folder("d", 0, 0o755)
			l.file("d/f", 0, 0, 0o444)
			path := l.path(c.make(l))
			f, err := OpenPlain(path)
			l.must(err)
			defer f.Close()
			if got := f.Closing(path, advice); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAFileIsOpenToAllWhereEverybodyGetsThere(t *testing.T) {
	for name, c := range map[string]struct {
		file, folder fs.FileMode
		want         bool
	}{
		"everybody reads":           {0o644, 0o755, true},
		"everybody writes":          {0o602, 0o701, true},
		"a group reads":             {0o640, 0o755, false},
		"a folder keeps others out": {0o644, 0o750, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			l.folder("d", alice, c.folder)
			l.file("d/f", alice, alice, c.file)
			f, err := OpenPlain(l.path("d/f"))
			l.must(err)
			defer f.Close()
			if got := f.OpenToAll(l.path("d/f")); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
