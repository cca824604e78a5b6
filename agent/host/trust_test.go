package host

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhoElseCanChangeWhatLiesAtAPath(t *testing.T) {
	mine := Trust{}
	for name, c := range map[string]struct {
		trust Trust
		make  func(l layout)
		want  string // of each weakness, by line; "": none
	}{
		"root alone": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.file("etc/x.hcl", 0, 0, 0o644)
		}, ""},
		"the group of root": {mine, func(l layout) {
			l.folder("etc", 0, 0o775)
			l.file("etc/x.hcl", 0, 0, 0o664)
		}, ""},
		"everybody the file": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.file("etc/x.hcl", 0, 0, 0o646)
		}, "BASE/etc/x.hcl (owner root, mode 0646): everybody can change it; chmod go-w BASE/etc/x.hcl"},
		"a group the file": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.file("etc/x.hcl", 0, group, 0o664)
		}, "BASE/etc/x.hcl (owner root, mode 0664): the group gid 54333 can change it; chmod go-w BASE/etc/x.hcl"},
		"everybody a file in a closed folder": {mine, func(l layout) {
			l.folder("etc", 0, 0o700)
			l.file("etc/x.hcl", 0, group, 0o666)
		}, ""},
		"everybody a folder in a closed folder": {mine, func(l layout) {
			l.folder("closed", 0, 0o710)
			l.folder("closed/etc", 0, 0o777)
			l.file("closed/etc/x.hcl", 0, 0, 0o644)
			l.link("etc", "@closed/etc", 0)
		}, ""},
		"everybody a file in a folder that a group enters": {mine, func(l layout) {
			l.folder("etc", 0, 0o710)
			l.must(os.Chown(l.path("etc"), 0, group))
			l.file("etc/x.hcl", 0, 0, 0o666)
		}, "BASE/etc/x.hcl (owner root, mode 0666): everybody can change it; chmod go-w BASE/etc/x.hcl"},
		"everybody a file that has a name outside of its closed folder": {mine, func(l layout) {
			l.folder("etc", 0, 0o700)
			l.file("etc/x.hcl", 0, 0, 0o666)
			l.must(os.Link(l.path("etc/x.hcl"), l.path("y.hcl")))
		}, "BASE/etc/x.hcl (owner root, mode 0666): everybody can change it; chmod go-w BASE/etc/x.hcl"},
		"its owner a file in a closed folder": {mine, func(l layout) {
			l.folder("etc", 0, 0o700)
			l.file("etc/x.hcl", alice, alice, 0o644)
		}, "BASE/etc/x.hcl (owner uid 54331, mode 0644): its owner can change it; chown root BASE/etc/x.hcl"},
		"its owner the file": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.file("etc/x.hcl", alice, alice, 0o444)
		}, "BASE/etc/x.hcl (owner uid 54331, mode 0444): its owner can change it; chown root BASE/etc/x.hcl"},
		"its owner and everybody": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.file("etc/x.hcl", alice, group, 0o666)
		}, "its owner and the group gid 54333 and everybody can change it; chown root BASE/etc/x.hcl && chmod go-w BASE/etc/x.hcl"},
		"everybody the folder": {mine, func(l layout) {
			l.folder("etc", 0, 0o777)
			l.file("etc/x.hcl", 0, 0, 0o644)
		}, "BASE/etc (owner root, mode 0777): everybody can change it; chmod go-w BASE/etc"},
		"its owner the folder": {mine, func(l layout) {
			l.folder("etc", alice, 0o755)
			l.file("etc/x.hcl", 0, 0, 0o644)
		}, "BASE/etc (owner uid 54331, mode 0755): its owner can change it; chown root BASE/etc"},
		"a sticky folder": {mine, func(l layout) {
			l.folder("etc", 0, sticky)
			l.file("etc/x.hcl", 0, 0, 0o644)
		}, ""},
		"a file of another user in a sticky folder": {mine, func(l layout) {
			l.folder("etc", 0, sticky)
			l.file("etc/x.hcl", alice, alice, 0o644)
		}, "BASE/etc/x.hcl (owner uid 54331, mode 0644): its owner can change it"},
		"a link of another user in a sticky folder": {mine, func(l layout) {
			l.folder("etc", 0, sticky)
			l.folder("real", 0, 0o755)
			l.file("real/x.hcl", 0, 0, 0o644)
			l.link("etc/x.hcl", "@real/x.hcl", alice)
		}, "BASE/etc/x.hcl (owner uid 54331, mode 0777): its owner can replace it; chown -h root BASE/etc/x.hcl"},
		"a link through the folder of another user": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.folder("home", alice, 0o755)
			l.folder("real", 0, 0o755)
			l.file("real/x.hcl", 0, 0, 0o644)
			l.link("home/real", "../real", 0)
			l.link("etc/x.hcl", "@home/real/x.hcl", 0)
		}, "BASE/home (owner uid 54331, mode 0755): its owner can change it; chown root BASE/home"},
		"links of root's": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.folder("etc/..1", 0, 0o755)
			l.file("etc/..1/x.hcl", 0, 0, 0o644)
			l.link("etc/..data", "..1", 0)
			l.link("etc/x.hcl", "..data/x.hcl", 0)
		}, ""},
		"a list that names a user": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.file("etc/x.hcl", 0, 0, 0o644)
			l.acl("etc/x.hcl", "u:54331:rw")
		}, "BASE/etc/x.hcl (owner root, mode 0664): uid 54331 can change it; setfacl -b BASE/etc/x.hcl && chmod go-w BASE/etc/x.hcl"},
		"a list that names a group": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.acl("etc", "g:54333:rwx")
			l.file("etc/x.hcl", 0, 0, 0o644)
		}, "BASE/etc (owner root, mode 0775): the group gid 54333 can change it; setfacl -b BASE/etc"},
		"a list that lets nobody write": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.file("etc/x.hcl", 0, 0, 0o644)
			l.acl("etc/x.hcl", "u:54331:r,m::rw")
		}, ""},
		"a name that a shell would take apart": {mine, func(l layout) {
			l.folder("etc", 0, 0o755)
			l.folder("it's", 0, 0o757)
			l.file("it's/x.hcl", 0, 0, 0o644)
			l.link("etc/x.hcl", "@it's/x.hcl", 0)
		}, `everybody can change it; chmod go-w 'BASE/it'\''s'`},
		"a user who is trusted": {Trust{Users: []int{alice}}, func(l layout) {
			l.folder("etc", alice, 0o755)
			l.file("etc/x.hcl", alice, alice, 0o644)
		}, ""},
		"the user who called sudo": {Trust{Sudo: &Identity{UID: alice, GID: group}}, func(l layout) {
			l.folder("etc", alice, 0o775)
			l.own("etc", alice, group, 0o775)
			l.file("etc/x.hcl", alice, group, 0o664)
		}, "sudo: BASE/etc (owner uid 54331, mode 0775): its owner and the group gid 54333 can change it\nsudo: BASE/etc/x.hcl"},
		"another than called sudo": {Trust{Sudo: &Identity{UID: alice, GID: alice}}, func(l layout) {
			l.folder("etc", bob, 0o755)
			l.file("etc/x.hcl", alice, alice, 0o666)
		}, "BASE/etc (owner uid 54332, mode 0755): its owner can change it\nBASE/etc/x.hcl (owner uid 54331, mode 0666)"},
		"a file that is not there": {mine, func(l layout) {
			l.folder("etc", 0, 0o777)
		}, "BASE/etc (owner root, mode 0777): everybody"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			c.make(l)
			found, err := c.trust.Weaknesses(l.path("etc/x.hcl"))
			l.must(err)
			wantWeaknesses(t, found, strings.ReplaceAll(c.want, "BASE", l.base))
			f, again, err := c.trust.Open(l.path("etc/x.hcl"))
			if errors.Is(err, os.ErrNotExist) {
				return
			}
			l.must(err)
			defer f.Close()
			wantWeaknesses(t, again, strings.ReplaceAll(c.want, "BASE", l.base))
			if content, err := io.ReadAll(f); len(content) == 0 || err != nil {
				t.Errorf("read %q, %v", content, err)
			}
		})
	}
}

func wantWeaknesses(t *testing.T, found []*Weakness, want string) {
	t.Helper()
	lines := strings.Split(want, "\n")
	if want == "" {
		lines = nil
	}
	if len(found) != len(lines) {
		t.Fatalf("found %v, want %q", found, lines)
	}
	for i, w := range found {
		text := w.Error()
		if w.Sudo {
			text = "sudo: " + text
		}
		if !strings.Contains(text, lines[i]) || w.Sudo != strings.HasPrefix(lines[i], "sudo: ") {
			t.Errorf("found %q, want %q", text, lines[i])
		}
	}
}

func TestAFolderAtTheEndMustLetNobodyElseMakeFilesInIt(t *testing.T) {
	l := newLayout(t)
	l.folder("conf.d", 0, sticky)
	found, err := Trust{}.Weaknesses(l.path("conf.d"))
	l.must(err)
	wantWeaknesses(t, found, l.path("conf.d")+" (owner root, mode 1777): everybody can change it; chmod go-w ")
}

// The folders of a ConfigMap are 0777, on a mount that cannot be written.
func TestNobodyCanChangeWhatLiesOnAReadOnlyMount(t *testing.T) {
	l := newLayout(t)
	l.folder("map", 0, 0o777)
	l.file("map/x.hcl", 0, 0, 0o666)
	l.folder("etc", 0, 0o755)
	bind(l, "map", "etc")
	weaknesses := func(t Trust) int {
		found, err := t.Weaknesses(l.path("etc/x.hcl"))
		l.must(err)
		return len(found)
	}
	if n := weaknesses(Trust{ReadOnly: true}); n != 2 {
		t.Errorf("on a mount that can be written: %d weaknesses", n)
	}
	l.must(unix.Mount("", l.path("etc"), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if n := weaknesses(Trust{ReadOnly: true}); n != 2 {
		t.Errorf("where another mount can be written: %d weaknesses", n)
	}
	readOnly(l, "map")
	if n := weaknesses(Trust{ReadOnly: true}); n != 0 {
		t.Errorf("on a read-only mount: %d weaknesses", n)
	}
	if n := weaknesses(Trust{}); n != 2 {
		t.Errorf("where a read-only mount does not count: %d weaknesses", n)
	}
}

// Nor could somebody put a link there, so that of root's in a pod's Secret is followed.
func TestLinksOnAReadOnlyMountAreFollowed(t *testing.T) {
	t.Setenv("INVOCATION_ID", "")
	l := newLayout(t)
	l.folder("secret", 0, sticky)
	l.folder("secret/..1", 0, 0o755)
	l.file("secret/..1/key", 0, 0, 0o600)
	l.link("secret/..data", "..1", 0)
	l.link("secret/key", "..data/key", 0)
	l.folder("run", 0, 0o755)
	bind(l, "secret", "run")
	if _, err := l.read("run/key"); err == nil || !strings.Contains(err.Error(), "is a symbolic link in") {
		t.Errorf("where others can write it says %v", err)
	}
	l.must(unix.Mount("", l.path("run"), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := l.read("run/key"); err == nil || !strings.Contains(err.Error(), "is a symbolic link in") {
		t.Errorf("where another mount can be written it says %v", err)
	}
	readOnly(l, "secret")
	if content, err := l.read("run/key"); err != nil {
		t.Errorf("read %q, %v", content, err)
	}
	t.Setenv("INVOCATION_ID", "1") // systemd has mounted it so for this process alone
	if _, err := l.read("run/key"); err == nil || !strings.Contains(err.Error(), "is a symbolic link in") {
		t.Errorf("in the sandbox of a unit it says %v", err)
	}
}

func TestWhatLiesOnFUSEIsOfTheUserWhoMountedIt(t *testing.T) {
	for line, want := range map[string]int{
		"36 35 0:44 / /mnt rw,nosuid - fuse.sshfs alice@far:/ rw,user_id=54331,group_id=54331,allow_other": 54331,
		"36 35 0:44 / /mnt ro - fuse cvmfs2 ro,user_id=0,group_id=0,default_permissions":                   0,
	} {
		if uid, known := mounterIn(strings.NewReader(line), unix.Mkdev(0, 44)); uid != want || !known {
			t.Errorf("got %d, %v of %s", uid, known, line)
		}
	}
	for _, line := range []string{"36 35 0:45 / /mnt rw - fuse x rw,user_id=1", "36 35 0:44 / /mnt rw - virtiofs x rw", ""} {
		if uid, known := mounterIn(strings.NewReader(line), unix.Mkdev(0, 44)); known {
			t.Errorf("got %d of %s", uid, line)
		}
	}
}
