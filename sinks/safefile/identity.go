package safefile

import (
	"os"

	"github.com/tokenagent/tokenagent/agent/host"
)

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
func identityOf(u host.Identity, group int) identity {
	u = u.With(group)
	return identity{u.UID, append([]int{u.GID}, u.Groups...)}
}
