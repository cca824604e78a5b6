package main

import (
	"github.com/tokenagent/tokenagent/agent/control"
	"github.com/tokenagent/tokenagent/agent/host"
)

// groupID is the number of the group, which may be given as one; "" stands for
// none.
func groupID(name string) (int, error) {
	if name == "" {
		return control.OwnerOnly, nil
	}
	return (&host.Database{}).Group(name)
}
