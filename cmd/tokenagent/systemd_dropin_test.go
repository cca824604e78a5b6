package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenagent/tokenagent/agent/host"
)

// dropin is what systemd-dropin prints for a configuration, and its exit code.
func dropin(t *testing.T, text string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokenagent.hcl")
	put(t, file, text)
	var out, errs bytes.Buffer
	code = report(&errs, execute(append([]string{"systemd-dropin", "--config", file}, args...), nil, &out, &errs))
	return out.String(), errs.String(), code
}

// plainToken is a token block in which sink and hooks are yet to be written.
const plainToken = `
source "local_key" "site" { key_file = "/etc/tokenagent/keys/site.pem" }
token %q {
  source   = source.local_key.site
  subject  = "robot"
  lifetime = "1h"
  %s
}
`

const dropinHead = `# What tokenagent.service needs for its configuration. Save it as
#   /etc/systemd/system/tokenagent.service.d/configuration.conf
# and then: systemctl daemon-reload && systemctl restart tokenagent.service
[Service]
`

func TestSystemdDropin(t *testing.T) {
	keeper := filepath.Join(t.TempDir(), "upstream")
	check(t, os.Mkdir(keeper, 0o755))
	name := host.UserID(os.Geteuid()).String()
	if os.Geteuid() == 0 {
		check(t, os.Chown(keeper, somebody, somebody))
		name = host.UserID(somebody).String()
	}
	const inSandbox = ": it runs in this sandbox; if it writes to a file, add the file's folder as ReadWritePaths=\n"
	for what, c := range map[string]struct{ text, want string }{
		"folders that the unit opens, or makes": {
			`agent {
  state_dir = "/var/lib/tokenagent"
  control   = "/run/tokenagent/control.sock"
}` + fmt.Sprintf(plainToken, "a", `sink "file" { path = "/tmp/bt_u0" }`),
			"# tokenagent.service as shipped allows what its configuration needs.\n",
		},
		"a folder of its own": {
			fmt.Sprintf(plainToken, "a", `sink "file" { path = "/var/lib/token" }`),
			dropinHead + "\n# token a\nReadWritePaths=-/var/lib\n",
		},
		"a folder that is not there": {
			fmt.Sprintf(plainToken, "a", `sink "file" { path = "/srv/no such 100%/token" }`),
			dropinHead + "\n# token a; there is no /srv/no such 100% yet: make it before the service starts, which opens no folder that comes later\n" +
				`ReadWritePaths="-/srv/no such 100%%"` + "\n",
		},
		"many tokens in one folder": {
			`source "local_key" "site" { key_file = "/etc/tokenagent/keys/site.pem" }
token "many" {
  for_each = toset(["a", "b", "c", "d", "e"])
  source   = source.local_key.site
  subject  = "robot"
  lifetime = "1h"
  sink "file" { path = "/var/lib/${each.key}" }
}`,
			dropinHead + "\n# token many[\"a\"], token many[\"b\"], token many[\"c\"], and 2 more\nReadWritePaths=-/var/lib\n",
		},
		"what the agent block names": {
			`agent {
  state_dir = "/var/lib"
  control   = "/var/lib/agent.sock"
}` + fmt.Sprintf(plainToken, "a", `sink "file" { path = "/tmp/a" }`),
			dropinHead + "\n# state_dir, control\nReadWritePaths=-/var/lib\n",
		},
		"hooks, one as another user": {
			fmt.Sprintf(plainToken, "a", `sink "file" { path = "/tmp/a" }
  hook "on_first" { command = ["/usr/bin/true"] }
  hook "on_change" {
    command = ["/usr/bin/true"]
    user    = "condor"
  }`),
			dropinHead + "\n# hook on_change of token a: another user's program, which is ended when its time is over\nCapabilityBoundingSet=CAP_KILL\n" +
				"\n# hook on_first of token a, hook on_change of token a" + inSandbox,
		},
		"a validation as the owner of the first sink": {
			fmt.Sprintf(plainToken, "a", `sink "file" {
    path  = "/tmp/a"
    owner = "nobody"
  }
  validate { command = ["/usr/bin/true"] }`),
			dropinHead + "\n# validation of token a: another user's program, which is ended when its time is over\nCapabilityBoundingSet=CAP_KILL\n" +
				"\n# validation of token a" + inSandbox,
		},
		"an issuer with a hook as another user": {
			`issuer "ospool" {
  url      = "https://issuer.example.org"
  keys_dir = "/var/lib/tokenagent/issuers/ospool"
  web_root = "/srv"
  hook "on_publish" {
    command = ["/usr/bin/true"]
    user    = "condor"
  }
}
` + fmt.Sprintf(plainToken, "a", `sink "file" { path = "/tmp/a" }`),
			dropinHead + "\n# documents of issuer ospool\nReadWritePaths=-/srv\n" +
				"\n# issuer.ospool: another user's program, which is ended when its time is over\nCapabilityBoundingSet=CAP_KILL\n" +
				"\n# issuer.ospool" + inSandbox,
		},
		"a hook as root": {
			fmt.Sprintf(plainToken, "a", `sink "file" { path = "/tmp/a" }
  hook "on_change" {
    command = ["/usr/bin/true"]
    user    = "root"
  }`),
			"# tokenagent.service as shipped allows what its configuration needs.\n\n# hook on_change of token a" + inSandbox,
		},
		"a program that prints tokens, as another user": {
			`source "command" "fetch" {
  command = ["/usr/bin/true"]
  user    = "condor"
}
token "a" {
  source = source.command.fetch
  sink "file" { path = "/tmp/a" }
}`,
			dropinHead + "\n# source.command.fetch: another user's program, which is ended when its time is over\nCapabilityBoundingSet=CAP_KILL\n" +
				"\n# source.command.fetch" + inSandbox,
		},
		"a file that somebody else keeps": {
			fmt.Sprintf(`source "file" "upstream" { path = %q }
token "a" {
  source = source.file.upstream
  sink "file" { path = "/tmp/a" }
}`, keeper+"/not-yet"),
			dropinHead + fmt.Sprintf("\n# source.file.upstream reads %s/not-yet as %s, the owner of %[1]s\nCapabilityBoundingSet=CAP_SETUID CAP_SETGID\n", keeper, name),
		},
		"a file of root": {
			`source "file" "upstream" { path = "/etc/passwd" }
token "a" {
  source = source.file.upstream
  sink "file" { path = "/tmp/a" }
}`,
			"# tokenagent.service as shipped allows what its configuration needs.\n",
		},
	} {
		t.Run(what, func(t *testing.T) {
			got, stderr, code := dropin(t, c.text)
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, stderr)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSystemdDropinOfAnInstance(t *testing.T) {
	text := `agent { state_dir = "/var/lib/tokenagent" }` + fmt.Sprintf(plainToken, "a", `sink "file" { path = "/tmp/a" }`)
	for _, unit := range []string{"tokenagent@site.service", "tokenagent@site"} { // systemctl takes both, drop-ins only the first
		got, stderr, code := dropin(t, text, "--unit", unit)
		want := strings.ReplaceAll(dropinHead, "tokenagent.service", "tokenagent@site.service") // its own folder is another
		if code != 0 || !strings.HasPrefix(got, want) || !strings.Contains(got, "\nReadWritePaths=-/var/lib/tokenagent\n") {
			t.Errorf("%s: exit code %d\n%s%s", unit, code, got, stderr)
		}
	}
}

func TestSystemdDropinOfAFaultyConfiguration(t *testing.T) {
	got, stderr, code := dropin(t, "token {}")
	if code != exitConfiguration || got != "" || !strings.Contains(stderr, "token") {
		t.Errorf("exit code %d\n%s%s", code, got, stderr)
	}
}

// unitLines are the assignments of a unit file, without comments.
func unitLines(t *testing.T, name string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(readFile(t, filepath.Join(root, "systemd", name))) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// What differs between the two units is what has the instance's name, that the
// folders of the instances are kept, and that systemd 239 does not tell the agent
// of them: without that all instances would take those of tokenagent.service.
func TestTheTemplateIsTheUnitForAnInstance(t *testing.T) {
	want := unitLines(t, "tokenagent.service")
	want = slices.DeleteFunc(want, func(line string) bool { return line == "RuntimeDirectoryPreserve=yes" })
	for i, line := range want {
		switch name, value, _ := strings.Cut(line, "="); name {
		case "ExecStart", "ExecReload":
			want[i] = line + " --config /etc/tokenagent/%i.hcl --control /run/tokenagent/%i/control.sock"
		case "StateDirectory", "RuntimeDirectory":
			want[i] = line + "/%i"
		case "Description":
			want[i] = name + "=" + strings.Replace(value, "bearer tokens", "bearer tokens of %i", 1)
		}
	}
	after := slices.Index(want, "RuntimeDirectory=tokenagent/%i") + 1
	want = slices.Insert(want, after, "Environment=STATE_DIRECTORY=/var/lib/tokenagent/%i RUNTIME_DIRECTORY=/run/tokenagent/%i")
	if diff := cmp.Diff(want, unitLines(t, "tokenagent@.service")); diff != "" {
		t.Error(diff)
	}
}
