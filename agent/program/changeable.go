package program

import (
	"fmt"
	"os"

	"github.com/tokenagent/tokenagent/agent/host"
)

// uid is the number of the user that the program runs as.
func (p Program) uid() uint32 {
	if p.User != nil {
		return p.User.UID
	}
	return uint32(os.Geteuid())
}

// changeable says who else than root and that user could have the user run a
// program of theirs: by the file, or by a folder or link on the way to it. It is ""
// when nobody could, or when it cannot be seen.
func changeable(t host.Trust, path string, user uint32) string {
	t.Users = append(t.Users, int(user))
	found, _ := t.Weaknesses(path)
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("%v; or run it as a user of its own: it is what %v runs", found[0], host.UserID(user))
}
