package program

import (
	"errors"
	"fmt"
	"time"

	"github.com/tokenagent/tokenagent/agent/host"
)

const getentPatience = 10 * time.Second

// A User is an identity that a Program can take on.
type User struct {
	Name   string
	UID    uint32
	GID    uint32   // the primary group
	Groups []uint32 // all groups
	Home   string   // as the user database says; nobody has looked whether it is there
}

// Identity is that of a thread that opens files as the user.
func (u *User) Identity() host.Identity {
	i := host.Identity{UID: int(u.UID), GID: int(u.GID)}
	for _, gid := range u.Groups {
		i.Groups = append(i.Groups, int(gid))
	}
	return i
}

// LookupUser finds a user of this host by name or number, with all groups.
func LookupUser(nameOrNumber string) (*User, error) {
	return lookup(&host.Database{Patience: getentPatience}, nameOrNumber)
}

func lookup(known *host.Database, nameOrNumber string) (*User, error) {
	found, err := known.User(nameOrNumber)
	if err == nil && found.Name == "" || errors.Is(err, host.ErrNoGetent) { // a number alone tells no groups
		err = fmt.Errorf("there is no user %s in /etc/passwd, and %w", nameOrNumber, host.ErrUnknown)
	}
	if err != nil {
		return nil, err
	}
	u := &User{Name: found.Name, UID: uint32(found.UID), GID: uint32(found.GID), Home: found.Home}
	gids, _ := known.GroupsOf(found)
	for _, gid := range gids {
		u.Groups = append(u.Groups, uint32(gid))
	}
	return u, nil
}
