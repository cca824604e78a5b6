// Package host knows this host: its users and groups, its paths and who can change them, its
// programs. Users and groups that only a directory service (SSSD, LDAP) knows are asked of
// getent(1): a static binary has no other way.
package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	getentPath     = "/usr/bin/getent"
	getentPatience = 5 * time.Second // a directory service that has just started is slow
)

// NoGroup is the GID of a User without an entry.
const NoGroup = -1

// A Database finds users and groups. It asks getent only for what the files in /etc do not
// have, once for each, and never again after getent did not answer. The zero Database is
// ready. Several goroutines can use it.
type Database struct {
	Getent   string        // the program, by its path or as PATH finds it; "": /usr/bin/getent
	Patience time.Duration // with it, for each answer; zero: 5 s

	mutex   sync.Mutex
	answers map[[2]string]string // by database and key
	down    error                // why getent is not asked again
}

// ErrUnknown is the error of an unknown name.
var ErrUnknown = errors.New("getent knows none")

// ErrNoGetent is the error of a host where only the files in /etc can be asked.
var ErrNoGetent = errors.New("there is no " + getentPath + " to ask; write the number")

// A User is the entry of a user, or a number without one.
type User struct {
	Name   string // "" without an entry
	UID    int
	GID    int    // the primary group; NoGroup without an entry
	Home   string // as the entry says; it may be missing
	Unsure error  // why there may be an entry all the same
}

// User finds a user by name or number. A number needs no entry. The error wraps ErrUnknown, or
// says why that is not certain.
func (d *Database) User(nameOrNumber string) (User, error) {
	lookup := user.Lookup
	uid, numeric := number(nameOrNumber)
	if numeric {
		lookup = user.LookupId
	}
	if u, err := lookup(nameOrNumber); err == nil {
		return userOf(u.Username, u.Uid, u.Gid, u.HomeDir)
	}
	f, err := d.entry("passwd", nameOrNumber)
	switch {
	case len(f) > 5:
		return userOf(f[0], f[2], f[3], f[5])
	case numeric:
		return User{UID: uid, GID: NoGroup, Unsure: err}, nil
	}
	return User{}, fmt.Errorf("there is no user %s in /etc/passwd, and %w", nameOrNumber, cmp.Or(err, ErrUnknown))
}

// Group is the number of the group of that name or number. A number needs no entry. Errors are
// as those of User.
func (d *Database) Group(nameOrNumber string) (gid int, err error) {
	if gid, numeric := number(nameOrNumber); numeric {
		return gid, nil
	}
	if g, err := user.LookupGroup(nameOrNumber); err == nil {
		return strconv.Atoi(g.Gid)
	}
	f, err := d.entry("group", nameOrNumber)
	if len(f) > 2 {
		return strconv.Atoi(f[2])
	}
	return 0, fmt.Errorf("there is no group %s in /etc/group, and %w", nameOrNumber, cmp.Or(err, ErrUnknown))
}

// GroupsOf are the numbers of all groups of the user, from low to high; none of a
// User without an entry. Unsure is why there may be others as well.
func (d *Database) GroupsOf(u User) (gids []int, unsure error) {
	if u.Name == "" {
		return nil, u.Unsure
	}
	gids = []int{u.GID}
	local, _ := (&user.User{Username: u.Name, Gid: strconv.Itoa(u.GID)}).GroupIds()
	answer, unsure := d.ask("initgroups", u.Name)
	fields := strings.Fields(answer) // the name, then numbers
	for _, text := range append(local, fields[min(1, len(fields)):]...) {
		if gid, ok := number(text); ok {
			gids = append(gids, gid)
		}
	}
	if errors.Is(unsure, ErrNoGetent) {
		unsure = nil // then there is no directory service either
	}
	slices.Sort(gids)
	return slices.Compact(gids), unsure
}

// NameOf is the name of the user of that number; without one, the number.
func (d *Database) NameOf(uid int) string {
	number := strconv.Itoa(uid)
	u, _ := d.User(number)
	return cmp.Or(u.Name, number)
}

// entry is the first line that getent finds, in fields.
func (d *Database) entry(database, key string) ([]string, error) {
	answer, err := d.ask(database, key)
	line, _, _ := strings.Cut(answer, "\n")
	return strings.Split(line, ":"), err
}

// ask is what getent says of the key; "" when it knows none.
func (d *Database) ask(database, key string) (answer string, err error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	question := [2]string{database, key}
	answer, asked := d.answers[question]
	if asked || d.down != nil {
		return answer, d.down
	}
	answer, err = d.run("--", database, key)
	status, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case status != nil && status.ExitCode() == 2: // see getent(1)
		answer, err = "", nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		d.down = ErrNoGetent
		return "", d.down
	case errors.Is(err, context.DeadlineExceeded):
		d.down = errors.New("getent does not answer; is the directory service (SSSD, LDAP) up?")
		return "", d.down
	case err != nil:
		return "", fmt.Errorf("getent cannot tell (%w); try it by hand: getent %s %s", err, database, key)
	}
	if d.answers == nil {
		d.answers = map[[2]string]string{}
	}
	d.answers[question] = answer
	return answer, nil
}

// run is what getent prints. After Patience it gives up, even if getent cannot be killed.
func (d *Database) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(d.Patience, getentPatience))
	defer cancel()
	c := exec.CommandContext(ctx, cmp.Or(d.Getent, getentPath), args...)
	c.Env = []string{"LC_ALL=C"}
	c.SysProcAttr = Alone()
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	var out bytes.Buffer
	c.Stdout = &out
	err, returned := Await(ctx, func() error {
		if err := Launch(c.Start); err != nil {
			return err
		}
		return c.Wait()
	})
	if ctx.Err() != nil && (!returned || err != nil) {
		return "", ctx.Err()
	}
	return out.String(), err
}

func userOf(name, uid, gid, home string) (User, error) {
	u, uidOK := number(uid)
	g, gidOK := number(gid)
	if !uidOK || !gidOK {
		return User{}, fmt.Errorf("the entry of user %s has no usable numbers", name)
	}
	return User{Name: name, UID: u, GID: g, Home: home}, nil
}

// number reads a uid or gid. The highest one means "none" to the kernel.
func number(text string) (id int, ok bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}
