package sinks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

const (
	getentPath     = "/usr/bin/getent"
	getentPatience = 5 * time.Second // a directory service that has just started needs some
	noGroup        = -1              // of a user without an entry
	overflowGID    = 65534           // nogroup or nobody, which opens nothing
)

// accounts are the users and groups of this host. The ones that /etc/passwd and
// /etc/group do not know (SSSD, LDAP) are asked of getent, as a static binary
// has no other way: each once, and none any more after getent was silent.
type accounts struct {
	getent   string        // path of the program
	patience time.Duration // with it; zero: getentPatience

	mutex   sync.Mutex
	answers map[[2]string]string // by database and key
	down    error                // why getent is not asked any more
}

// accountsOf are the accounts that one load of the configuration has asked for.
func accountsOf(b *config.Block) *accounts {
	type key struct{}
	return b.Shared(key{}, func() any { return &accounts{getent: getentPath} }).(*accounts)
}

// errUnknown is the error of a name that nobody knows.
var errUnknown = errors.New("getent knows none")

// errNoGetent is the error of a host where only the files in /etc can be asked.
var errNoGetent = errors.New("there is no " + getentPath + " to ask; write the number")

// An account is a user with its name, if it has one, and its home.
type account struct {
	safefile.User
	name, home string
	unsure     error // why it is not known whether there is an entry
}

// user finds a user by name or number. A number without an entry is a user too,
// of no known group.
func (a *accounts) user(nameOrNumber string) (account, error) {
	lookup := user.Lookup
	uid, numeric := number(nameOrNumber)
	if numeric {
		lookup = user.LookupId
	}
	if u, err := lookup(nameOrNumber); err == nil {
		return accountOf(u.Username, u.Uid, u.Gid, u.HomeDir)
	}
	f, err := a.entry("passwd", nameOrNumber)
	switch {
	case len(f) > 5:
		return accountOf(f[0], f[2], f[3], f[5])
	case numeric:
		return account{User: safefile.User{UID: uid, GID: noGroup}, unsure: err}, nil
	}
	return account{}, fmt.Errorf("there is no user %s in /etc/passwd, and %w", nameOrNumber, cmp.Or(err, errUnknown))
}

// group finds a group by name or number. A number needs no entry.
func (a *accounts) group(nameOrNumber string) (gid int, err error) {
	if gid, numeric := number(nameOrNumber); numeric {
		return gid, nil
	}
	if g, err := user.LookupGroup(nameOrNumber); err == nil {
		return strconv.Atoi(g.Gid)
	}
	f, err := a.entry("group", nameOrNumber)
	if len(f) > 2 {
		return strconv.Atoi(f[2])
	}
	return 0, fmt.Errorf("there is no group %s in /etc/group, and %w", nameOrNumber, cmp.Or(err, errUnknown))
}

// groupsOf are the groups that the account belongs to; unsure is why it may be
// of others as well.
func (a *accounts) groupsOf(u account) (gids []int, unsure error) {
	if u.name == "" {
		return nil, u.unsure
	}
	local, _ := (&user.User{Username: u.name, Gid: strconv.Itoa(u.GID)}).GroupIds()
	answer, unsure := a.ask("initgroups", u.name)
	fields := strings.Fields(answer) // the name, then numbers
	for _, text := range append(local, fields[min(1, len(fields)):]...) {
		if gid, ok := number(text); ok {
			gids = append(gids, gid)
		}
	}
	if errors.Is(unsure, errNoGetent) {
		unsure = nil // then there is no directory service either
	}
	return gids, unsure
}

// userName is how people call the user.
func (a *accounts) userName(uid int) string {
	number := strconv.Itoa(uid)
	if u, err := a.user(number); err == nil && u.name != "" {
		return u.name
	}
	return number
}

// entry is the first line that getent finds, in fields; none when it finds nothing.
func (a *accounts) entry(database, key string) ([]string, error) {
	answer, err := a.ask(database, key)
	line, _, _ := strings.Cut(answer, "\n")
	return strings.Split(line, ":"), err
}

// ask is what getent says, "" when it knows nothing of the key.
func (a *accounts) ask(database, key string) (answer string, err error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	question := [2]string{database, key}
	answer, asked := a.answers[question]
	if asked || a.down != nil {
		return answer, a.down
	}
	answer, err = a.run("--", database, key)
	status, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case status != nil && status.ExitCode() == 2: // see getent(1)
		answer, err = "", nil
	case errors.Is(err, fs.ErrNotExist):
		a.down = errNoGetent
		return "", a.down
	case errors.Is(err, context.DeadlineExceeded):
		a.down = errors.New("getent does not answer; is the directory service (SSSD, LDAP) up?")
		return "", a.down
	case err != nil:
		return "", fmt.Errorf("getent cannot tell (%w); try it by hand: getent %s %s", err, database, key)
	}
	if a.answers == nil {
		a.answers = map[[2]string]string{}
	}
	a.answers[question] = answer
	return answer, nil
}

// run is what getent prints. It is not waited for any longer than patience, even
// if it cannot be killed.
func (a *accounts) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(a.patience, getentPatience))
	defer cancel()
	c := exec.CommandContext(ctx, a.getent, args...)
	c.Env = []string{"LC_ALL=C"}
	c.WaitDelay = time.Second
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := c.Output()
		done <- result{out, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-done:
		if r.err != nil && ctx.Err() != nil {
			return "", ctx.Err()
		}
		return string(r.out), r.err
	}
}

func accountOf(name, uid, gid, home string) (account, error) {
	u, uidOK := number(uid)
	g, gidOK := number(gid)
	if !uidOK || !gidOK {
		return account{}, fmt.Errorf("the entry of user %s has no usable numbers", name)
	}
	return account{User: safefile.User{UID: u, GID: g}, name: name, home: home}, nil
}

// number reads a uid or gid. The highest one means "none" to the kernel.
func number(text string) (id int, ok bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}
