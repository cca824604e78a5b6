package main

import (
	"github.com/tokenagent/tokenagent/agent/accounts"
	"github.com/tokenagent/tokenagent/agent/control"
)

// groupID is the number of the group, which may be given as one; "" stands for
// none.
func groupID(name string) (int, error) {
	if name == "" {
		return control.OwnerOnly, nil
	}
	return (&accounts.Database{}).Group(name)
}
