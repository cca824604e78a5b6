package host

import (
	"os/user"
	"strconv"
)

// A UserID is a uid that prints as "root", "user condor", or without a name "uid 54321". Print it
// only under this process's own identity: under another one the look-up may hang or fail.
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

// A GroupID is a gid that prints as "condor", or without a name "gid 54321". Print it where a
// UserID may be printed.
type GroupID int

func (id GroupID) String() string {
	if g, err := user.LookupGroupId(strconv.Itoa(int(id))); err == nil {
		return g.Name
	}
	return "gid " + strconv.Itoa(int(id))
}
