package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/hooks"
	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	defaultTimeout = 30 * time.Second
	leastTimeout   = time.Second
	mostTimeout    = time.Hour // hooks wait for each other
	leastBefore    = 10 * time.Second
)

// A programBlock names a program, as a hook or a validate block does:
//
//	hook "on_change" {
//	  command = ["/usr/bin/systemctl", "try-reload-or-restart", "xrootd@cache"]
//	  timeout = "30s"
//	  user    = "xrootd" # default: the agent's user
//	}
type programBlock struct {
	Command []string      `hcl:"command"`
	Timeout time.Duration `hcl:"timeout,optional"`
	User    string        `hcl:"user,optional"`
}

// A hookBlock is a program that is run when something happens to the token.
type hookBlock struct {
	programBlock
	Before time.Duration `hcl:"before,optional"` // of on_expiring alone
}

// DecodeHook decodes a hook block for the event.
func DecodeHook(b *config.Block, event hooks.Event) hooks.Hook {
	block := hookBlock{programBlock: programBlock{Timeout: defaultTimeout}}
	b.Decode(&block)
	p, key, _ := block.program(b)
	h := hooks.Hook{Event: event, Key: key, Before: block.Before, Command: hook{p}}
	switch expiring := event == hooks.OnExpiring; {
	case !expiring && b.Has("before"):
		b.Fault("before", "before is not used", `it says how much life is left of a token that a hook "on_expiring" hears of`)
	case !expiring:
	case !b.Has("before"):
		b.Fault("", "missing attribute before", `write how much life is left of the token when the hook is run, such as before = "30m"`)
	case block.Before < leastBefore && !b.Wrong("before"):
		b.Fault("before", "before is too short", `it is at least "10s"`)
	default:
		h.Key = "before=" + block.Before.String() + " " + key // another time is another hook
	}
	return h
}

// Decode decodes a block with the attributes command, timeout and user, which is the
// given one by default ("": the agent's own). The key is equal for equal commands and
// users. After a fault it returns false.
func Decode(b *config.Block, user string) (p Program, key string, ok bool) {
	block := programBlock{Timeout: defaultTimeout, User: user}
	b.Decode(&block)
	return block.program(b)
}

func (block programBlock) program(b *config.Block) (p Program, key string, ok bool) {
	p, ok = New(b, block.Command, block.Timeout, block.User)
	return p, keyOf(block.Command, block.User), ok
}

// New makes the Program of the attributes command, timeout and user ("": the
// agent's own) of a block; false after a fault. Where not only the definitions
// are checked, it looks up the user, and warns of a program that is not there, or
// that somebody else than root and the user could change.
func New(b *config.Block, command []string, timeout time.Duration, user string) (Program, bool) {
	p := Program{Args: command, Timeout: timeout}
	ok := validate(b, p)
	if b.DefinitionsOnly() {
		return p, ok
	}
	p.Args = spelled(b, command)
	if user != "" {
		u, err := lookup(accountsOf(b), user)
		if err != nil {
			b.Fault("user", "unknown user", err.Error())
			return p, false
		}
		if int(u.UID) != os.Geteuid() {
			p.User = u
		}
	}
	if ok {
		inspect(b, p)
	}
	return p, ok
}

// accountsOf are the accounts that one load of the configuration has asked for.
func accountsOf(b *config.Block) *host.Database {
	type key struct{}
	return b.Shared(key{}, func() any { return &host.Database{Patience: getentPatience} }).(*host.Database)
}

// spelled are the arguments, with paths as they are spelled on the disk.
func spelled(b *config.Block, command []string) (args []string) {
	for _, arg := range command {
		if filepath.IsAbs(arg) {
			arg = b.Spelled(arg)
		}
		args = append(args, arg)
	}
	return args
}

// inspect warns of what lies at the path of the program.
func inspect(b *config.Block, p Program) {
	var unfit, open string
	if !b.Look(filepath.Dir(p.Args[0]), func() { unfit, open = missing(p.Args[0]), changeable(b.Trust(), p.Args[0], p.uid()) }) {
		b.Warn("command", "the program's folder does not answer", "the program is tried when it is to run; is the server behind it gone?")
		return
	}
	if unfit != "" {
		b.Warn("command", "the program cannot be run", unfit)
	}
	if open != "" {
		b.Warn("command", "others can change the program", open)
	}
}

// validate reports what is wrong on any machine.
func validate(b *config.Block, p Program) (ok bool) {
	const form = `it is a list of the program's absolute path and its arguments: ["/usr/sbin/condor_reconfig", "-daemon", "schedd"]`
	ok = true
	fault := func(attr, summary, detail string) {
		b.Fault(attr, summary, detail)
		ok = false
	}
	switch {
	case len(p.Args) == 0:
		fault("command", "command is empty", form)
	case !filepath.IsAbs(p.Args[0]) && len(strings.Fields(p.Args[0])) > 1:
		fault("command", "no shell runs the command", form)
	case !filepath.IsAbs(p.Args[0]):
		fault("command", "the program has no absolute path", form)
	}
	if strings.Contains(strings.Join(p.Args, ""), "\x00") {
		fault("command", "command has a NUL byte", "no program can be given one")
	}
	if slices.ContainsFunc(p.Args, jwtStart.MatchString) {
		fault("command", "there is a token in the command", "everybody on this machine can see it there; put it into a file")
	}
	if p.Timeout < leastTimeout || p.Timeout > mostTimeout {
		fault("timeout", "the timeout is out of range", `it is at least "1s" and at most "1h"`)
	}
	return ok
}

// missing says why there is no such program; "" when there is, or when it lies
// where only its user can look.
func missing(path string) string {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("there is no %s; install it, or correct the path", path)
	case err == nil && info.IsDir():
		return fmt.Sprintf("%s is a folder", path)
	case err == nil && info.Mode()&0o111 == 0:
		return fmt.Sprintf("nobody may execute %s; chmod +x it", path)
	}
	return ""
}

// keyOf is equal for equal commands and users.
func keyOf(command []string, user string) string {
	var words []string
	if user != "" {
		words = append(words, "user="+user) // no command begins so
	}
	for _, arg := range command {
		if strings.ContainsFunc(arg, needsQuotes) {
			arg = strconv.Quote(arg)
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// UserIn is the user that a block names, by the key that Decode returns; "": the agent's
// own.
func UserIn(key string) string {
	first, _, _ := strings.Cut(key, " ")
	name, named := strings.CutPrefix(first, "user=")
	if !named {
		return ""
	}
	return name
}

// needsQuotes reports whether an argument with r cannot stand by itself.
func needsQuotes(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r > '~' }

// A hook is a Program as an hooks.Command. It finds the event in TOKENAGENT_EVENT
// and reads one line for each token: name, path and expiry (RFC 3339, UTC; empty
// where it is not known), with tabs between.
type hook struct{ Program }

func (h hook) Run(ctx context.Context, e hooks.Event, about []hooks.Notice) error {
	return h.Program.Run(ctx, Input{Env: []string{"TOKENAGENT_EVENT=" + string(e)}, Stdin: Lines(about...)})
}

// divider keeps tabs and line ends out of what stands between them. (None is in
// a name or path that agent/config has made; these may come from an old record.)
var divider = strings.NewReplacer("\t", `\t`, "\n", `\n`, "\r", `\r`)

// Lines are the standard input of a program that is told of tokens: one line for each,
// with its name, path and expiry.
func Lines(about ...hooks.Notice) []byte {
	var text []byte
	for _, n := range about {
		text = fmt.Appendf(text, "%s\t%s\t", divider.Replace(n.Token), divider.Replace(n.Path))
		if !n.Expires.IsZero() {
			text = n.Expires.UTC().AppendFormat(text, time.RFC3339)
		}
		text = append(text, '\n')
	}
	return text
}
