package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tokenagent/tokenagent/sources/keys"
)

// A machine is a container with systemd as its PID 1: testdata/systemd/machine.
type machine struct {
	leader string // the number of its PID 1 here
}

// Accounts of a machine, apart from those of the host.
const (
	frontendID = 54001
	upstreamID = 54002
)

// bootMachine boots a machine that ends with the test, also with one that is killed.
func bootMachine(t *testing.T) machine {
	t.Helper()
	name := fmt.Sprintf("tokenagent-test-%d", os.Getpid())
	var said bytes.Buffer
	c := exec.Command("testdata/systemd/machine", name, newLayer(t))
	c.Stdout, c.Stderr = &said, &said
	stdin, err := c.StdinPipe()
	check(t, err)
	check(t, launch(c))
	t.Cleanup(func() {
		stdin.Close()
		if err := c.Wait(); err != nil || t.Failed() {
			t.Logf("the machine ends with %v:\n%s", err, said.String())
		}
		for _, group := range controlGroups(name) {
			t.Errorf("of the machine %s is left", group)
		}
	})
	var m machine
	t.Cleanup(func() { m.watch(t) })
	eventually(t, "a machine that has booted", func() bool {
		m.leader = leaderOf(name)
		_, err := m.try("systemctl", "is-active", "basic.target")
		return err == nil
	})
	return m
}

// watch hands over what the agents of the machine have shown, and its secrets.
func (m machine) watch(t *testing.T) {
	t.Helper()
	for where, script := range map[string]string{
		"the journal":      "journalctl --no-pager --output=cat",
		"the state folder": "find /var/lib/tokenagent* -type f ! -path '*/refresh/*' ! -path '*/tokens/*' -exec cat {} +",
	} {
		out, _ := m.try("sh", "-c", script) // of a machine that did not boot there is nothing
		watchText(where+" of the machine of "+t.Name(), out)
	}
	for _, folder := range []string{"etc", "home", "run", "var/lib"} {
		learnFrom(m.path(folder))
	}
}

// leaderOf is PID 1 of the machine, as it is numbered here; "" while there is none.
func leaderOf(name string) string {
	for _, group := range controlGroups(name) {
		text, err := os.ReadFile(filepath.Join(group, "payload/init.scope/cgroup.procs"))
		if err == nil {
			first, _, _ := strings.Cut(string(text), "\n")
			return first
		}
	}
	return ""
}

// controlGroups are those of the machine that are there.
func controlGroups(name string) (found []string) {
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if group := filepath.Join(hierarchy, name); exists(group) {
			found = append(found, group)
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// newLayer lays out what the machine has and the host has not.
func newLayer(t *testing.T) string {
	t.Helper()
	l := layer{t, filepath.Join(t.TempDir(), "layer")}
	files, err := txtar.ParseFile("testdata/systemd/layer.txtar")
	check(t, err)
	for _, f := range files.Files {
		l.put(f.Name, f.Data, 0o644)
	}
	program, err := os.ReadFile(filepath.Join(buildProgram(t), "tokenagent"))
	check(t, err)
	l.put("usr/bin/tokenagent", program, 0o755)
	for folder, units := range map[string][]string{"system": {"tokenagent.service", "tokenagent@.service"}, "user": {"user/tokenagent.service"}} {
		for _, unit := range units {
			l.put(filepath.Join("usr/lib/systemd", folder, filepath.Base(unit)), []byte(readFile(t, filepath.Join(root, "systemd", unit))), 0o644)
		}
	}
	l.accounts()
	l.secrets()
	return l.folder
}

// A layer is a folder of files for a machine.
type layer struct {
	*testing.T
	folder string
}

func (l layer) put(name string, data []byte, mode os.FileMode) {
	l.Helper()
	path := filepath.Join(l.folder, name)
	check(l.T, os.MkdirAll(filepath.Dir(path), 0o755))
	check(l.T, os.WriteFile(path, data, mode))
}

// accounts adds those of the machine, with their homes.
func (l layer) accounts() {
	l.Helper()
	var passwd, group strings.Builder
	for name, id := range map[string]int{"frontend": frontendID, "upstream": upstreamID} {
		fmt.Fprintf(&passwd, "%s:x:%d:%[2]d::/home/%[1]s:/bin/sh\n", name, id)
		fmt.Fprintf(&group, "%s:x:%d:\n", name, id)
	}
	l.put("etc/passwd", []byte(readFile(l.T, "/etc/passwd")+passwd.String()), 0o644)
	l.put("etc/group", []byte(readFile(l.T, "/etc/group")+group.String()), 0o644)
	check(l.T, os.MkdirAll(filepath.Join(l.folder, "home/frontend/.condor/tokens.d"), 0o700))
}

// secrets makes the keys, and the token that upstream keeps.
func (l layer) secrets() {
	l.Helper()
	key, err := keys.Generate("ES256")
	check(l.T, err)
	text, err := key.MarshalPEM()
	check(l.T, err)
	l.put("etc/tokenagent/keys/issuer.pem", text, 0o600)
	l.put("home/frontend/.config/tokenagent/key.pem", text, 0o600)
	l.put("etc/condor/passwords.d/POOL", []byte("a pool's key"), 0o600)
	check(l.T, os.MkdirAll(filepath.Join(l.folder, "etc/condor/tokens.d"), 0o700))

	var token bytes.Buffer
	create := []string{"token", "create", "--private-key", filepath.Join(l.folder, "etc/tokenagent/keys/issuer.pem"),
		"--issuer", "https://issuer.example.org", "--subject", "upstream", "--audience", "all", "--scope", "storage.read:/", "--profile", "wlcg"}
	if err := execute(create, nil, &token, io.Discard); err != nil {
		l.Fatal(err)
	}
	l.put("home/upstream/token", token.Bytes(), 0o600)
	for name, id := range map[string]int{"frontend": frontendID, "upstream": upstreamID} {
		home := filepath.Join(l.folder, "home", name)
		check(l.T, filepath.Walk(home, func(path string, _ os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, id, id)
		}))
		check(l.T, os.Chmod(home, 0o700))
	}
}

// try runs a command in the machine.
func (m machine) try(args ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	enter := []string{"--target", m.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}
	text, err := exec.CommandContext(ctx, "nsenter", append(enter, args...)...).CombinedOutput()
	return string(text), errors.Join(err, ctx.Err())
}

// run is try for a command that must succeed.
func (m machine) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// path is where the path of the machine is found here.
func (m machine) path(name string) string { return filepath.Join("/proc", m.leader, "root", name) }

// property is what systemctl show says of the unit.
func (m machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return m.run(t, "systemctl", "show", "--value", "--property", name, unit)
}

func (m machine) number(t *testing.T, unit, name string) int {
	t.Helper()
	n, err := strconv.Atoi(m.property(t, unit, name))
	check(t, err)
	return n
}

// journal is what the unit, and systemd about it, have logged.
func (m machine) journal(t *testing.T, unit string) string {
	t.Helper()
	return m.run(t, "journalctl", "--no-pager", "--output=cat", "--unit", unit)
}

// wantLogged waits until the journal of the unit has the text.
func (m machine) wantLogged(t *testing.T, unit, text string) {
	t.Helper()
	for end := time.Now().Add(longest); !strings.Contains(m.journal(t, unit), text); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q is not in the journal of %s:\n%s", text, unit, m.journal(t, unit))
		}
	}
}

// status is a line of /proc/PID/status of the unit's main process.
func (m machine) status(t *testing.T, unit, field string) string {
	t.Helper()
	text := m.run(t, "cat", "/proc/"+m.property(t, unit, "MainPID")+"/status")
	for line := range strings.Lines(text) {
		if value, is := strings.CutPrefix(line, field+":"); is {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in\n%s", field, text)
	return ""
}

// buildProgram builds the program as it is shipped, and returns its folder.
func buildProgram(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", folder, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return folder
}
