package sinks

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// homeTokens is where a user's HTCondor looks for tokens, below the home.
const homeTokens = "/.condor/tokens.d"

// rootsHome is the one home in which HTCondor looks for none: what root runs
// reads the system's directory.
const rootsHome = "/root"

// tokenDirectory is HTCondor's directory that the file of that path lies in; nil for
// another folder. The file will belong to owner.
func tokenDirectory(b *config.Block, path string, owner int) *tokendir.Directory {
	folder := filepath.Dir(path)
	if b.DefinitionsOnly() {
		return wellKnown(folder)
	}
	known, knob := accountsOf(b), knobOf(b)
	var d *tokendir.Directory
	if !b.Look(folder, func() { d = condorDirectory(known, folder, owner, knob) }) {
		return wellKnown(folder)
	}
	return d
}

// condorDirectory is the folder as HTCondor reads it; nil if it does not.
func condorDirectory(known *host.Database, folder string, owner int, knob tokendir.Lookup) *tokendir.Directory {
	for _, u := range condorUsers(known, folder, owner) {
		if d, found := tokendir.Find(folder, u, knob); found {
			return &d
		}
	}
	return nil
}

// wellKnown is HTCondor's directory by its path alone. The user whose home it is in is
// not known then.
func wellKnown(folder string) *tokendir.Directory {
	for _, d := range tokendir.Directories(tokendir.User{Name: "root"}, unset) {
		if d.Path == folder {
			return &d
		}
	}
	if strings.HasSuffix(folder, homeTokens) && folder != rootsHome+homeTokens {
		d := tokendir.At(folder, tokendir.User{Name: "its user", UID: -1}, unset)
		return &d
	}
	return nil
}

// condorUsers are the users whose HTCondor may read the folder: the owner of the file,
// and that of the home around the folder.
func condorUsers(known *host.Database, folder string, owner int) []tokendir.User {
	home, inHome := strings.CutSuffix(folder, homeTokens)
	if !inHome {
		return []tokendir.User{{UID: owner}}
	}
	users := []tokendir.User{condorUser(known, owner)}
	if info, err := os.Stat(home); err == nil {
		users = append(users, condorUser(known, int(info.Sys().(*syscall.Stat_t).Uid)))
	}
	return users
}

func condorUser(known *host.Database, uid int) tokendir.User {
	u, err := known.User(strconv.Itoa(uid))
	if err != nil {
		return tokendir.User{UID: uid}
	}
	return tokendir.User{Name: u.Name, UID: uid, Home: u.Home}
}

// knobOf asks the configurations of HTCondor and HTCondor-CE, at once and not on the
// goroutine of a look. A question takes longer than signing a token, so only check asks;
// others use what a source had to ask for, or the defaults.
func knobOf(b *config.Block) tokendir.Lookup {
	systems := []func(string) (string, error){b.Knob, b.CEKnob}
	switch {
	case b.Checking():
	case b.Asked():
		systems = systems[:1]
	default:
		return unset
	}
	set := map[string]map[string]string{}
	for i, ask := range systems {
		values := map[string]string{}
		for _, knob := range []string{tokendir.ExcludeKnob, "SEC_TOKEN_DIRECTORY", "SEC_TOKEN_SYSTEM_DIRECTORY"} {
			if value, err := ask(knob); err == nil {
				values[knob] = value
			}
		}
		set[tokendir.Systems()[i].Name] = values
	}
	return func(s tokendir.System, knob string) (string, bool) {
		value, ok := set[s.Name][knob]
		return value, ok
	}
}

func unset(tokendir.System, string) (string, bool) { return "", false }

// validateForCondor reports why HTCondor would not use the file of the block in its
// directory d. With definitions only, the owner is not known.
func validateForCondor(b *config.Block, block fileBlock, d tokendir.Directory, owner int) (ownerOK bool) {
	if b.DefinitionsOnly() || b.Wrong("owner") {
		owner = d.Reader.UID
	}
	problems := d.Problems(tokendir.File{
		Name: filepath.Base(block.Path),
		UID:  owner,
		Mode: block.Mode,
		Bare: block.Format == "token" && block.Template == "",
	})
	for _, p := range problems {
		attr := p.About
		if attr == "format" && block.Template != "" {
			attr = "template"
		}
		if !b.Has(attr) {
			attr = "path"
		}
		b.Fault(attr, "HTCondor would not use the file", p.Text)
	}
	warnOfDenied(b, d)
	wrongOwner := slices.ContainsFunc(problems, func(p tokendir.Problem) bool { return p.About == "owner" })
	warnOfDaemons(b, d, owner)
	return !wrongOwner
}

// warnOfDenied warns of a directory that the user of HTCondor cannot read.
func warnOfDenied(b *config.Block, d tokendir.Directory) {
	if b.DefinitionsOnly() {
		return
	}
	var denied string
	if b.Look(d.Path, func() { denied = d.Denied() }) && denied != "" {
		b.Warn("path", "HTCondor finds nothing there", fmt.Sprintf("%s may not look into %s; chmod u+rx %s, or chown it", d.Reader, denied, host.ShellWord(denied)))
	}
}

// warnOfDaemons warns of a file for one user in the directory that all of HTCondor on this
// machine uses. An agent without root knows the configuration of its own user, and writes
// for that user alone.
func warnOfDaemons(b *config.Block, d tokendir.Directory, owner int) {
	if !b.DefinitionsOnly() && os.Geteuid() == 0 && d.Knob == "SEC_TOKEN_DIRECTORY" && owner != 0 && owner == d.Reader.UID {
		b.Warn("owner", "root's daemons skip it", fmt.Sprintf(
			"SEC_TOKEN_DIRECTORY is %s for the daemons too, which use only root's files there; this one serves the tools of its owner", d.Path))
	}
}

// warnOfOtherTokens warns of a token that HTCondor would never use in its directory d.
func warnOfOtherTokens(b *config.Block, req agent.Request, d *tokendir.Directory) {
	if d == nil || req.Profile == "htcondor" {
		return
	}
	b.Warn("path", "HTCondor looks for IDTOKENs there", fmt.Sprintf(
		"of the files in %s it uses only IDTOKENs, as source \"htcondor\" signs them; another token goes where BEARER_TOKEN_FILE or SCITOKENS_FILE says, which its method SCITOKENS reads", d.Path))
}
