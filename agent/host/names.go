package host

import (
	"os/user"
	"strconv"
)

// A UserID is a uid that prints as people call the user: "root", "user condor", or
// "uid 54321" without a name. Print it only on a thread of this process's own
// identity: under another one the look-up may hang or be refused.
type UserID int

func (id UserID) String() string {
	if id == 0 {
		return "root"
	}
	if u, err := user.LookupId(strconv.Itoa(int(id))); err == nil {
		return "user " + u.Username
	}
	return "uid " + strconv.Itoa(int(id))
}

// A GroupID is a gid that prints as people call the group: "condor", or "gid
// 54321" without a name. It is printed where a UserID may be.
type GroupID int

func (id GroupID) String() string {
	if g, err := user.LookupGroupId(strconv.Itoa(int(id))); err == nil {
		return g.Name
	}
	return "gid " + strconv.Itoa(int(id))
}
