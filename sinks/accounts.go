package sinks

import (
	"context"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/sinks/safefile"
)

const (
	getentPath     = "/usr/bin/getent"
	getentPatience = 10 * time.Second
	noGroup        = -1    // of a user without an entry
	overflowGID    = 65534 // nogroup or nobody, which opens nothing
)

// accounts are the users and groups of this host. The ones that /etc/passwd and
// /etc/group do not know (SSSD, LDAP) are asked of getent, as a static binary
// has no other way.
type accounts struct {
	getent string // path of the program
}

// An account is a user with its name, if it has one, and its home.
type account struct {
	safefile.User
	name, home string
}

// user finds a user by name or number. A number without an entry is a user too,
// of no known group.
func (a accounts) user(nameOrNumber string) (account, error) {
	lookup := user.Lookup
	uid, numeric := number(nameOrNumber)
	if numeric {
		lookup = user.LookupId
	}
	if u, err := lookup(nameOrNumber); err == nil {
		return accountOf(u.Username, u.Uid, u.Gid, u.HomeDir)
	}
	if f := a.entry("passwd", nameOrNumber); len(f) > 5 {
		return accountOf(f[0], f[2], f[3], f[5])
	}
	if numeric {
		return account{User: safefile.User{UID: uid, GID: noGroup}}, nil
	}
	return account{}, fmt.Errorf("there is no user %s in /etc/passwd, and getent knows none", nameOrNumber)
}

// group finds a group by name or number. A number needs no entry.
func (a accounts) group(nameOrNumber string) (gid int, err error) {
	if gid, numeric := number(nameOrNumber); numeric {
		return gid, nil
	}
	if g, err := user.LookupGroup(nameOrNumber); err == nil {
		return strconv.Atoi(g.Gid)
	}
	if f := a.entry("group", nameOrNumber); len(f) > 2 {
		return strconv.Atoi(f[2])
	}
	return 0, fmt.Errorf("there is no group %s in /etc/group, and getent knows none", nameOrNumber)
}

// groupsOf are the groups that the account belongs to.
func (a accounts) groupsOf(u account) (gids []int) {
	if u.name == "" {
		return nil
	}
	local, _ := (&user.User{Username: u.name, Gid: strconv.Itoa(u.GID)}).GroupIds()
	fields := strings.Fields(a.ask("initgroups", u.name)) // the name, then numbers
	for _, text := range append(local, fields[min(1, len(fields)):]...) {
		if gid, ok := number(text); ok {
			gids = append(gids, gid)
		}
	}
	return gids
}

// userName is how people call the user.
func (a accounts) userName(uid int) string {
	number := strconv.Itoa(uid)
	if u, err := a.user(number); err == nil && u.name != "" {
		return u.name
	}
	return number
}

// entry is the first line that getent finds, in fields.
func (a accounts) entry(database, key string) []string {
	line, _, _ := strings.Cut(a.ask(database, key), "\n")
	return strings.Split(line, ":")
}

// ask runs getent; "" when it finds nothing.
func (a accounts) ask(database, key string) string {
	ctx, cancel := context.WithTimeout(context.Background(), getentPatience)
	defer cancel()
	c := exec.CommandContext(ctx, a.getent, "--", database, key)
	c.Env = []string{"LC_ALL=C"}
	c.WaitDelay = time.Second
	out, err := c.Output()
	if err != nil {
		return ""
	}
	return string(out)
}

func accountOf(name, uid, gid, home string) (account, error) {
	u, uidOK := number(uid)
	g, gidOK := number(gid)
	if !uidOK || !gidOK {
		return account{}, fmt.Errorf("the entry of user %s has no usable numbers", name)
	}
	return account{safefile.User{UID: u, GID: g}, name, home}, nil
}

// number reads a uid or gid. The highest one means "none" to the kernel.
func number(text string) (id int, ok bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}
