package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tokenagent/tokenagent/agent/config"
)

func TestPlacesOfStateAndSocket(t *testing.T) {
	asRoot := os.Geteuid() == 0
	either := func(root, user string) string {
		if asRoot {
			return root
		}
		return user
	}
	for name, c := range map[string]struct {
		settings       config.Settings
		env            map[string]string
		state, control string
	}{
		"the agent block comes first": {
			config.Settings{StateDir: "/s", Control: "/c/control.sock"},
			map[string]string{"STATE_DIRECTORY": "/x", "RUNTIME_DIRECTORY": "/x", "XDG_RUNTIME_DIR": "/x"},
			"/s", "/c/control.sock",
		},
		"then systemd, of several the first": {
			config.Settings{},
			map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"},
			"/var/lib/a", "/run/a/control.sock",
		},
		"then the user's": {
			config.Settings{},
			map[string]string{"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/home/x/.state", "HOME": "/home/x"},
			either("/var/lib/tokenagent", "/home/x/.state/tokenagent"),
			either("/run/tokenagent/control.sock", "/run/user/7/tokenagent/control.sock"),
		},
		"what is relative counts for nothing": {
			config.Settings{},
			map[string]string{"STATE_DIRECTORY": "x", "RUNTIME_DIRECTORY": "x", "XDG_RUNTIME_DIR": "x", "XDG_STATE_HOME": "x", "HOME": "x"},
			either("/var/lib/tokenagent", ""), either("/run/tokenagent/control.sock", ""),
		},
		"at last what every user has": {
			config.Settings{},
			map[string]string{"HOME": "/home/x"},
			either("/var/lib/tokenagent", "/home/x/.local/state/tokenagent"),
			either("/run/tokenagent/control.sock", "/home/x/.local/state/tokenagent/control.sock"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"} {
				t.Setenv(v, c.env[v])
			}
			if got := new(place).home(c.settings).Dir(); got != c.state {
				t.Errorf("state is %s, want %s", got, c.state)
			}
			if got := new(place).socketPath(c.settings); got != c.control {
				t.Errorf("control is %s, want %s", got, c.control)
			}
		})
	}
}

func TestDigestKeyStaysInTheStateFolder(t *testing.T) {
	folder := config.Settings{StateDir: t.TempDir()}
	one, other := memory{from: new(place)}, memory{from: new(place)}
	key := one.digestKey(folder)
	if len(key) != 32 || string(key) != string(one.digestKey(folder)) {
		t.Error("a reload would find every definition changed")
	}
	if other.digestKey(folder); other.taken(config.Settings{}) == nil {
		t.Error("two have the folder")
	}
	one.close()
	next := memory{from: new(place)}
	if string(next.digestKey(folder)) != string(key) {
		t.Error("a restart would find every definition changed")
	}
	next.close()
}

func TestWithoutAStateFolderTheKeyIsOneForTheProcess(t *testing.T) {
	folder := config.Settings{StateDir: "/proc/nowhere"}
	m := memory{from: new(place)}
	if key := m.digestKey(folder); len(key) != 32 || string(key) != string(m.digestKey(folder)) || m.err == nil || m.taken(config.Settings{}) != nil {
		t.Errorf("key of %d bytes, %v", len(key), m.err)
	}
}

func TestDiscoveryNamesTheUser(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	if got := filepath.Dir(discovery()); got != "/run/user/7" {
		t.Errorf("discovery is in %s", got)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if got := filepath.Dir(discovery()); got != "/tmp" {
		t.Errorf("discovery is in %s", got)
	}
}
