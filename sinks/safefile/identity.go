package safefile

import (
	"os"

	"github.com/tokenagent/tokenagent/agent/host"
)

// A User is an identity to write under.
type User = host.Identity

// Self is the identity of this process.
func Self() User { return host.Self() }

// as calls do under the identity of u, with group as its only further group if
// u belongs to it, and with none of root's powers over files.
func as(u User, group int, do func() error) error { return u.With(group).Do(do) }

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
	text := host.UserID(i.uid).String()
	for n, gid := range i.groups {
		text += []string{" with the group ", " and the group "}[min(n, 1)] + host.GroupID(gid).String()
	}
	if len(i.groups) > 0 {
		text += " alone"
	}
	return text
}

// identityOf is what as makes of a thread.
func identityOf(u User, group int) identity {
	u = u.With(group)
	return identity{u.UID, append([]int{u.GID}, u.Groups...)}
}
