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
	groups []int // if they are not all of the user's
}

// String is for errors. It names the groups: a folder may be closed because not all of
// the user's groups are taken on.
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

// identityOf is the identity that a write takes on.
func identityOf(u host.Identity, group int) identity {
	u = u.With(group)
	return identity{u.UID, append([]int{u.GID}, u.Groups...)}
}
