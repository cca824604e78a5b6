package condor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pingPatience is how long condor_ping may take: it waits 20 s for a server.
const pingPatience = 90 * time.Second

// Levels are the levels of authorisation that a Ping asks a server for.
var Levels = []string{"READ", "WRITE", "DAEMON", "ADVERTISE_MASTER", "ADVERTISE_STARTD", "ADVERTISE_SCHEDD", "NEGOTIATOR", "ADMINISTRATOR"}

// noKeys is a path at which no file can exist.
const noKeys = "/dev/null/no-keys"

// A Ping asks a server of a pool what it allows, with HTCondor's condor_ping. The
// client has tokens alone: no signing key, and no other way to authenticate.
type Ping struct {
	Environ   []string // of this process, as os.Environ
	Pool      string   // the collector, as HOST or HOST:PORT; see CheckAddress
	Type      string   // of the server: "COLLECTOR", "SCHEDD" and the like
	Name      string   // of the server; "": the one on that host
	Method    string   // "IDTOKENS" or "SCITOKENS"
	Directory string   // the token directory; "": the one that HTCondor uses
	As        *Client  // who asks; nil: the user of this process
}

// A Client is another user of this host who asks. Only root can ask as one.
type Client struct {
	Name, Home string
	Credential syscall.Credential
}

// Ask runs condor_ping and reads what it printed. Its error says why no level was
// answered, and what to do.
func (p Ping) Ask(ctx context.Context) (Reply, error) {
	r := Reply{Address: p.Pool, Type: p.Type, Method: p.Method}
	args := []string{"-debug", "-pool", p.Pool, "-type", p.Type}
	if p.Name != "" {
		args = append(args, "-name", p.Name)
	}
	client := Program{Name: "condor_ping", Args: append(append(args, "-long"), Levels...), Env: p.environment(), Patience: pingPatience}
	if p.As != nil {
		client.As = &p.As.Credential
	}
	printed, err := client.Run(ctx)
	r.read(printed)
	if r.halfAuthenticated() {
		printed, err = client.Run(ctx)
		r.read(printed)
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return r, errors.New("condor_ping is not in PATH: install HTCondor's programs (condor), or run doctor on a host that has them; nothing else proves that a pool takes a token")
	case errors.Is(err, ErrNoAnswer):
		return r, fmt.Errorf("%w; see whether %s answers, and whether a firewall is in between", err, p.Pool)
	case len(r.Levels) == 0:
		return r, p.unanswered(printed, err)
	}
	return r, nil
}

// pingFailures are texts in what condor_ping prints when no server answers, with
// what to do.
var pingFailures = []struct{ text, advice string }{
	{"failed to make connection", "see whether the server runs and listens there: host, port (9618 by default) and firewall"},
	{"unknown host", "correct the name of the host"},
	{"config source", "the user who asks cannot read HTCondor's configuration"},
	{"CONDOR_CONFIG", "the user who asks cannot read HTCondor's configuration"},
	{"locate", "the collector knows no such server: name it with --name, or ask another --type"},
}

// unanswered says why there is no answer for any level.
func (p Ping) unanswered(printed Printed, err error) error {
	text := strings.TrimSpace(printed.Complaint + "\n" + printed.Answer)
	if _, message, found := strings.Cut(text, "ERROR: "); found {
		text = message
	}
	line, _, _ := strings.Cut(text, "\n")
	advice := "see what `condor_ping -pool " + p.Pool + " -type " + p.Type + " READ` prints"
	for _, f := range pingFailures {
		if strings.Contains(line, f.text) {
			advice = f.advice
			break
		}
	}
	why := "no answer"
	if err != nil {
		why = err.Error()
	}
	return fmt.Errorf("%s %s: condor_ping: %s (%.200q); %s", strings.ToLower(p.Type), p.Pool, why, cmp.Or(strings.TrimSpace(line), "it printed nothing"), advice)
}

// environment is that of the client. It leaves the client no other way to
// authenticate: no signing key, not as a local user (FS), not as nobody.
func (p Ping) environment() []string {
	set := map[string]string{
		"SEC_CLIENT_AUTHENTICATION":         "REQUIRED",
		"SEC_CLIENT_AUTHENTICATION_METHODS": p.Method,
		"SEC_PASSWORD_DIRECTORY":            noKeys,
		"SEC_PASSWORD_FILE":                 noKeys,
		"SEC_TOKEN_POOL_SIGNING_KEY_FILE":   noKeys,
		"TOOL_DEBUG":                        "D_SECURITY:2",
	}
	if p.Directory != "" {
		set["SEC_TOKEN_DIRECTORY"] = p.Directory
	}
	env := slices.DeleteFunc(slices.Clone(p.Environ), func(one string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(one), "=")
		knob, condors := strings.CutPrefix(name, "_CONDOR_")
		_, ours := set[strings.TrimPrefix(knob, "TOOL.")]
		return condors && ours
	})
	if p.As != nil {
		env = append(slices.DeleteFunc(env, isPersonal), "HOME="+p.As.Home, "USER="+p.As.Name, "LOGNAME="+p.As.Name)
	}
	for _, knob := range slices.Sorted(maps.Keys(set)) {
		env = append(env, "_condor_"+knob+"="+set[knob], "_condor_TOOL."+knob+"="+set[knob]) // the second overrides TOOL.KNOB in a file
	}
	return env
}

// isPersonal reports whether another user is not given the variable: all but what
// finds HTCondor and its configuration.
func isPersonal(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return name != "PATH" && name != "LANG" && name != "CONDOR_CONFIG" && !strings.HasPrefix(strings.ToLower(name), "_condor_")
}

// CheckAddress says what is wrong with the address of a pool, which is HOST or
// HOST:PORT.
func CheckAddress(pool string) error {
	host := pool
	if h, port, err := net.SplitHostPort(pool); err == nil {
		host = h
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("the port is not a number from 1 to 65535")
		}
	}
	if host == "" || strings.HasPrefix(host, "-") || strings.ContainsAny(host, " \t\n/") {
		return errors.New("write the pool's collector as HOST or HOST:PORT")
	}
	return nil
}
