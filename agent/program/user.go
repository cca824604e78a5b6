package program

import (
	"context"
	"fmt"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	getentPath     = "/usr/bin/getent"
	getentPatience = 10 * time.Second
)

// A User is an identity that a Program can take on.
type User struct {
	Name   string
	UID    uint32
	GID    uint32   // the primary group
	Groups []uint32 // all groups
	Home   string   // as the user database says; nobody has looked whether it is there
}

// LookupUser finds a user of this host by name or number, with all groups: in
// /etc/passwd and /etc/group, and by getent where they know less (SSSD, LDAP),
// as a static binary has no other way.
func LookupUser(nameOrNumber string) (*User, error) { return lookup(getentPath, nameOrNumber) }

func lookup(getent, nameOrNumber string) (*User, error) {
	find := user.Lookup
	if _, err := id(nameOrNumber); err == nil {
		find = user.LookupId
	}
	found, err := find(nameOrNumber)
	if err != nil {
		f := strings.Split(ask(getent, "passwd", nameOrNumber), ":")
		if len(f) < 6 {
			return nil, fmt.Errorf("there is no user %s in /etc/passwd, and getent knows none", nameOrNumber)
		}
		found = &user.User{Username: f[0], Uid: f[2], Gid: f[3], HomeDir: f[5]}
	}
	u := &User{Name: found.Username, Home: found.HomeDir}
	if u.UID, err = id(found.Uid); err == nil {
		u.GID, err = id(found.Gid)
	}
	if err != nil {
		return nil, fmt.Errorf("the entry of user %s has no usable numbers", u.Name)
	}
	u.Groups = groups(getent, found, u.GID)
	return u, nil
}

// groups are the numbers of all groups of the user, from low to high.
func groups(getent string, u *user.User, primary uint32) []uint32 {
	gids := []uint32{primary}
	local, _ := u.GroupIds()
	asked := strings.Fields(ask(getent, "initgroups", u.Username)) // the name, then numbers
	for _, text := range slices.Concat(local, asked[min(1, len(asked)):]) {
		if gid, err := id(text); err == nil {
			gids = append(gids, gid)
		}
	}
	slices.Sort(gids)
	return slices.Compact(gids)
}

// ask is the line that getent finds; "" when it finds nothing.
func ask(getent, database, key string) string {
	ctx, cancel := context.WithTimeout(context.Background(), getentPatience)
	defer cancel()
	c := exec.CommandContext(ctx, getent, "--", database, key)
	c.Env = []string{"LC_ALL=C"}
	c.WaitDelay = time.Second
	out, err := c.Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// id reads a uid or gid. The highest number means "none" to the kernel.
func id(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}
