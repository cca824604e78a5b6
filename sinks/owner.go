package sinks

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// accountsOf are the accounts that one load of the configuration has asked for.
func accountsOf(b *config.Block) *host.Database {
	type key struct{}
	return b.Shared(key{}, func() any { return &host.Database{} }).(*host.Database)
}

// give sets the owner and group of the file, if there is no fault. If unsure says why, the
// owner may have more groups than are known.
func give(b *config.Block, block fileBlock, target *safefile.Target) (unsure error) {
	known := accountsOf(b)
	owner, groups := ownerOf(b, known, block.Owner)
	gid := groupOf(b, known, block, owner)
	if b.Wrong("owner") || b.Wrong("group") {
		return nil
	}
	target.Group = gid
	switch {
	case owner.GID == host.NoGroup:
		owner.GID = target.Group
	case target.Group != owner.GID && groups == nil:
		groups, unsure = known.GroupsOf(owner)
	}
	target.Owner = host.Identity{UID: owner.UID, GID: owner.GID, Groups: groups}
	return unsure
}

// ownerOf is the user of that name; without a name the agent's own, whose groups are
// known.
func ownerOf(b *config.Block, known *host.Database, name string) (owner host.User, groups []int) {
	self := host.Self()
	own := host.User{UID: self.UID, GID: self.GID}
	if name == "" {
		return own, self.Groups
	}
	owner, err := known.User(name)
	switch {
	case err != nil:
		b.Fault("owner", unknown("user", err), err.Error())
		return owner, nil
	case owner.UID == self.UID:
		own.Name = owner.Name
		return own, self.Groups
	case self.UID != 0:
		b.Fault("owner", "only root can give a file to another user",
			fmt.Sprintf("the agent runs as %s; leave owner out, or run the agent as root", known.NameOf(self.UID)))
		return owner, nil
	}
	return owner, nil
}

// groupOf is the gid of the block's group, or of the owner's.
func groupOf(b *config.Block, known *host.Database, block fileBlock, owner host.User) (gid int) {
	if block.Group == "" {
		if owner.GID == host.NoGroup && !b.Wrong("owner") {
			b.Fault("owner", "the user's group is not known", fmt.Sprintf("user %s has no entry that names it%s; write group as well", block.Owner, because(owner.Unsure)))
		}
		return owner.GID
	}
	gid, err := known.Group(block.Group)
	if err != nil {
		b.Fault("group", unknown("group", err), err.Error())
		return gid
	}
	if self := host.Self(); self.UID != 0 && !self.In(gid) {
		b.Fault("group", "the agent is not in that group", fmt.Sprintf("add %s to the group %s, or run the agent as root", known.NameOf(self.UID), block.Group))
	}
	return gid
}

// unknown is the summary for a name that was not found, or that could not be looked up.
func unknown(what string, err error) string {
	if errors.Is(err, host.ErrUnknown) {
		return "unknown " + what
	}
	return "the " + what + " cannot be looked up"
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// visit checks the folder of the target and what lies at its path, and returns the file.
// What somebody else may have done only warns: it must not keep the agent from starting.
func visit(b *config.Block, target safefile.Target, unsure error) *safefile.File {
	f := safefile.New(target)
	var warnings []string
	var err error
	if !b.Look(filepath.Dir(target.Path), func() { warnings, err = f.Check() }) {
		b.Warn("path", "the folder does not answer", "it is tried again with each write; is the server behind it gone?")
		return safefile.New(target) // the other one is still in use
	}
	for _, w := range warnings {
		b.Warn("path", "others can change the folder", w)
	}
	if err != nil {
		reportVisit(b, err, unsure)
	}
	return f
}

// owning is what to write about a folder of another user: below it root's folders cannot be
// trusted either.
func owning(b *config.Block, foreign *safefile.Foreign) string {
	owner := fmt.Sprintf("write owner = %q", accountsOf(b).NameOf(foreign.UID))
	if foreign.Last {
		return owner
	}
	return "choose a path whose folders are all root's, or " + owner + " if the rest of them are that user's"
}

// reportVisit reports what a visit has found.
func reportVisit(b *config.Block, err, unsure error) {
	foreign, isForeign := errors.AsType[*safefile.Foreign](err)
	_, isStranger := errors.AsType[*safefile.Stranger](err)
	refusal, isRefusal := errors.AsType[*safefile.Refusal](err)
	switch {
	case isForeign && foreign.Owner == host.Self().UID && !foreign.Others:
		b.Fault("path", "the folder belongs to another user", fmt.Sprintf("%v; %s", err, owning(b, foreign)))
	case isStranger && unsure != nil:
		b.Fault("group", "the owner's groups cannot be looked up", fmt.Sprintf("%v; of those that are known: %v", unsure, err))
	case isStranger:
		b.Fault("group", "the owner is not in that group", err.Error())
	case isRefusal && !refusal.Others:
		b.Fault("path", "nothing can be written there", err.Error())
	case isForeign:
		b.Warn("owner", "the folder belongs to another user", err.Error())
	case errors.Is(err, fs.ErrNotExist):
		b.Warn("path", "the folder does not exist yet", err.Error())
	default:
		b.Warn("path", "nothing can be written there as it is", err.Error())
	}
}
