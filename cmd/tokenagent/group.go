package main

import (
	"os/user"
	"strconv"

	"github.com/tokenagent/tokenagent/agent/control"
)

// groupID is the number of the group, which may be given as one; "" stands for
// none.
func groupID(name string) (int, error) {
	if name == "" {
		return control.OwnerOnly, nil
	}
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
