package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
)

const fqdnTimeout = 5 * time.Second

// environment is what the configuration may know of this machine; key makes the
// digests of its definitions, nil where nobody compares them.
func environment(definitions bool, key func(config.Settings) []byte) config.Environment {
	host, _ := os.Hostname()
	id, _ := os.ReadFile("/etc/machine-id")
	return config.Environment{
		Getenv:               os.Getenv,
		Hostname:             os.Hostname,
		FQDN:                 fqdn,
		Seed:                 strings.TrimSpace(string(id)) + "\x00" + host,
		CredentialsDirectory: os.Getenv("CREDENTIALS_DIRECTORY"),
		Discovery:            discovery(),
		Knob:                 condorKnob(),
		Definitions:          definitions,
		DigestKey:            key,
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

// discovery is where a process of this user looks for a token that nobody
// named: step 3 and 4 of the WLCG Bearer Token Discovery 1.0.
func discovery() string {
	folder := os.Getenv("XDG_RUNTIME_DIR")
	if folder == "" {
		folder = "/tmp"
	}
	return filepath.Join(folder, fmt.Sprintf("bt_u%d", os.Geteuid()))
}

// stateFolder is where the agent remembers: what the agent block or systemd
// says, else the custom of root and of other users. "" when there is none.
func stateFolder(s config.Settings) string {
	home, _ := os.UserHomeDir()
	switch {
	case s.StateDir != "":
		return s.StateDir
	case os.Getenv("STATE_DIRECTORY") != "":
		return firstPath(os.Getenv("STATE_DIRECTORY"))
	case os.Geteuid() == 0:
		return "/var/lib/tokenagent"
	case os.Getenv("XDG_STATE_HOME") != "":
		return filepath.Join(os.Getenv("XDG_STATE_HOME"), "tokenagent")
	case home != "":
		return filepath.Join(home, ".local/state/tokenagent")
	}
	return ""
}

// controlPath is where the control socket lies.
func controlPath(s config.Settings) string {
	switch {
	case s.Control != "":
		return s.Control
	case os.Getenv("RUNTIME_DIRECTORY") != "":
		return filepath.Join(firstPath(os.Getenv("RUNTIME_DIRECTORY")), "control.sock")
	case os.Geteuid() == 0:
		return "/run/tokenagent/control.sock"
	case os.Getenv("XDG_RUNTIME_DIR") != "":
		return filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "tokenagent/control.sock")
	}
	return filepath.Join(stateFolder(s), "control.sock")
}

// firstPath is the first of the folders that systemd.exec(5) joins with colons.
func firstPath(list string) string {
	first, _, _ := strings.Cut(list, ":")
	return first
}
