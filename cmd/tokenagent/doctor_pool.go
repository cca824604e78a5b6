package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/sinks/condor"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// pingPatience is how long condor_ping may take: it waits 20 s for a server.
const pingPatience = 90 * time.Second

// pingLevels are the levels that a server is asked for.
var pingLevels = []string{"READ", "WRITE", "DAEMON", "ADVERTISE_MASTER", "ADVERTISE_STARTD", "ADVERTISE_SCHEDD", "NEGOTIATOR", "ADMINISTRATOR"}

// noKeys is a path at which no file can ever be.
const noKeys = "/dev/null/no-keys"

// A ping asks a server of a pool by condor_ping what it allows to a client that
// has tokens alone: no signing key, no other method.
type ping struct {
	pool   string // the collector, as HOST or HOST:PORT
	kind   string // of the server: "COLLECTOR", "SCHEDD", "STARTD" and the like
	name   string // of the server; "": the one on that host
	method string // "IDTOKENS" or "SCITOKENS"
	dir    string // the token directory; "": the one that HTCondor uses
	user   *program.User
}

// A hearing is what a server of a pool answered.
type hearing struct {
	Address   string   `json:"pool"`
	Type      string   `json:"type"`
	As        string   `json:"as"`     // the user that asked
	Method    string   `json:"method"` // the only one that counts
	Server    string   `json:"server_version,omitempty"`
	Directory string   `json:"directory,omitempty"` // that the client looked for tokens in
	Sent      string   `json:"sent,omitempty"`      // the file whose token the client sent
	PassedBy  []string `json:"passed_by,omitempty"` // why the client did not send a token that it read, in HTCondor's words
	tokendir.Pool
	Levels []levelAnswer `json:"levels"`
	Replay *replayed     `json:"replay,omitempty"` // what doctor says of the same directory

	Findings []tokendir.Finding `json:"findings"`
}

// A levelAnswer is what the server answered for one level.
type levelAnswer struct {
	Level      string `json:"level"`
	Authorised bool   `json:"authorised"`
	Method     string `json:"method,omitempty"`   // that the client authenticated by
	Identity   string `json:"identity,omitempty"` // that the server gave it
	Error      string `json:"error,omitempty"`    // HTCondor's words
}

// ask asks the server.
func (p ping) ask(ctx context.Context) (hearing, error) {
	h := hearing{Address: p.pool, Type: p.kind, Method: p.method, As: "uid " + strconv.Itoa(os.Getuid())}
	if self, known := userOf(strconv.Itoa(os.Getuid())); known {
		h.As = self.String()
	}
	if p.user != nil {
		h.As = p.user.Name
	}
	args := []string{"-debug", "-pool", p.pool, "-type", p.kind}
	if p.name != "" {
		args = append(args, "-name", p.name)
	}
	args = append(append(args, "-long"), pingLevels...)
	client := condor.Program{Name: "condor_ping", Args: args, Env: p.environment(), As: credential(p.user), Patience: pingPatience}
	told, err := client.Run(ctx)
	h.read(told)
	if h.halfAuthenticated() {
		told, err = client.Run(ctx)
		h.read(told)
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return h, errors.New("condor_ping is not in PATH: install HTCondor's programs (condor), or run doctor on a host that has them; nothing else proves that a pool takes a token")
	case errors.Is(err, condor.ErrNoAnswer):
		return h, fmt.Errorf("%w; see whether %s answers, and whether a firewall is in between", err, p.pool)
	case len(h.Levels) == 0:
		return h, p.unanswered(told, err)
	}
	return h, nil
}

// credential is that of the user; nil for nil.
func credential(u *program.User) *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
}

// unanswered says why there is no answer for any level.
func (p ping) unanswered(told condor.Printed, err error) error {
	said := strings.TrimSpace(told.Complaint + "\n" + told.Answer)
	line, _, _ := strings.Cut(said, "\n")
	if _, text, found := strings.Cut(said, "ERROR: "); found {
		line, _, _ = strings.Cut(text, "\n")
	}
	advice := "see what `condor_ping -pool " + p.pool + " -type " + p.kind + " READ` prints"
	switch {
	case strings.Contains(line, "failed to make connection"):
		advice = "see whether the server runs and listens there: host, port (9618 by default) and firewall"
	case strings.Contains(line, "unknown host"):
		advice = "correct the name of the host"
	case strings.Contains(line, "config source"), strings.Contains(line, "CONDOR_CONFIG"):
		advice = "the user who asks cannot read HTCondor's configuration"
	case strings.Contains(line, "locate"):
		advice = "the collector knows no such server: name it with --name, or ask another --type"
	}
	return fmt.Errorf("%s %s: condor_ping: %s (%.200q); %s", strings.ToLower(p.kind), p.pool, cmp.Or(errText(err), "no answer"), cmp.Or(strings.TrimSpace(line), "it printed nothing"), advice)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// environment is that of the client. What it sets keeps the client from every
// other way to be somebody: a signing key, the local user (FS), or nobody.
func (p ping) environment() []string {
	set := map[string]string{
		"SEC_CLIENT_AUTHENTICATION":         "REQUIRED",
		"SEC_CLIENT_AUTHENTICATION_METHODS": p.method,
		"SEC_PASSWORD_DIRECTORY":            noKeys,
		"SEC_PASSWORD_FILE":                 noKeys,
		"SEC_TOKEN_POOL_SIGNING_KEY_FILE":   noKeys,
		"TOOL_DEBUG":                        "D_SECURITY:2",
	}
	if p.dir != "" {
		set["SEC_TOKEN_DIRECTORY"] = p.dir
	}
	env := slices.DeleteFunc(os.Environ(), func(one string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(one), "=")
		_, ours := set[strings.TrimPrefix(strings.TrimPrefix(name, "_CONDOR_"), "TOOL.")]
		return ours && strings.HasPrefix(name, "_CONDOR_")
	})
	if p.user != nil {
		env = append(foreignEnvironment(env), "HOME="+p.user.Home, "USER="+p.user.Name, "LOGNAME="+p.user.Name)
	}
	for _, knob := range slices.Sorted(maps.Keys(set)) {
		env = append(env, "_condor_"+knob+"="+set[knob], "_condor_TOOL."+knob+"="+set[knob]) // the second outdoes TOOL.KNOB in a file
	}
	return env
}

// foreignEnvironment is what another user is given of ours: how to find HTCondor
// and its configuration.
func foreignEnvironment(env []string) (kept []string) {
	for _, one := range env {
		name, _, _ := strings.Cut(one, "=")
		if name == "PATH" || name == "LANG" || name == "CONDOR_CONFIG" || strings.HasPrefix(strings.ToLower(name), "_condor_") {
			kept = append(kept, one)
		}
	}
	return kept
}

// read takes over what condor_ping printed: on standard output an ad for each
// level, on standard error its log.
func (h *hearing) read(told condor.Printed) {
	h.Levels, h.Findings, h.PassedBy = []levelAnswer{}, []tokendir.Finding{}, nil
	h.readAds(told.Answer)
	h.readLog(told.Complaint)
	slices.SortStableFunc(h.Levels, func(a, b levelAnswer) int {
		return slices.Index(pingLevels, a.Level) - slices.Index(pingLevels, b.Level)
	})
}

// readAds reads the answers. "# LEVEL command to SERVER is ALLOWED" begins the ad
// of a level; what failed before it is a line that begins with # alone.
func (h *hearing) readAds(answer string) {
	failed, allowed := "", false
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		if about, found := strings.CutPrefix(line, "# "); found {
			level, _, _ := strings.Cut(about, " ")
			allowed = strings.HasSuffix(about, " is ALLOWED")
			h.Levels = append(h.Levels, levelAnswer{Level: level, Error: failed})
			failed = ""
			continue
		}
		if text, found := strings.CutPrefix(line, "#"); found {
			failed = text
			continue
		}
		name, value, found := strings.Cut(line, " = ")
		if found {
			h.attribute(name, unquoted(value), allowed)
		}
	}
	for i := range h.Levels {
		l := &h.Levels[i]
		l.Authorised = l.Authorised && h.counts(*l)
	}
}

// unquoted is a text of an ad, in which HTCondor escapes quotation marks alone.
func unquoted(value string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`), `\"`, `"`)
}

// attribute takes over one of the ad of the last level.
func (h *hearing) attribute(name, value string, allowed bool) {
	if len(h.Levels) == 0 {
		return
	}
	l := &h.Levels[len(h.Levels)-1]
	switch name {
	case "AuthMethods":
		l.Method, l.Authorised = value, allowed
	case "MyRemoteUserName":
		l.Identity = value
	}
}

// counts reports whether the answer was given to the bearer of a token.
func (h *hearing) counts(l levelAnswer) bool {
	return l.Method == h.Method && l.Identity != "" && !slices.Contains([]string{"condor@password", "unauthenticated@unmapped", "anonymous"}, l.Identity)
}

// readLog reads what the server said of itself, and what the client did: the last
// file that it examined is the one whose token it sent.
func (h *hearing) readLog(log string) {
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "TrustDomain = "):
			h.TrustDomain = unquoted(strings.TrimPrefix(line, "TrustDomain = "))
		case strings.HasPrefix(line, "IssuerKeys = "):
			list := unquoted(strings.TrimPrefix(line, "IssuerKeys = "))
			h.Keys = strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		case strings.HasPrefix(line, "RemoteVersion = "):
			if v, err := tokendir.ParseVersion(unquoted(strings.TrimPrefix(line, "RemoteVersion = "))); err == nil {
				h.Server = v.String()
			}
		}
		if _, text, found := strings.Cut(line, "Looking for tokens in directory "); found {
			h.Directory, h.Sent = text[:max(0, strings.LastIndex(text, " for issuer "))], ""
		}
		if _, text, found := strings.Cut(line, "IDTOKENS: Examining "); found {
			h.Sent = filepath.Base(text[:max(0, strings.LastIndex(text, " for valid tokens from issuer "))])
		}
		if _, why, found := strings.Cut(line, "Token discovery failure: "); found && !slices.Contains(h.PassedBy, why) {
			h.PassedBy = append(h.PassedBy, why)
		}
		if strings.Contains(line, "TOKEN: No token found.") {
			h.Sent = ""
		}
		if at := strings.Index(line, "Ignoring token as it "); at >= 0 && !slices.Contains(h.PassedBy, line[at:]) {
			h.PassedBy = append(h.PassedBy, line[at:])
		}
	}
}

// poolAddress is the usage error of a --pool that is no host or no port.
func poolAddress(pool string) error {
	host, port := pool, ""
	if h, p, err := net.SplitHostPort(pool); err == nil {
		host, port = h, p
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return usage("--pool %s: the port is not a number from 1 to 65535", pool)
		}
	}
	if host == "" || strings.HasPrefix(host, "-") || strings.ContainsAny(host, " \t\n/") {
		return usage("--pool %q: write the pool's collector as HOST or HOST:PORT", pool)
	}
	return nil
}
