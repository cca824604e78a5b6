package safefile

import (
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// as calls do under the identity of u, with group as its only further group if
// u belongs to it, and with none of root's powers over files.
//
// The identity is that of one thread, and is never taken off again: the thread
// ends with the goroutine that is locked to it. Only the main thread would stay
// (the runtime parks it instead, with the foreign identity), so it is passed over.
func as(u User, group int, do func() error) error {
	done := make(chan end)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			e := endOf(func() error { return as(u, group, do) }) // on another thread, as this one is taken
			runtime.UnlockOSThread()
			done <- e
			return
		}
		done <- endOf(func() error {
			if err := become(u, group); err != nil {
				return err
			}
			return do()
		})
	}()
	e := <-done
	if e.thrown != nil {
		panic(e.thrown) // where somebody may catch it
	}
	return e.err
}

// An end is how a call on another goroutine ended.
type end struct {
	err    error
	thrown any // by a panic
}

func endOf(do func() error) (e end) {
	defer func() { e.thrown = recover() }()
	e.err = do()
	return e
}

// become gives the calling thread the identity of u for everything that touches
// files, and reads it back. These calls, unlike those of package syscall, change
// the calling thread alone.
func become(u User, group int) error {
	groups := []int{}
	if group != u.GID && u.In(group) {
		groups = append(groups, group)
	}
	if err := unix.Setgroups(groups); err != nil {
		return explain(err, "cannot write as %v: %v; the agent needs the capability CAP_SETGID", userID(u.UID), err)
	}
	if !takesOn(unix.SetfsgidRetGid, u.GID) {
		return explain(unix.EPERM, "cannot write with the group %v; the agent needs the capability CAP_SETGID", groupID(u.GID))
	}
	if !takesOn(unix.SetfsuidRetUid, u.UID) {
		return explain(unix.EPERM, "cannot write as %v; the agent needs the capability CAP_SETUID", userID(u.UID))
	}
	if now, err := unix.Getgroups(); err != nil || !slices.Equal(now, groups) {
		return explain(err, "cannot write as %v: its groups are %v, not %v", userID(u.UID), now, groups)
	}
	return nil
}

// takesOn sets an id and reads it back: both calls only tell the former one.
func takesOn(set func(int) (int, error), id int) bool {
	_, _ = set(id)
	now, err := set(id)
	return err == nil && now == id
}

// privileged reports whether the process may take on other identities at all.
func privileged() bool { return os.Geteuid() == 0 }

// An identity is what a thread touches files under.
type identity struct {
	uid    int
	groups []int // all that it has, where that is not all that the user has
}

// String is for errors: a user who wonders why a folder of one of his groups is
// closed is told that not all of them are taken on.
func (i identity) String() string {
	text := userID(i.uid).String()
	for n, gid := range i.groups {
		text += []string{" with the group ", " and the group "}[min(n, 1)] + groupID(gid).String()
	}
	if len(i.groups) > 0 {
		text += " alone"
	}
	return text
}

// identityOf is what become makes of a thread.
func identityOf(u User, group int) identity {
	i := identity{u.UID, []int{u.GID}}
	if group != u.GID && u.In(group) {
		i.groups = append(i.groups, group)
	}
	return i
}
