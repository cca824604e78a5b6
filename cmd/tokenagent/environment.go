package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sinks/condor"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

const fqdnTimeout = 5 * time.Second

// environment is what the configuration may know of this machine.
func (p *place) environment(definitions bool) config.Environment {
	host, _ := os.Hostname()
	id, _ := os.ReadFile("/etc/machine-id")
	return config.Environment{
		Machine: config.Machine{
			Seed:     strings.TrimSpace(string(id)) + "\x00" + host,
			Getenv:   os.Getenv,
			Hostname: os.Hostname,
			FQDN:     fqdn,
			LookPath: exec.LookPath,
			Knob:     condor.Knob(tokendir.Systems()[0]),
			CEKnob:   condor.Knob(tokendir.Systems()[1]),
		},
		Credentials: os.Getenv("CREDENTIALS_DIRECTORY"),
		Discovery:   discovery(),
		Checking:    p.checking,
		Definitions: definitions,
		Command:     p.command,
		State: func(s config.Settings) config.State {
			home := p.home(s)
			return config.State{Dir: home.Dir(), Former: home.Former, Others: home.Others, Lock: home.LockFormer}
		},
		Scratch:   p.scratch,
		DigestKey: p.key,
	}
}

// fqdn is the host name with its domain, by /etc/hosts or DNS.
func fqdn() (string, error) {
	host, err := os.Hostname()
	if err != nil || strings.Contains(host, ".") {
		return host, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fqdnTimeout)
	defer cancel()
	name, err := net.DefaultResolver.LookupCNAME(ctx, host)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(name, "."), nil
}

// discovery is where processes of this user look for a token without being told:
// steps 3 and 4 of the WLCG Bearer Token Discovery 1.0.
func discovery() string {
	folder := folderFrom("XDG_RUNTIME_DIR")
	if folder == "" {
		folder = "/tmp"
	}
	return filepath.Join(folder, fmt.Sprintf("bt_u%d", os.Geteuid()))
}

// stateBase is the folder of the state of this user's agents: as the agent block or
// systemd says, else the usual one; "" for none. See place.home for the folder of one
// configuration.
func stateBase(s config.Settings) string {
	switch {
	case s.StateDir != "":
		return s.StateDir
	case folderFrom("STATE_DIRECTORY") != "":
		return folderFrom("STATE_DIRECTORY")
	}
	return usualState()
}

// usualState is the state folder where nothing names one; "" for none.
func usualState() string {
	switch {
	case os.Geteuid() == 0:
		return "/var/lib/tokenagent"
	case folderFrom("XDG_STATE_HOME") != "":
		return filepath.Join(folderFrom("XDG_STATE_HOME"), "tokenagent")
	case folderFrom("HOME") != "":
		return filepath.Join(folderFrom("HOME"), ".local/state/tokenagent")
	}
	return ""
}

// controlName is the name of a control socket.
const controlName = "control.sock"

// runtimeBase is the folder of the control sockets of this user's agents; "" for
// none. Where there is no better one, it is stateBase.
func runtimeBase(s config.Settings) string {
	switch {
	case folderFrom("RUNTIME_DIRECTORY") != "":
		return folderFrom("RUNTIME_DIRECTORY")
	case os.Geteuid() == 0:
		return "/run/tokenagent"
	case folderFrom("XDG_RUNTIME_DIR") != "":
		return filepath.Join(folderFrom("XDG_RUNTIME_DIR"), "tokenagent")
	}
	return stateBase(s)
}

// folderFrom is the folder that the variable names; the first, where systemd.exec(5)
// joins several with colons. A relative path is ignored, as the XDG Base Directory
// Specification demands.
func folderFrom(variable string) string {
	first, _, _ := strings.Cut(os.Getenv(variable), ":")
	if !filepath.IsAbs(first) {
		return ""
	}
	return first
}
