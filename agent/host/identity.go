package host

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// An Identity is the user and the groups, by number, as which a process or thread opens files.
type Identity struct {
	UID    int
	GID    int   // the primary group
	Groups []int // further groups
}

// Self is the identity of this process.
func Self() Identity {
	groups, _ := os.Getgroups() // it cannot fail on Linux
	return Identity{UID: os.Geteuid(), GID: os.Getegid(), Groups: groups}
}

// In reports whether the identity belongs to the group.
func (i Identity) In(gid int) bool { return gid == i.GID || slices.Contains(i.Groups, gid) }

// With is the identity with the group as its only further group; with none if it does not belong
// to the group.
func (i Identity) With(group int) Identity {
	all := i
	i.Groups = nil
	if group != i.GID && all.In(group) {
		i.Groups = []int{group}
	}
	return i
}

// Do calls do on a thread of its own that opens files as i and without root's
// powers over files. Only root can, with the capabilities CAP_SETUID and
// CAP_SETGID; without them the error is a *Powerless. A panic of do is the caller's.
//
// The thread keeps the identity until it ends, with do; see OnThread.
func (i Identity) Do(do func() error) error {
	var e end
	OnThread(func() {
		e = endOf(func() error {
			if err := errors.Join(i.takeOn(), Undumpable()); err != nil {
				return err
			}
			return do()
		})
	})
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

// takeOn gives the calling thread the identity for files, and reads it back. Unlike those of
// package syscall, these calls change the calling thread alone.
func (i Identity) takeOn() error {
	if err := unix.Setgroups(i.Groups); err != nil {
		return &Powerless{i.UID, "CAP_SETGID", err}
	}
	if !takesOn(unix.SetfsgidRetGid, i.GID) {
		return &Powerless{i.UID, "CAP_SETGID", unix.EPERM}
	}
	if !takesOn(unix.SetfsuidRetUid, i.UID) {
		return &Powerless{i.UID, "CAP_SETUID", unix.EPERM}
	}
	now, err := unix.Getgroups()
	if err != nil || !sameGroups(now, i.Groups) {
		return &Powerless{i.UID, "CAP_SETGID", errors.Join(err, fmt.Errorf("the groups are %v, not %v", now, i.Groups))}
	}
	return nil
}

// takesOn sets an id and reads it back: these calls return the former one only.
func takesOn(set func(int) (int, error), id int) bool {
	_, _ = set(id)
	now, err := set(id)
	return err == nil && now == id
}

// sameGroups compares groups, which the kernel sorts.
func sameGroups(a, b []int) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// A Powerless is the error of a process that cannot take on the identity of a user.
type Powerless struct {
	UID        int
	Capability string // that it lacks
	Err        error
}

// Error names the user and the capability.
func (p *Powerless) Error() string {
	return fmt.Sprintf("cannot touch files as %v: %v; the agent needs the capability %[3]s (under systemd CapabilityBoundingSet=%[3]s in a drop-in, which tokenagent systemd-dropin prints (with the --config of this agent))", UserID(p.UID), p.Err, p.Capability)
}

// Unwrap is the error of the system call.
func (p *Powerless) Unwrap() error { return p.Err }
