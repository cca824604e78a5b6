package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// getentThat makes a program of that script, which counts how often it is run.
func getentThat(t *testing.T, script string) (d *Database, runs func() int) {
	t.Helper()
	dir := t.TempDir()
	program, count := filepath.Join(dir, "getent"), filepath.Join(dir, "count")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho >>"+count+"\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Database{Getent: program}, func() int {
		content, _ := os.ReadFile(count) // none: it did not run
		return len(content)
	}
}

func TestGetentIsAskedOnceForEachName(t *testing.T) {
	d, runs := getentThat(t, `[ "$3" = frontend ] || exit 2; echo frontend:*:70001:70002::/home/frontend:/bin/sh`)
	for range 1000 {
		if u, err := d.User("frontend"); err != nil || u.UID != 70001 {
			t.Fatalf("the user is %+v, %v", u, err)
		}
		if _, err := d.User("none"); !errors.Is(err, ErrUnknown) {
			t.Fatalf("of no user it says %v", err)
		}
	}
	if n := runs(); n != 2 {
		t.Errorf("getent was run %d times", n)
	}
}

func TestASilentGetentIsNotAskedAgain(t *testing.T) {
	d, runs := getentThat(t, "exec sleep 60")
	d.Patience = 100 * time.Millisecond
	for _, name := range []string{"one", "two", "two"} {
		if _, err := d.User(name); errors.Is(err, ErrUnknown) || !strings.Contains(fmt.Sprint(err), "getent does not answer; is the directory service") {
			t.Errorf("of %s it says %v", name, err)
		}
	}
	if u, err := d.User("70009"); err != nil || u.UID != 70009 || u.GID != NoGroup || u.Unsure == nil {
		t.Errorf("of a number it says %+v, %v", u, err)
	}
	if n := runs(); n > 1 {
		t.Errorf("getent was run %d times", n)
	}
}

func TestAFailureOfGetentIsNoUnknownName(t *testing.T) {
	failing, _ := getentThat(t, "exit 1")
	none, nowhere := &Database{Getent: "/nowhere/getent"}, &Database{Getent: "getent-of-no-path"}
	for d, want := range map[*Database]string{
		failing: "getent cannot tell (exit status 1)",
		none:    "there is no /usr/bin/getent to ask",
		nowhere: "there is no /usr/bin/getent to ask",
	} {
		_, userErr := d.User("frontend")
		_, groupErr := d.Group("frontend")
		for _, err := range []error{userErr, groupErr} {
			if errors.Is(err, ErrUnknown) || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("it says %v, want %q", err, want)
			}
		}
	}
	if _, unsure := failing.GroupsOf(User{Name: "frontend", UID: 1, GID: 1}); unsure == nil {
		t.Error("the groups are known without getent")
	}
}

func TestUsersAndGroupsAreAskedOfGetent(t *testing.T) {
	d, _ := getentThat(t, `
case "$2 $3" in
"passwd frontend" | "passwd 70001") echo "frontend:*:70001:70002::/home/frontend:/bin/sh" ;;
"passwd odd") echo "odd:*:4294967295:70002::/:/bin/sh" ;;
"group htc") echo "htc:*:70003:frontend" ;;
"initgroups frontend") echo "frontend  70004 70003 70002" ;;
*) exit 2 ;;
esac`)
	want := User{Name: "frontend", UID: 70001, GID: 70002, Home: "/home/frontend"}
	for _, name := range []string{"frontend", "70001"} {
		if u, err := d.User(name); err != nil || u != want {
			t.Errorf("user %s is %+v, %v", name, u, err)
		}
	}
	if gid, err := d.Group("htc"); gid != 70003 || err != nil {
		t.Errorf("the group is %d, %v", gid, err)
	}
	if gids, unsure := d.GroupsOf(want); !slices.Equal(gids, []int{70002, 70003, 70004}) || unsure != nil {
		t.Errorf("the groups are %v, %v", gids, unsure)
	}
	for uid, want := range map[int]string{70001: "frontend", 70009: "70009"} {
		if name := d.NameOf(uid); name != want {
			t.Errorf("the name is %q, want %q", name, want)
		}
	}
	for name, want := range map[string]string{
		"none": "there is no user none in /etc/passwd, and getent knows none",
		"odd":  "the entry of user odd has no usable numbers",
	} {
		if _, err := d.User(name); err == nil || err.Error() != want {
			t.Errorf("it says %v, want %s", err, want)
		}
	}
}

func TestNoAccountHasTheNumberThatMeansNone(t *testing.T) {
	if _, err := (&Database{}).User("4294967295"); err == nil {
		t.Error("4294967295 is taken for a user; to the kernel it is no change")
	}
}

func TestRootIsFoundWithoutGetent(t *testing.T) {
	d := &Database{Getent: "/no/getent"}
	u, err := d.User("root")
	if err != nil || u.Name != "root" || u.UID != 0 || u.GID != 0 || u.Home != "/root" {
		t.Errorf("got %+v, %v", u, err)
	}
	if gids, unsure := d.GroupsOf(u); !slices.Contains(gids, 0) || unsure != nil {
		t.Errorf("its groups are %v, %v", gids, unsure)
	}
}
