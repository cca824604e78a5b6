package main

import (
	"os"
	"strings"
	"testing"
)

// inDirectory is a shell script that runs a program where the C library finds users and groups
// in the files of a folder too, as it would ask SSSD or LDAP.
const inDirectory = `
sed -E 's/^(passwd|group|shadow):.*/\1: files extrausers/' /etc/nsswitch.conf >"$1/nsswitch.conf"
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
mount --bind "$1" /var/lib/extrausers
shift
exec "$@"`

// Many hosts of this field have their users from a directory service alone. The agent asks
// getent of the real C library.
func TestUsersThatOnlyADirectoryServiceKnows(t *testing.T) {
	t.Parallel()
	requireRoot(t, "write for others")
	requirePart(t, "unshare", "--mount", "test", "-e", "/usr/lib/libnss_extrausers.so.2")
	s := newSite(t, "")
	users := s.mkdir(t, "users", 0, 0o755)
	home := s.mkdir(t, "home", 71001, 0o700)
	s.mkdir(t, "shared", 0, 0o755)
	put(t, users+"/passwd", "mover:x:71001:71001::"+home+":/bin/sh\n")
	put(t, users+"/group", "mover:x:71001:\nreaders:x:71002:mover\n")
	put(t, users+"/shadow", "")
	shell(t, users, "chmod 0644 *")
	token := func(name, owner string) string {
		return `
token "` + name + `" {
  source = source.local_key.site
  sink "file" {
    path  = "${path.config}/shared/` + name + `"
    owner = "` + owner + `"
    group = "readers"
    mode  = "0640"
  }
  hook "on_change" {
    command = ["/bin/sh", "-c", "id -Gn >${path.config}/home/` + name + `"]
    user    = "mover"
  }
}
`
	}
	s.configure(t, token("one", "mover"))
	before := []string{"unshare", "--mount", "sh", "-e", "-c", inDirectory, "sh", users}
	s.start(t, before...)
	s.settled(t)
	eventually(t, "the hook has run as its user", func() bool {
		out, _ := os.ReadFile(home + "/one")
		return string(out) == "mover readers\n"
	})
	if owned := shell(t, s.folder, "stat -c '%u:%g %a' shared/one"); owned != "71001:71002 640\n" {
		t.Errorf("the token is %s", owned)
	}

	// A user that the service does not know yet is found by the next reload.
	s.configure(t, token("one", "mover")+token("two", "later"))
	out, err := s.command(before, "reload").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no user later in /etc/passwd, and getent knows none") {
		t.Fatalf("%v\n%s", err, out)
	}
	put(t, users+"/passwd", readFile(t, users+"/passwd")+"later:x:71003:71002::/:/bin/sh\n")
	if out, err := s.command(before, "reload").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, "the token of the new user", func() bool {
		_, err := os.Stat(s.path("shared/two"))
		return err == nil
	})
	if owned := shell(t, s.folder, "stat -c '%u:%g' shared/two"); owned != "71003:71002\n" {
		t.Errorf("the token is %s", owned)
	}
	s.stop(t)
}
