package sinks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// give sets who is to own the file, and reports whether that can be.
func give(b *config.Block, block fileBlock, target *safefile.Target) bool {
	known := accounts{getent: getentPath}
	owner, ok := ownerOf(b, known, block.Owner)
	if !ok {
		return false
	}
	target.Group, ok = groupOf(b, known, block, owner)
	if !ok {
		return false
	}
	switch {
	case owner.GID == noGroup:
		owner.GID = target.Group
	case target.Group != owner.GID && owner.Groups == nil:
		owner.Groups = known.groupsOf(owner)
	}
	target.Owner = owner.User
	return true
}

// ownerOf is the account of that name; without a name the agent's own.
func ownerOf(b *config.Block, known accounts, name string) (owner account, ok bool) {
	self := safefile.Self()
	if name == "" {
		return account{User: self}, true
	}
	owner, err := known.user(name)
	switch {
	case err != nil:
		b.Fault("owner", "unknown user", err.Error())
		return owner, false
	case owner.UID == self.UID:
		return account{User: self, name: owner.name}, true
	case self.UID != 0:
		b.Fault("owner", "only root can give a file to another user",
			fmt.Sprintf("the agent runs as %s; leave owner out, or run the agent as root", known.userName(self.UID)))
		return owner, false
	}
	return owner, true
}

// groupOf is the number of the group that the block names, or of the owner's.
func groupOf(b *config.Block, known accounts, block fileBlock, owner account) (gid int, ok bool) {
	if block.Group == "" {
		if owner.GID == noGroup {
			b.Fault("owner", "the user's group is not known", fmt.Sprintf("there is no entry of user %s that names it; write group as well", block.Owner))
		}
		return owner.GID, owner.GID != noGroup
	}
	gid, err := known.group(block.Group)
	if err != nil {
		b.Fault("group", "unknown group", err.Error())
		return gid, false
	}
	if os.Geteuid() != 0 && !owner.In(gid) {
		b.Fault("group", "the agent is not of that group", fmt.Sprintf("add %s to the group %s, or run the agent as root", known.userName(owner.UID), block.Group))
		return gid, false
	}
	return gid, true
}

// visit looks at the folder and what lies at the path, and reports whether the
// block is to blame for what it finds. What another user may have done to a
// folder of its own only warns: it must not keep the agent from starting.
func visit(b *config.Block, f *safefile.File, owner int) bool {
	warnings, err := f.Check()
	for _, w := range warnings {
		b.Warn("path", "others can change the folder", w)
	}
	foreign, isForeign := errors.AsType[*safefile.Foreign](err)
	_, isStranger := errors.AsType[*safefile.Stranger](err)
	_, isRefusal := errors.AsType[*safefile.Refusal](err)
	switch {
	case err == nil:
		return true
	case isForeign && !b.Has("owner"):
		b.Fault("path", "the folder belongs to another user",
			fmt.Sprintf("%v; write owner = %q", err, accounts{getentPath}.userName(foreign.UID)))
	case isForeign:
		b.Fault("owner", "the folder belongs to another user", err.Error())
	case isStranger:
		b.Fault("group", "the owner is not of that group", err.Error())
	case isRefusal && owner == os.Geteuid():
		b.Fault("path", "nothing can be written there", err.Error())
	case errors.Is(err, fs.ErrNotExist):
		b.Warn("path", "the folder does not exist yet", err.Error())
		return true
	default:
		b.Warn("path", "nothing can be written there as it is", err.Error())
		return true
	}
	return false
}
