package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pool is a real HTCondor of its own: a collector and a schedd on the loopback
// interface. Its clients know no key and authenticate with IDTOKENs, or by TLS
// without being anybody; a local user's identity (FS) is not accepted.
type pool struct {
	folder string // others may pass through it
	bin    string // HTCondor's programs
	port   int
	masked func(command ...string) []string // of unshare, to run the daemons by; nil: by nothing
}

// condorHome is where .ci/condor installs HTCondor 23.9.6.
const condorHome = "/var/cache/tokenagent-tests/condor-23.9.6"

const poolDomain = "pool.example"

// poolConfig is the configuration of the daemons, and of root on their host.
const poolConfig = `
LOCAL_DIR = %[1]s
RELEASE_DIR = %[2]s/usr
SBIN = %[2]s/usr/sbin
BIN = %[2]s/usr/bin
LIBEXEC = %[2]s/usr/libexec/condor
LOG = %[1]s/log
SPOOL = %[1]s/spool
LOCK = %[1]s/lock
RUN = %[1]s/run
EXECUTE = %[1]s/execute
CONDOR_IDS = 65534.65534
COLLECTOR_HOST = localhost:%[3]d
NETWORK_INTERFACE = 127.0.0.1
USE_SHARED_PORT = False
DAEMON_LIST = MASTER, COLLECTOR, SCHEDD
UID_DOMAIN = pool.example
TRUST_DOMAIN = pool.example
SEC_PASSWORD_DIRECTORY = %[1]s/%[4]s/passwords.d
SEC_TOKEN_POOL_SIGNING_KEY_FILE = %[1]s/%[4]s/passwords.d/POOL
SEC_TOKEN_SYSTEM_DIRECTORY = %[1]s/%[4]s/tokens.d
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = IDTOKENS, SSL
SEC_TOKEN_FETCH_ALLOWED_SIGNING_KEYS = *
AUTH_SSL_SERVER_CERTFILE = %[1]s/cert.pem
AUTH_SSL_SERVER_KEYFILE = %[1]s/cert.key
AUTH_SSL_SERVER_CAFILE = %[1]s/cert.pem
AUTH_SSL_CLIENT_CAFILE = %[1]s/cert.pem
ALLOW_READ = *@pool.example, condor@password
ALLOW_WRITE = *@pool.example, condor@password
ALLOW_DAEMON = *@pool.example, condor@password
ALLOW_ADMINISTRATOR = *@pool.example, condor@password
ALLOW_NEGOTIATOR = *@pool.example, condor@password
ALLOW_ADVERTISE_SCHEDD = *@pool.example, condor@password
ALLOW_ADVERTISE_MASTER = *@pool.example, condor@password
ALLOW_ADVERTISE_STARTD = *@pool.example, condor@password
`

// newPool starts a pool, which ends with the test.
func newPool(t *testing.T) *pool {
	t.Helper()
	p := preparePool(t)
	p.start(t)
	return p
}

// preparePool lays out a pool that does not run yet.
func preparePool(t *testing.T) *pool {
	t.Helper()
	requireLong(t)
	requireRoot(t, "run the daemons of a pool")
	requirePart(t, condorHome+"/usr/bin/condor_version")
	requirePart(t, "openssl", "version")
	folder, err := os.MkdirTemp("", "pool-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(folder)) })
	check(t, os.Chmod(folder, 0o755))
	p := &pool{folder: folder, bin: condorHome + "/usr/bin", port: freePort(t)}
	p.layOut(t)
	return p
}

// freePort is a port on which nothing listens, and that no connection gets: the
// kernel takes those from 32768 on.
func freePort(t *testing.T) (port int) {
	t.Helper()
	eventually(t, "a free port", func() bool {
		port = 20_000 + mathrand.IntN(12_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
		}
		return err == nil
	})
	return port
}

func (p *pool) path(name string) string { return filepath.Join(p.folder, name) }

// layOut makes the folders, keys and configurations of the daemons and clients.
func (p *pool) layOut(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"log", "spool", "lock", "run", "execute"} {
		check(t, os.Mkdir(p.path(dir), 0o755))
		check(t, os.Chown(p.path(dir), 65534, 65534))
	}
	for _, side := range []string{"manager", "client"} {
		for _, dir := range []string{"passwords.d", "tokens.d"} {
			check(t, os.MkdirAll(p.path(side+"/"+dir), 0o700))
		}
		put(t, p.path(side+"/config"), fmt.Sprintf(poolConfig, p.folder, condorHome, p.port, side))
	}
	key := make([]byte, 64)
	rand.Read(key)
	p.putKey(t, "POOL", key)
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=DNS:localhost", "-keyout", p.path("cert.key"), "-out", p.path("cert.pem")).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	check(t, os.Chmod(p.path("cert.key"), 0o600))
}

// putKey gives the manager a signing key.
func (p *pool) putKey(t *testing.T, name string, key []byte) {
	t.Helper()
	put(t, p.path("manager/passwords.d/"+name), string(key))
	check(t, os.Chmod(p.path("manager/passwords.d/"+name), 0o600))
}

// start starts the daemons, and waits until the collector knows the schedd.
func (p *pool) start(t *testing.T) {
	t.Helper()
	run := []string{condorHome + "/usr/sbin/condor_master", "-f"}
	if p.masked != nil {
		run = append([]string{"/usr/bin/unshare"}, p.masked(run...)...)
	}
	master := p.command("manager", run[0], run[1:]...)
	master.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	check(t, launch(master))
	t.Cleanup(func() {
		_ = master.Process.Signal(syscall.SIGQUIT) // fast shutdown, of its daemons too
		ended := make(chan struct{})
		go func() { _ = master.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = syscall.Kill(-master.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if t.Failed() {
			t.Logf("the collector's log:\n%s", tailOf(p.path("log/CollectorLog")))
		}
	})
	eventuallyWithin(t, 3*time.Minute, "the collector knows the schedd", func() bool {
		out, err := p.command("manager", "condor_status", "-schedd", "-af", "Name").Output()
		return err == nil && len(bytes.TrimSpace(out)) > 0
	})
}

func tailOf(path string) string {
	text, _ := os.ReadFile(path)
	return string(text[max(0, len(text)-8000):])
}

// environment is that of the manager or of a client.
func (p *pool) environment(side string) []string {
	return append(os.Environ(), "CONDOR_CONFIG="+p.path(side+"/config"), "PATH="+p.bin+":"+condorHome+"/usr/sbin:"+os.Getenv("PATH"))
}

// command is one of HTCondor's programs on the manager or a client.
func (p *pool) command(side, program string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(program) {
		program = filepath.Join(p.bin, program)
	}
	c := exec.Command(program, args...)
	c.Env = p.environment(side)
	return c
}

// levels are those that condor_ping asks for.
var levels = []string{"READ", "WRITE", "DAEMON", "NEGOTIATOR", "ADMINISTRATOR", "ADVERTISE_MASTER", "ADVERTISE_STARTD", "ADVERTISE_SCHEDD"}

// granted are the levels that the collector allows to a client that has the tokens
// in that folder and no other way to authenticate, and the identity it has there.
func (p *pool) granted(t *testing.T, folder string) (allowed []string, identity string) {
	t.Helper()
	c := p.command("client", "condor_ping", append([]string{"-type", "COLLECTOR", "-table"}, levels...)...)
	c.Env = append(c.Env, "_condor_SEC_TOKEN_DIRECTORY="+folder, "_condor_SEC_CLIENT_AUTHENTICATION_METHODS=IDTOKENS")
	out, _ := c.Output() // its exit code tells of levels that are refused
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 6 || !slices.Contains(levels, f[0]) || f[4] != "ALLOW" {
			continue
		}
		if f[1] != "IDTOKENS" {
			t.Errorf("condor_ping authenticated by %s:\n%s", f[1], out)
		}
		allowed, identity = append(allowed, f[0]), f[5]
	}
	return allowed, identity
}

// tokenagent is the program on a client of the pool, with a configuration.
func (p *pool) tokenagent(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "tokenagent", args...)
	c.Env = p.environment("client")
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	return c
}

func modeOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	check(t, err)
	return info.Mode().Perm()
}
