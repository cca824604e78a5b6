package safefile

import (
	"fmt"
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
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			err := as(u, group, do) // on another thread, as this one is taken
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err := become(u, group)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
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
		return fmt.Errorf("cannot write as %s: %w; the agent needs the capability CAP_SETGID", userName(u.UID), err)
	}
	if !takesOn(unix.SetfsgidRetGid, u.GID) {
		return fmt.Errorf("cannot write with the group %s; the agent needs the capability CAP_SETGID", groupName(u.GID))
	}
	if !takesOn(unix.SetfsuidRetUid, u.UID) {
		return fmt.Errorf("cannot write as %s; the agent needs the capability CAP_SETUID", userName(u.UID))
	}
	if now, err := unix.Getgroups(); err != nil || !slices.Equal(now, groups) {
		return fmt.Errorf("cannot write as %s: its groups are %v, not %v", userName(u.UID), now, groups)
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
